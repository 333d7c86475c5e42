package top

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func member(name string, ready bool) *rollcallv1.MemberStatus {
	return &rollcallv1.MemberStatus{Member: &rollcallv1.Member{Name: name}, Ready: ready, LeaderAge: durationpb.New(100 * time.Millisecond)}
}

// shop is a picture of a few services.
func shop() *Picture {
	p := NewPicture("", 1)
	p.Live, p.Endpoint, p.Synced = true, "n1:7600", true
	p.Status = &rollcallv1.GetStatusResponse{
		ClusterId: "3f9a11c2d4e5f607", Node: "n1", Leader: "n2", Revision: 1234, Writable: true,
		Members: []*rollcallv1.MemberStatus{member("n1", true), member("n2", true), member("n3", false)}, Problems: []string{"n3: connection refused\nfor 2s"},
	}
	for i := range 10 {
		p.Services.Put(Service{Name: fmt.Sprintf("good/%d", i), Status: serving})
	}
	p.Services.Put(Service{Name: "shop/cart", Status: notServing, Since: minute(1), Why: "disk full", Who: "ann"})
	p.Services.Put(Service{Name: "shop/pay/a", Status: serving})
	p.Services.Put(Service{Name: "shop/pay/b", Status: unknown, Since: minute(2), Why: "evil\u202e\x1b[31m", Who: "bob"})
	p.Events = []Event{{Time: minute(2), Subject: "shop/pay/b", Change: format.Cell{Text: "SERVING→UNKNOWN"}, Who: "bob", Why: "-"}}
	return p
}

func shown(p *Picture, columns, height int) string {
	return strings.Join(p.Lines(columns, height, 20, minute(5)), "\n")
}

