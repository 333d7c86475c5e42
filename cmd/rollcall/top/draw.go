package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Shapes stand beside colours: not everybody sees these.
const (
	servingShape    = "●"
	notServingShape = "▲"
	unknownShape    = "◆"
)

const mostProblems = 3 // that are shown, of many

// Lines returns the picture for a terminal of this size. height 0: as long as it takes, with so many rows of each list
// at most.
func (p *Picture) Lines(columns, height, most int, now time.Time) []string {
	p.keepInside()
	if p.help {
		return fit(helpLines(columns), height)
	}
	lines := p.header(columns, now)
	keys := p.Live && height > leastForKeys
	free := height - len(lines) - 5 // titles, and the lines between the lists
	if keys {
		free--
	}
	rows := p.divide(free, most)
	if height == 0 {
		rows = [3]int{min(p.length(inGroups), most), min(p.length(inDown), most), min(len(p.Events), most)}
	}
	lines = append(lines, p.groupLines(columns, rows[0])...)
	lines = append(append(lines, ""), p.downLines(columns, rows[1], now)...)
	lines = append(append(lines, ""), p.eventLines(columns, rows[2], now)...)
	switch {
	case height == 0:
		return lines
	case keys:
		return append(fit(lines, height-1), p.keys(columns))
	}
	return fit(lines, height)
}

// leastForKeys is the height from which on a line is left for the keys.
const leastForKeys = 8

// fit makes as many lines of it as there is room for.
func fit(lines []string, height int) []string {
	lines = lines[:min(len(lines), height)]
	return append(lines, make([]string, height-len(lines))...)
}

// divide says how many rows of groups, of services that are down and of events there is room for: each gets a share,
// and what one does not need the others get.
func (p *Picture) divide(free, most int) [3]int {
	want := [3]int{p.length(inGroups), p.length(inDown), min(len(p.Events), most)}
	var rows [3]int
	for _, share := range [][3]int{{40, 35, 25}, {100, 0, 0}, {0, 100, 0}, {0, 0, 100}} {
		left := max(0, free-rows[0]-rows[1]-rows[2])
		for i := range rows {
			rows[i] += min(want[i]-rows[i], left*share[i]/100)
		}
	}
	return rows
}

func (p *Picture) header(columns int, now time.Time) []string {
	text, tone := clusterLine(p.Status), format.Plain
	if p.Status != nil && (p.Status.GetLeader() == "" || !p.Status.GetWritable()) {
		tone = format.Bad
	}
	state, stateTone := p.state(now)
	cells := []cell{{text: text, tone: tone, n: widthOf(text)}, {text: state, tone: stateTone, n: widthOf(state)}}
	if narrow := widthOf(text)+widthOf(state)+2 > columns; stateTone == format.Bad || stateTone == format.Doubtful && narrow {
		slices.Reverse(cells) // a narrow terminal shows the first alone
	}
	lines := []string{
		line(columns, p.Paint, cells...),
		p.countLine(columns),
	}
	for _, w := range p.warnings(now) {
		lines = append(lines, line(columns, p.Paint, cell{text: "! " + format.Printable(format.OneLine(w)), tone: format.Bad}))
	}
	return append(lines, "")
}

func clusterLine(s *rollcallv1.GetStatusResponse) string {
	if s == nil {
		return "rollcall"
	}
	id := s.GetClusterId()
	const shortest = 8
	if len(id) > shortest {
		id = id[:shortest]
	}
	leader := "no leader"
	if s.GetLeader() != "" {
		leader = "leader " + s.GetLeader()
	}
	ready := 0
	for _, m := range s.GetMembers() {
		if m.GetReady() {
			ready++
		}
	}
	text := fmt.Sprintf("cluster %s · %s · revision %d · %d of %s ready", format.OrDash(id), leader, s.GetRevision(), ready, format.Count(len(s.GetMembers()), "node", "nodes"))
	if !s.GetWritable() {
		text += " · writes refused"
	}
	return format.Printable(text)
}

// state says whether the picture is live, or since when it is old.
func (p *Picture) state(now time.Time) (string, format.Tone) {
	switch {
	case !p.Live:
		return "", format.Plain
	case p.Endpoint == "" && p.Lost.IsZero():
		return "asking", format.Doubtful
	case p.Endpoint == "":
		return fmt.Sprintf("▲ old: no node has told anything for %s, since %s; still trying", format.OneUnit(now.Sub(p.Lost)), p.Lost.In(now.Location()).Format(time.TimeOnly)), format.Bad
	case !p.Synced:
		return "reading from " + p.Endpoint, format.Doubtful
	case p.leaderSilence() > 0, p.StatusError != "" && p.Status != nil: // a node that hangs keeps the watch open for a while
		return unknownShape + " from " + p.Endpoint + ", maybe old", format.Doubtful
	}
	return servingShape + " live from " + p.Endpoint, format.Good
}

