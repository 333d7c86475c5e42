package checks

import (
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
	const cut = "…"
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		part := text[i : i+n]
		switch {
		case r == utf8.RuneError && n == 1:
			part = fmt.Sprintf(`\x%02x`, text[i])
		case r == '\n':
			part = `\n`
		case r == '\t':
			part = `\t`
		case r == '\r':
			part = `\r`
		case r != ' ' && !limits.Shows(r):
			part = fmt.Sprintf(`\U%08x`, r)
			if r <= 0xffff {
				part = fmt.Sprintf(`\u%04x`, r)
			}
		}
		if b.Len()+len(part) > limit-len(cut) {
			b.WriteString(cut)
			break
		}
		b.WriteString(part)
		i += n
	}
	return b.String()
}
