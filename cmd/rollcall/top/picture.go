package top

import (
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Event is a row of the last events.
type Event struct {
	Time    time.Time
	Subject string
	Change  format.Cell
	Who     string
	Why     string
}

// Picture is what is known and where the reader looks. It is for one goroutine.
type Picture struct {
	Services *Services
	Events   []Event // newest first

	Status      *rollcallv1.GetStatusResponse // nil: not known yet
	StatusError string                        // why it is not known any more; ""

	Endpoint string    // that tells of services; "": none does
	Lost     time.Time // since when none does
	Synced   bool      // once all services were told of
	Filtered bool      // there may be more than the caller may read
	Note     string    // about the cluster; ""

	Paint bool // in colours
	Live  bool // there are keys

	root  view // of the options
	now   view
	focus focus
	list  [2]position // of each focus
	// The group that was marked when the picture was drawn, or the reader moved: who goes into it means what he saw,
	// whatever stands there now.
	marked string

	editing bool // the filter
	help    bool
}

// view is what is counted.
type view struct {
	base, filter string
	depth        int
}

// focus is the list that the arrow keys move in.
type focus int

const (
	inGroups focus = iota
	inDown
)

// position is where the reader is in a list.
type position struct {
	selected int // row
	first    int // row that is shown first
	rows     int // that were shown last
}

// NewPicture returns a picture of the services whose names begin with prefix, by groups of depth parts after its last
// "/".
func NewPicture(prefix string, depth int) *Picture {
	base := prefix[:strings.LastIndexByte(prefix, '/')+1]
	root := view{base: base, depth: depth}
	return &Picture{Services: NewServices(base, depth), root: root, now: root}
}

// Press does what a key is for. It reports that the reader wants to end.
func (p *Picture) Press(k Key) (end bool) {
	if k == CtrlC {
		return true
	}
	if p.help {
		p.help = false
		return k == 'q'
	}
	if p.editing {
		p.edit(k)
		return false
	}
	at := &p.list[p.focus]
	was := at.selected
	switch k {
	case 'q', 'Q':
		return true
	case '?', 'h':
		p.help = true
	case '/':
		p.editing = true
	case Escape:
		p.filterBy("")
	case Tab:
		p.focus = 1 - p.focus
	case Up, 'k':
		at.selected--
	case Down, 'j':
		at.selected++
	case PageUp:
		at.selected -= max(1, at.rows)
	case PageDown, ' ':
		at.selected += max(1, at.rows)
	case Home, 'g':
		at.selected = 0
	case End, 'G':
		at.selected = p.length(p.focus) - 1
	case Enter, Right, 'l':
		p.goIn()
	case Backspace, Left:
		p.goOut()
	}
	p.keepInside()
	if g, ok := p.Services.worst.GetAt(at.selected); ok && p.focus == inGroups && at.selected != was {
		p.marked = g.Name
	}
	return false
}

func (p *Picture) edit(k Key) {
	switch {
	case k == Enter:
		p.editing = false
	case k == Escape:
		p.editing = false
		p.filterBy("")
	case k == CtrlU:
		p.filterBy("")
	case k == Backspace:
		if runes := []rune(p.now.filter); len(runes) > 0 {
			p.filterBy(string(runes[:len(runes)-1]))
		} else {
			p.editing = false
		}
	case k >= ' ':
		p.filterBy(p.now.filter + string(rune(k)))
	}
}

func (p *Picture) filterBy(filter string) {
	if filter != p.now.filter {
		p.look(view{p.now.base, filter, p.now.depth})
	}
}

// goIn goes into the selected group.
func (p *Picture) goIn() {
	if p.focus != inGroups {
		return
	}
	g, ok := p.Services.groups[p.marked]
	if ok && !g.IsService() && g.Name != p.now.base {
		p.look(view{g.Name, p.now.filter, 1})
	}
}

// goOut goes to the group around the one that is shown, as far as the options allow.
func (p *Picture) goOut() {
	if p.now.base == p.root.base {
		return
	}
	out := view{p.root.base, p.now.filter, p.root.depth}
	within := strings.TrimSuffix(p.now.base, "/")
	if slash := strings.LastIndexByte(within, '/'); slash >= 0 && strings.Count(within[len(p.root.base):], "/") >= p.root.depth {
		out.base, out.depth = within[:slash+1], 1
	}
	p.look(out)
}

func (p *Picture) look(v view) {
	p.now, p.list = v, [2]position{}
	p.Services.View(v.base, v.depth, v.filter)
}

func (p *Picture) length(f focus) int {
	if f == inDown {
		return p.Services.down.Len()
	}
	return p.Services.worst.Len()
}

// keepInside brings the selection back into the lists, which may have become shorter.
func (p *Picture) keepInside() {
	for f := range p.list {
		at := &p.list[f]
		at.selected = max(0, min(at.selected, p.length(focus(f))-1))
	}
}

// scroll says which rows of a list are shown in so many: the selected one is among them.
func (at *position) scroll(rows, length int) (first, end int) {
	at.rows = rows
	at.first = min(at.first, at.selected)
	if at.selected >= at.first+rows {
		at.first = at.selected - rows + 1
	}
	at.first = max(0, min(at.first, length-rows))
	return at.first, min(at.first+rows, length)
}