func (p *Picture) countLine(columns int) string {
	c := p.Services.shown
	number := func(n int) string { return format.Grouped(uint64(n)) }
	cells := []cell{
		{text: format.Count(c.Total, "service", "services")},
		{text: servingShape + " " + number(c.Serving()) + " SERVING", tone: format.Good},
		{text: notServingShape + " " + number(c.NotServing) + " NOT_SERVING", tone: toneIf(c.NotServing > 0, format.Bad)},
		{text: unknownShape + " " + number(c.Unknown) + " UNKNOWN", tone: toneIf(c.Unknown > 0, format.Doubtful)},
	}
	if p.now.filter != "" || p.editing {
		cursor := ""
		if p.editing {
			cursor = "_"
		}
		cells = slices.Insert(cells, 0, cell{text: "filter: " + format.Printable(p.now.filter) + cursor, tone: format.Doubtful})
	}
	if p.Filtered {
		cells = append(cells, cell{text: "only what you may read", tone: format.Faint})
	}
	for i := range cells {
		cells[i].n = widthOf(cells[i].text)
	}
	return line(columns, p.Paint, cells...)
}

// warnings are the problems of the cluster, and what makes the picture old.
func (p *Picture) warnings(now time.Time) []string {
	var all []string
	if p.Note != "" {
		all = append(all, p.Note)
	}
	if p.StatusError != "" {
		all = append(all, p.StatusError)
	}
	if silent := p.leaderSilence(); silent > 0 {
		all = append(all, fmt.Sprintf("%s has heard no leader for %s: what it shows may be as old", p.Status.GetNode(), format.OneUnit(silent)))
	}
	problems := p.Status.GetProblems()
	if n := len(problems); n > mostProblems {
		problems = append(append([]string{}, problems[:mostProblems-1]...), fmt.Sprintf(`%d more problems: "rollcall status" names them`, n-mostProblems+1))
	}
	return append(all, problems...)
}

// leaderSilence is how long the node that answered has heard no leader, if that is long.
func (p *Picture) leaderSilence() time.Duration {
	const long = 3 * time.Second
	if p.StatusError != "" {
		return 0 // what it said is of before
	}
	for _, m := range p.Status.GetMembers() {
		if age := m.GetLeaderAge().AsDuration(); m.GetMember().GetName() == p.Status.GetNode() && m.GetRole() != rollcallv1.Role_ROLE_LEADER && age >= long {
			return age
		}
	}
	return 0
}

func toneIf(condition bool, t format.Tone) format.Tone {
	if condition {
		return t
	}
	return format.Plain
}

// title is the line above a list: it says how much of it is not shown.
func (p *Picture) title(columns int, f focus, text string, first, end, length int) string {
	if end-first < length {
		text += fmt.Sprintf("  (%s–%s of %s)", format.Grouped(uint64(min(first+1, end))), format.Grouped(uint64(end)), format.Grouped(uint64(length)))
	}
	if p.Live && p.focus == f {
		text = "» " + text
	}
	return line(columns, p.Paint, cell{text: text})
}

func (p *Picture) mark(f focus, row int) string {
	switch {
	case !p.Live:
		return ""
	case p.focus == f && p.list[f].selected == row:
		return "> "
	}
	return "  "
}

func (p *Picture) groupLines(columns, rows int) []string {
	length := p.length(inGroups)
	first, end := p.list[inGroups].scroll(rows, length)
	text := "GROUPS"
	if p.now.base != "" {
		text += " in " + format.Printable(p.now.base)
	}
	lines := []string{p.title(columns, inGroups, text, first, end, length)}
	var groups []*Group
	var names []string
	for row := first; row < end; row++ {
		g, _ := p.Services.worst.GetAt(row)
		if row == p.list[inGroups].selected {
			p.marked = g.Name
		}
		groups, names = append(groups, g), append(names, p.mark(inGroups, row)+shortName(g.Name, p.now.base))
	}
	const numbers, bar, between = 9, 24, 2
	name := widest(names, max(12, min(60, columns-3*numbers-bar-4*between)))
	for i, g := range groups {
		cells := []cell{{text: names[i], n: name}}
		if one, ok := p.Services.Get(g.Name); ok && g.IsService() {
			status, tone := statusText(one.Status)
			cells = append(cells, cell{text: status, tone: tone})
		} else {
			number := func(shape string, n int, t format.Tone) cell {
				return cell{text: shape + format.Grouped(uint64(n)), tone: toneIf(n > 0, t), n: numbers, right: true}
			}
			cells = append(cells, number("", g.Total, format.Plain), number(notServingShape+" ", g.NotServing, format.Bad),
				number(unknownShape+" ", g.Unknown, format.Doubtful), cell{text: p.bar(g.Counts, bar)})
		}
		lines = append(lines, p.groupLine(columns, cells, g))
	}
	return lines
}

// widest is the width of the widest text, within most.
func widest(texts []string, most int) int {
	n := 1
	for _, t := range texts {
		n = max(n, widthOf(t))
	}
	return min(n, most)
}

