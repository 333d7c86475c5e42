package checks

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// Result is what is known of one check. It is a copy that the caller may keep.
type Result struct {
	Service  string
	Check    string // its name
	Critical bool

	// Status is damped by Rise and Fall: UNKNOWN until the check has run, then SERVING or NOT_SERVING.
	Status client.Status
	Since  time.Time // when Status became what it is; for UNKNOWN, when the check was added

	// Error is what the last run said, undamped: "" if the check passed. It is one line of at most 4 KiB, in which
	// every character shows; line feeds and the like are written as \n. It may hold what the check measured, and
	// secrets that a library puts into its errors.
	Error    string
	Degraded bool          // Error is a warning: the run counts as a success
	LastRun  time.Time     // when the last run that is over, or late, started; zero if none is
	Took     time.Duration // how long that run took; while it is stuck, its timeout

	Successes int // runs in a row, up to the last one, that succeeded
	Failures  int // runs in a row, up to the last one, that failed

	// NextRun is when the next run is due; zero while the check is stuck. It is in the past while the check waits
	// for a place (see WithMaxParallel) or for a run that takes longer than the interval.
	NextRun time.Time
	Running bool // a run has not returned; a stuck one, too
	Stuck   bool // a run has not returned at its timeout

	Interval, Timeout time.Duration
	Rise, Fall        int
}

const maxErrorBytes = 4 << 10

// errorText is the text of an error as results show it.
func errorText(text string) string {
	if text == "" {
		return "it failed without a message"
	}
	return visible(text, maxErrorBytes)
}

// visible makes one line of text, in which every character shows, and cuts it off after limit bytes.
func visible(text string, limit int) string {
	var b strings.Builder
	for i := 0; i < len(text) && b.Len() <= limit; {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == ' ' || limits.Shows(r):
			b.WriteString(text[i : i+n])
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return cutOff(b.String(), limit)
}

// cutOff cuts text, which is UTF-8, off so that it has at most limit bytes.
func cutOff(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// result is what is known of e. The caller holds Runner.mu.
func (e *entry) result() Result {
	r := Result{
		Service: e.service.name, Check: e.name, Critical: e.o.critical,
		Status: e.status, Since: e.since,
		Error: e.text, Degraded: e.degraded, LastRun: e.lastRun, Took: e.took,
		Successes: e.successes, Failures: e.failures,
		Running: e.inside, Stuck: e.state == stuck && e.late,
		Interval: e.o.interval, Timeout: e.o.timeout, Rise: e.o.rise, Fall: e.o.fall,
	}
	if e.state != stuck {
		r.NextRun = e.due
	}
	return r
}

func compareResults(a, b Result) int {
	return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Check, b.Check))
}
