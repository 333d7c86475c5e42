package cluster_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// placeholders are what differs from run to run: what the group of the pattern matches, or all of it. Everything
// else that a page shows is compared as it is, but for the width of columns, which follows from the values.
var placeholders = []struct {
	name    string
	pattern *regexp.Regexp
	bind    bool // the same value in the page is the same value in the run, also in commands
}{
	{"removal", regexp.MustCompile(`\bwas removed from (cluster [0-9a-f]{4}[^)]*\(revision \d+[^)]*\))`), false}, // who did it is said if the node has folded it
	{"uuid", regexp.MustCompile(`\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), true},
	{"request", regexp.MustCompile(`\b[A-Z2-7]{26}\b`), true}, // the id that a node gives to a change over HTTP
	{"id", regexp.MustCompile(`\b[0-9a-f]{16,64}\b`), true},
	{"cluster", regexp.MustCompile(`\b(?:cluster|CLUSTER) +([0-9a-f]{4})\b`), true},
	{"cluster", regexp.MustCompile(`(?m)^\S+ +([0-9a-f]{4})  +[0-9a-f]{8}  `), true}, // in a column
	{"directory", regexp.MustCompile(`\bdirectory ([0-9a-f]{8})\b`), true},
	{"directory", regexp.MustCompile(`(?m)  ([0-9a-f]{8})(?:  |$)`), true}, // in a column
	{"directory", regexp.MustCompile(`"directory_id": "([0-9a-f]{8})"`), true},
	{"hash", regexp.MustCompile(`\bstate hash ([0-9a-f]{8})\b`), true},
	{"end", regexp.MustCompile(`\b(?:until|ends at|overdue since) ((?:\d{4}-\d\d-\d\d )?\d\d:\d\d(?::\d\d)?)\b`), false}, // of an override: without the date if it is today's
	{"time", regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?`), false},
	{"time", regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d\b`), false}, // that lies far ahead
	{"time", regexp.MustCompile(`\b\d{8}T\d{6}Z\b`), false},              // in the name of a directory
	{"clock", regexp.MustCompile(`\b\d\d:\d\d(?::\d\d)?\b`), false},
	{"duration", regexp.MustCompile(`\b(?:\d+(?:\.\d+)?(?:ns|µs|ms|s|m|h|d))+\b`), false},
	{"silence", regexp.MustCompile(`(?:no answer|connection refused)( for ‹duration›|)`), false}, // how long is said once it is known
	{"pid", regexp.MustCompile(`\bpid (\d+)\b`), false},
	{"pid", regexp.MustCompile(`\bkill -9 (\d+)\b`), false},
	{"pid", regexp.MustCompile(`(?m)^n\d +(\d+)  `), false},
	{"port", regexp.MustCompile(`\b127\.0\.0\.1:([1-689]\d{3,4}|7[0-57-9]\d\d|76[6-9]\d|7\d{4})\b`), false}, // of a client; nodes have 7600 to 7659
	{"term", regexp.MustCompile(`\bterm (\d+)\b`), false},
	{"entry", regexp.MustCompile(`\b(?:log entry|entries up to) +(\d+)\b`), false}, // elections have entries too
	{"entries", regexp.MustCompile(`\b(\d+) entries\b`), false},
	{"size", regexp.MustCompile(`\b([\d,.]+ ?(?:bytes|[KMGT]i?B))\b`), false}, // files consist of the machine's pages
	{"leader", regexp.MustCompile(`\bleader (n\d)\b`), false},
	{"leader", regexp.MustCompile(`\bnode (n\d)\b`), false}, // as an actor
	{"role", regexp.MustCompile(`(?m)^n\d  +(leader|follower)\b`), false},
	// In JSON and YAML.
	{"number", regexp.MustCompile(`\b(?:\w+_(?:seconds|bytes)|applied_index|lag_entries|term|index)"?: ?(-?[\d.e+-]+)`), false},
	{"role", regexp.MustCompile(`"role": "(leader|follower)"`), false},
	{"leader", regexp.MustCompile(`"leader": "(n\d)"`), false},
	{"lag", regexp.MustCompile(`(?m)^n\d  +\S+ +yes +\d+ +(\d+) `), false}, // a follower hears of the newest entry a moment later
}

var columns = regexp.MustCompile(`  +`)

// syncedLater is a state of services over HTTP whose node made sure a moment later that it missed nothing: then a message
// of its own says so, without which the state is the same.
var syncedLater = regexp.MustCompile(`(event: services\ndata: .*"synced":)false(.*\n)\n(id: .*\n)event: services\ndata: \{"services":\[\],"deleted":\[\],"revision":\d+,"synced":true,.*\n`)

// normalize replaces what differs from run to run, and returns what stood there and is bound.
func normalize(text string) (string, []string) {
	var bound []string
	text = syncedLater.ReplaceAllString(text, "${3}${1}true${2}")
	for _, p := range placeholders {
		var b strings.Builder
		end := 0
		for _, m := range p.pattern.FindAllStringSubmatchIndex(text, -1) {
			from, to := m[len(m)-2], m[len(m)-1]
			if p.bind {
				bound = append(bound, text[from:to])
			}
			b.WriteString(text[end:from] + "‹" + p.name + "›")
			end = to
		}
		text = b.String() + text[end:]
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(columns.ReplaceAllString(l, "  "), " ")
	}
	return strings.Join(lines, "\n"), bound
}

// bindings are which values of a run stand for which of the page.
type bindings struct {
	toRun, toPage map[string]string
	busy          bool // somebody else writes meanwhile: numbers differ, and how far a member is
}

var (
	anyNumber = regexp.MustCompile(`\b\d[\d,.]*\b`)
	howFar    = regexp.MustCompile(`(?m)^n\d is joining.*\n`)
)

func newBindings() *bindings {
	return &bindings{toRun: map[string]string{}, toPage: map[string]string{}}
}

// compare says how what was printed differs from what the page shows, or "".
func (b *bindings) compare(shown, printed string) string {
	want, wantBound := normalize(shown)
	got, gotBound := normalize(printed)
	if b.busy {
		loosen := func(s string) string {
			return anyNumber.ReplaceAllLiteralString(howFar.ReplaceAllLiteralString(s, ""), "‹number›")
		}
		want, got = loosen(want), loosen(got)
	}
	if want != got {
		return fmt.Sprintf("the page shows\n%s\nand rollcall printed\n%s\nas compared:\n%s", indent(shown), indent(printed), difference(want, got))
	}
	for i, page := range wantBound {
		run := gotBound[i]
		if r, ok := b.toRun[page]; ok && r != run {
			return fmt.Sprintf("the page shows %s again, where %s stood for it and now stands %s", page, r, run)
		}
		if p, ok := b.toPage[run]; ok && p != page {
			return fmt.Sprintf("the page shows %s, where it showed %s before; rollcall printed the same, %s", page, p, run)
		}
		b.toRun[page], b.toPage[run] = run, page
	}
	return ""
}

// command puts the values of the run into a command of the page.
func (b *bindings) command(c string) string {
	for page, run := range b.toRun {
		whole := regexp.MustCompile(`\b` + regexp.QuoteMeta(page) + `\b`)
		c = whole.ReplaceAllLiteralString(c, run)
	}
	return c
}

// inPage puts the values of the page into what was printed.
func (b *bindings) inPage(printed string) string {
	for run, page := range b.toPage {
		whole := regexp.MustCompile(`\b` + regexp.QuoteMeta(run) + `\b`)
		printed = whole.ReplaceAllLiteralString(printed, page)
	}
	return printed
}

func indent(s string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n\t")
}

func difference(want, got string) string {
	w, g := strings.Split(strings.TrimSuffix(want, "\n"), "\n"), strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	var out []string
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b || (i < len(w)) != (i < len(g)) {
			out = append(out, "\t- "+a, "\t+ "+b)
		}
	}
	return strings.Join(out, "\n")
}