func TestThePicture(t *testing.T) {
	want := `cluster 3f9a11c2 · leader n2 · revision 1234 · 2 of 3 nodes ready  ● live from n1:7600
13 services  ● 11 SERVING  ▲ 1 NOT_SERVING  ◆ 1 UNKNOWN
! n3: connection refused; for 2s

» GROUPS
> shop/          3        ▲ 1        ◆ 1  ▲▲▲▲▲▲▲▲◆◆◆◆◆◆◆◆────────
  good/         10        ▲ 0        ◆ 0  ────────────────────────

NOT SERVING, newest first
  3m  shop/pay/b  ◆ UNKNOWN      bob  evil\u202e\x1b[31m
  4m  shop/cart   ▲ NOT_SERVING  ann  disk full

LAST EVENTS
  03:02:00  shop/pay/b  SERVING→UNKNOWN  bob  -

arrows: move · enter: into a group · backspace: out · tab: other list · /: filter · ?: help · q: end`
	if got := shown(shop(), 110, 16); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever the size, no line is wider and there are no more lines than fit.
func TestThePictureFitsIntoAnyTerminal(t *testing.T) {
	for _, paint := range []bool{false, true} {
		p := shop()
		p.Paint = paint
		p.Services.Put(Service{Name: "日本/" + strings.Repeat("語", 100), Status: notServing, Why: strings.Repeat("長い", 100)})
		for columns := 1; columns < 140; columns += 3 {
			for height := 1; height < 40; height += 2 {
				p.help = columns == 40
				lines := p.Lines(columns, height, 20, minute(5))
				if len(lines) != height {
					t.Fatalf("%d lines in a terminal of %d", len(lines), height)
				}
				for _, l := range lines {
					if w := widthOf(escapes.ReplaceAllString(l, "")); w > columns {
						t.Fatalf("%d columns in a terminal of %d: %q", w, columns, l)
					}
				}
			}
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Colours add nothing: without them the picture says the same.
func TestColoursChangeNoText(t *testing.T) {
	plain, painted := shop(), shop()
	painted.Paint = true
	a, b := shown(plain, 100, 20), shown(painted, 100, 20)
	if !strings.Contains(b, "\x1b[1;31m▲▲▲▲▲▲▲▲\x1b[0m\x1b[33m◆◆◆◆◆◆◆◆\x1b[0m\x1b[32m────────\x1b[0m") {
		t.Errorf("the bar is not painted:\n%q", b)
	}
	if escapes.ReplaceAllString(b, "") != a {
		t.Errorf("plain\n%s\npainted\n%s", a, b)
	}
}

func TestKeysMoveThroughThePicture(t *testing.T) {
	for _, c := range []struct {
		name   string
		prefix string
		keys   []Key
		want   []string // in the picture
		not    []string
	}{
		{"into a group and out", "", []Key{Enter}, []string{"GROUPS in shop/", "> cart  ▲ NOT_SERVING", "  pay/", "3 services"}, []string{"good"}},
		{"into a group of a group", "", []Key{Enter, Down, Enter}, []string{"GROUPS in shop/pay/", "> b  ◆ UNKNOWN", "2 services"}, []string{"cart"}},
		{"out of one", "", []Key{Enter, Down, Enter, Backspace}, []string{"GROUPS in shop/\n", "> cart"}, nil},
		{"out of all", "", []Key{Enter, Down, Enter, Backspace, Left, Backspace}, []string{"GROUPS\n", "> shop/", "13 services"}, nil},
		{"a service is no group", "", []Key{Enter, Enter}, []string{"GROUPS in shop/\n"}, nil},
		{"not out of the prefix", "shop/", []Key{Backspace}, []string{"GROUPS in shop/\n"}, []string{"good"}},
		{"down and no further", "", []Key{Down, Down, Down}, []string{"> good/"}, nil},
		{"up and no further", "", []Key{Down, Up, Up}, []string{"> shop/"}, nil},
		{"to the end", "", []Key{End}, []string{"> good/"}, nil},
		{"the other list", "", []Key{Tab, 'j'}, []string{"» NOT SERVING", "> 4m  shop/cart"}, []string{"> shop/", "» GROUPS"}},
		{"a filter", "", []Key{'/', 'P', 'a', 'y'}, []string{"filter: Pay_", "2 services", "enter: keep the filter"}, []string{"good", "cart"}},
		{"a filter of two words", "", []Key{'/', 'y', ' ', 'P', 'a', ' '}, []string{"2 services"}, []string{"good", "cart"}},
		{"two words that no name holds", "", []Key{'/', 'p', 'a', 'y', ' ', 'c', 'a', 'r', 't'}, []string{"0 services"}, nil},
		{"a letter of a filter is no key", "", []Key{'/', 'q'}, []string{"filter: q_", "0 services"}, nil},
		{"a filter that is kept", "", []Key{'/', 'c', 'a', 'x', Backspace, Enter}, []string{"filter: ca  1 service  "}, []string{"ca_"}},
		{"a filter that is gone", "", []Key{'/', 'c', Enter, Escape}, []string{"13 services"}, []string{"filter:"}},
		{"help", "", []Key{'?'}, []string{"Any key: back"}, []string{"GROUPS"}},
		{"back from help", "", []Key{'?', 'x'}, []string{"GROUPS"}, []string{"Any key"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := shop()
			if c.prefix != "" {
				all := p.Services.all
				p.Services = NewServices(c.prefix, 1)
				p.root.base, p.now.base = c.prefix, c.prefix
				for _, s := range all {
					p.Services.Put(s)
				}
			}
			got := shown(p, 110, 25)
			for _, k := range c.keys {
				if p.Press(k) {
					t.Fatalf("key %d ended it", k)
				}
				got = shown(p, 110, 25)
			}
			got = strings.ReplaceAll(got, "\n", " \n") + " "
			for _, want := range c.want {
				if !strings.Contains(got, strings.ReplaceAll(want, "\n", " \n")) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, not := range c.not {
				if strings.Contains(got, not) {
					t.Errorf("%q in\n%s", not, got)
				}
			}
		})
	}
	for _, k := range []Key{'q', CtrlC} {
		if !shop().Press(k) {
			t.Errorf("key %d does not end it", k)
		}
	}
	if p := shop(); p.Press('/') || !p.Press(CtrlC) {
		t.Error("control C does not end it while a filter is written")
	}
}

// Who goes into a group means the one that he saw marked, also if another stands there by now.
func TestEnterGoesIntoTheGroupThatWasSeen(t *testing.T) {
	p := shop()
	shown(p, 110, 25)
	for i := range 10 {
		p.Services.Put(Service{Name: fmt.Sprintf("good/%d", i), Status: notServing})
	}
	p.Press(Enter)
	if got := shown(p, 110, 25); !strings.Contains(got, "GROUPS in shop/") {
		t.Error(got)
	}
}

// Keys that come faster than pictures do what they do one by one.
func TestKeysDoNotWaitForPictures(t *testing.T) {
	p := shop()
	shown(p, 110, 25)
	for _, k := range []Key{Down, Enter} {
		p.Press(k)
	}
	if got := shown(p, 110, 25); !strings.Contains(got, "GROUPS in good/") {
		t.Error(got)
	}
}

func TestAnOldPictureSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Picture)
		want   string
	}{
		{"no node tells", func(p *Picture) { p.Endpoint, p.Lost = "", minute(3) }, "▲ old: no node has told anything for 2m, since 03:03:00; still trying"},
		{"not asked yet", func(p *Picture) { p.Endpoint = "" }, "asking"},
		{"the first state comes", func(p *Picture) { p.Synced = false }, "reading from n1:7600"},
		{"no leader is heard", func(p *Picture) { p.Status.Members[0].LeaderAge = durationpb.New(40 * time.Second) }, "◆ from n1:7600, maybe old\n13 services  ● 11 SERVING  ▲ 1 NOT_SERVING  ◆ 1 UNKNOWN\n! n1 has heard no leader for 40s: what it shows may be as old"},
		{"the leader hears itself", func(p *Picture) {
			p.Status.Members[0].LeaderAge, p.Status.Members[0].Role = durationpb.New(40*time.Second), rollcallv1.Role_ROLE_LEADER
		}, "● live"},
		{"no status", func(p *Picture) {
			p.Status, p.StatusError = nil, "cannot get the status of the cluster: no endpoint answers"
		}, "! cannot get the status"},
		{"the status does not come any more", func(p *Picture) { p.StatusError = "cannot get the status of the cluster: not done within 5s" }, "◆ from n1:7600, maybe old\n"},
		{"no leader", func(p *Picture) { p.Status.Leader, p.Status.Writable = "", false }, "no leader · revision 1234 · 2 of 3 nodes ready · writes refused"},
		{"another cluster", func(p *Picture) { p.Note = "the cluster changed" }, "! the cluster changed"},
		{"not all may be read", func(p *Picture) { p.Filtered = true }, "only what you may read"},
		{"many problems", func(p *Picture) { p.Status.Problems = []string{"a", "b", "c", "d"} }, "! b\n! 2 more problems: \"rollcall status\" names them"},
	} {
		p := shop()
		c.change(p)
		if got := shown(p, 200, 25); !strings.Contains(got, c.want) {
			t.Errorf("%s: no %q in\n%s", c.name, c.want, got)
		}
	}
	p := shop()
	p.Endpoint, p.Lost = "", minute(3)
	if got := shown(p, 60, 25); !strings.HasPrefix(got, "▲ old: no node has told anything for 2m, since 03:03:00") {
		t.Errorf("in a narrow terminal:\n%s", got)
	}
	p = shop()
	p.StatusError = "not done within 5s"
	if got := shown(p, 60, 25); !strings.HasPrefix(got, "◆ from n1:7600, maybe old  cluster ") {
		t.Errorf("in a narrow terminal:\n%s", got)
	}
}

func TestBarsShowTheLeastPart(t *testing.T) {
	p := NewPicture("", 1)
	for c, want := range map[Counts]string{
		{}:                             "",
		{Total: 5}:                     "────────",
		{Total: 10_000, NotServing: 1}: "▲───────",
		{Total: 10_000, NotServing: 1, Unknown: 1}:     "▲◆──────",
		{Total: 10_000, NotServing: 9_999}:             "▲▲▲▲▲▲▲─",
		{Total: 10_000, NotServing: 9_998, Unknown: 1}: "▲▲▲▲▲▲◆─",
		{Total: 3, NotServing: 3}:                      "▲▲▲▲▲▲▲▲",
		{Total: 3, Unknown: 3}:                         "◆◆◆◆◆◆◆◆",
		{Total: 1000, NotServing: 999, Unknown: 1}:     "▲▲▲▲▲▲▲◆",
		{Total: 1000, NotServing: 1, Unknown: 999}:     "▲◆◆◆◆◆◆◆",
		{Total: 4, NotServing: 1, Unknown: 1}:          "▲▲◆◆────",
	} {
		if got := p.bar(c, 8); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}