// groupLine paints the parts of the bar, which is the last cell of a group.
func (p *Picture) groupLine(columns int, cells []cell, g *Group) string {
	text := line(columns, p.Paint, cells...)
	if !p.Paint || g.IsService() {
		return text
	}
	bar := cells[len(cells)-1].text
	at := strings.LastIndex(text, bar)
	if at < 0 { // it was cut
		return text
	}
	var painted strings.Builder
	for _, part := range []struct {
		shape string
		tone  format.Tone
	}{{notServingShape, format.Bad}, {unknownShape, format.Doubtful}, {servingPart, format.Good}} {
		painted.WriteString(format.Paint(strings.Repeat(part.shape, strings.Count(bar, part.shape)), part.tone))
	}
	return text[:at] + painted.String()
}

// servingPart is what a bar has for services that serve: a line, before which the others stand out.
const servingPart = "─"

// bar shows the shares of the statuses in n characters. What there is has one at least.
func (p *Picture) bar(c Counts, n int) string {
	if c.Total == 0 {
		return ""
	}
	share := func(part int) int {
		if part == 0 {
			return 0
		}
		return max(1, part*n/c.Total)
	}
	down, unknown := share(c.NotServing), share(c.Unknown)
	if c.Serving() > 0 { // one character is left for them
		down = min(down, n-1-min(unknown, 1))
		unknown = min(unknown, n-1-down)
	} else if c.NotServing == 0 {
		unknown = n
	} else {
		unknown = min(unknown, n-1)
		down = n - unknown
	}
	return strings.Repeat(notServingShape, down) + strings.Repeat(unknownShape, unknown) + strings.Repeat(servingPart, n-down-unknown)
}

func shortName(name, base string) string {
	if short := strings.TrimPrefix(name, base); short != "" {
		return format.Printable(short)
	}
	return format.Service(name)
}

func statusText(s healthpb.HealthCheckResponse_ServingStatus) (string, format.Tone) {
	shape := unknownShape
	switch s {
	case healthpb.HealthCheckResponse_SERVING:
		shape = servingShape
	case healthpb.HealthCheckResponse_NOT_SERVING:
		shape = notServingShape
	}
	return shape + " " + s.String(), format.StatusTone(s)
}

func (p *Picture) downLines(columns, rows int, now time.Time) []string {
	length := p.length(inDown)
	first, end := p.list[inDown].scroll(rows, length)
	text := "NOT SERVING, newest first"
	if length == 0 {
		text = "NOT SERVING: none"
	}
	var table [][]cell
	for row := first; row < end; row++ {
		s, _ := p.Services.down.GetAt(row)
		age := "-"
		if !s.Since.IsZero() {
			age = format.OneUnit(now.Sub(s.Since))
		}
		status, tone := statusText(s.Status)
		table = append(table, []cell{{text: p.mark(inDown, row) + age}, {text: format.Service(s.Name)}, {text: status, tone: tone},
			{text: format.OrDash(s.Who)}, {text: format.OrDash(format.OneLine(s.Why))}})
	}
	return append([]string{p.title(columns, inDown, text, first, end, length)}, p.table(columns, table)...)
}

func (p *Picture) eventLines(columns, rows int, now time.Time) []string {
	var table [][]cell
	for _, e := range p.Events[:rows] {
		table = append(table, []cell{{text: p.mark(-1, 0) + e.Time.In(now.Location()).Format(time.TimeOnly)}, {text: format.OrDash(e.Subject)},
			{text: e.Change.Text, tone: e.Change.Tone}, {text: format.OrDash(e.Who)}, {text: format.OrDash(format.OneLine(e.Why))}})
	}
	return append([]string{line(columns, p.Paint, cell{text: "LAST EVENTS"})}, p.table(columns, table)...)
}

// table aligns rows. No column but the last takes more than a third.
func (p *Picture) table(columns int, rows [][]cell) []string {
	var lines []string
	widths := map[int]int{}
	for _, row := range rows {
		for i, c := range row[:len(row)-1] {
			widths[i] = max(widths[i], min(widthOf(c.text), max(10, columns/3)))
		}
	}
	for _, row := range rows {
		for i := range row[:len(row)-1] {
			row[i].n = widths[i]
		}
		lines = append(lines, line(columns, p.Paint, row...))
	}
	return lines
}

func (p *Picture) keys(columns int) string {
	text := "arrows: move · enter: into a group · backspace: out · tab: other list · /: filter · ?: help · q: end"
	if p.editing {
		text = "type a part of names · enter: keep the filter · escape: no filter"
	}
	return line(columns, p.Paint, cell{text: text, tone: format.Faint})
}

func helpLines(columns int) []string {
	lines := strings.Split(strings.Trim(`
rollcall top: the services of a cluster, by groups, worst first

  arrows, j k           move
  page up, page down    move a page; home, end: to the first and the last
  enter, right          into the group that is marked with >
  backspace, left       out of it
  tab                   to the other list: groups, or services that do not serve
  /                     filter: show services whose names hold all of these words
  escape                no filter
  q, control C          end

  ● SERVING   ▲ NOT_SERVING   ◆ UNKNOWN

A bar shows which part of a group is in which status: ▲ and ◆ from the left, ─ for SERVING.
"rollcall why SERVICE" says why a service has its status; "rollcall history SERVICE" what it was.

Any key: back`, "\n"), "\n")
	for i := range lines {
		lines[i] = cut(lines[i], columns)
	}
	return lines
}