const (
	openState = "event: open\ndata: {\"cluster_id\":\"fedcba9876543210\"}\n\n"
	unsynced  = `event: services
data: {"services":[{"service":"a"}],"deleted":[],"revision":9,"synced":false,"cluster_id":"fedcba9876543210"}

id: 9@fedcba9876543210
event: services
data: {"services":[],"deleted":[],"revision":9,"synced":true,"cluster_id":""}

`
	synced = `id: 9@fedcba9876543210
event: services
data: {"services":[{"service":"a"}],"deleted":[],"revision":9,"synced":true,"cluster_id":"fedcba9876543210"}

`
)

// TestPagesCompare is what the comparison takes for the same, and what it does not.
func TestPagesCompare(t *testing.T) {
	for _, tt := range []struct {
		what          string
		page, printed string
		same          bool
	}{
		{"the same", "payments SERVING, revision 4", "payments SERVING, revision 4", true},
		{"another revision", "payments SERVING, revision 4", "payments SERVING, revision 5", false},
		{"another status", "payments SERVING, revision 4", "payments NOT_SERVING, revision 4", false},
		{"another word", "2 of 2 changed", "2 of 2 written", false},
		{"a line more", "a\n", "a\nb\n", false},
		{"a line less", "a\nb\n", "a\n", false},
		{"an empty line more", "a\nb\n", "a\n\nb\n", false},
		{"another time", "TIME  2026-11-22T12:36:08.9Z (0s ago)", "TIME  2027-01-02T03:04:05.678Z (12ms ago)", true},
		{"no time", "12:36:08  payments SERVING", "-  payments SERVING", false},
		{"wider columns", "NODE  UP\nn1    8s", "NODE  UP\nn1    12m3s", true},
		{"a column more", "NODE  UP\nn1    8s", "NODE  LAG  UP\nn1    0    8s", false},
		{"another port of a client", "from 127.0.0.1:53900", "from 127.0.0.1:4711", true},
		{"another port of a node", "127.0.0.1:7600", "127.0.0.1:7610", false},
		{"a port of a client for one of a node", "127.0.0.1:7600", "127.0.0.1:53900", false},
		{"another leader", "cluster 3f9a · leader n1 (term 2)", "cluster 0bc1 · leader n2 (term 4)", true},
		{"no leader", "cluster 3f9a · leader n1 (term 2)", "cluster 0bc1 · no leader (term 4)", false},
		{"another lag", "n1  follower  yes  9  0  127.0.0.1:7600", "n1  leader  yes  9  1  127.0.0.1:7600", true},
		{"another revision of a node", "n1  follower  yes  9  0  127.0.0.1:7600", "n1  follower  yes  8  0  127.0.0.1:7600", false},
		{"another node in a row", "n1  follower  yes  9  0  127.0.0.1:7600", "n2  follower  yes  9  0  127.0.0.1:7600", false},
		{"another data directory", "n1  voter  127.0.0.1:7600  327f73da", "n1  voter  127.0.0.1:7600  907716f7", true},
		{"no data directory", "n1  voter  127.0.0.1:7600  327f73da", "n1  voter  127.0.0.1:7600  -", false},
		{"no answer for a while", "! n2: no answer", "! n2: no answer for 2s", true},
		{"another node silent", "! n2: no answer", "! n3: no answer", false},
		{"another node not ready", "n1  follower  yes", "n1  follower  no", false},
		{"another end", "override a until 15:46: why", "override a until 2026-11-29 00:46: why", true},
		{"another end, soon", "It ends at 15:46, in 1h", "It ends at 15:46:01, in 9m", true},
		{"no end", "override a until 15:46: why", "override a without end: why", false},
		{"two ids", "0123456789abcdef 0123456789abcdef", "aaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb", false},
		{"one id", "0123456789abcdef fedcba9876543210", "aaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaa", false},
		{"other ids", "0123456789abcdef fedcba9876543210", "aaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb", true},
		{"synced later", openState + unsynced, openState + synced, true},
		{"not synced", openState + synced, openState + `event: services` + "\n" + `data: {"services":[{"service":"a"}],"synced":false,"cluster_id":"fedcba9876543210"}` + "\n\n", false},
		{"another state, synced later", openState + strings.Replace(unsynced, `"a"`, `"b"`, 1), openState + synced, false},
		{"another process", "n1 (pid 4711) ended", "n1 (pid 1) ended", true},
		{"another node", "n1 (pid 4711) ended", "n2 (pid 4711) ended", false},
	} {
		if got := newBindings().compare(tt.page, tt.printed); (got == "") != tt.same {
			t.Errorf("%s: same is %v, want %v: %s", tt.what, got == "", tt.same, got)
		}
	}
	b := newBindings()
	if d := b.compare("--token 016b031b44337c3f", "--token ffffffffffffffff"); d != "" {
		t.Fatal(d)
	}
	if got := b.command("restore --token 016b031b44337c3f"); got != "restore --token ffffffffffffffff" {
		t.Errorf("a command with an id of the page: %s", got)
	}
	busy := newBindings()
	busy.busy = true
	if d := busy.compare("n1  follower  yes  1,234", "n1  follower  yes  5,678"); d != "" {
		t.Errorf("while somebody else writes: %s", d)
	}
	if d := busy.compare("n4 added\nn4 is joining: 3 entries behind\nn4 is a voter\n", "n4 added\nn4 is joining\nn4 is a voter\n"); d != "" {
		t.Errorf("while somebody else writes: %s", d)
	}
	if d := busy.compare("n4 is a voter\n", "n4 is joining\n"); d == "" {
		t.Error("a member that does not vote is not seen while somebody else writes")
	}
	if d := busy.compare("n1  follower  yes  1,234", "n2  follower  yes  1,234"); d == "" {
		t.Error("another node in a row is not seen while somebody else writes")
	}
	if d := b.compare("016b031b44337c3f", "eeeeeeeeeeeeeeee"); d == "" {
		t.Error("the same id stands for another one, and compare does not say so")
	}
}
