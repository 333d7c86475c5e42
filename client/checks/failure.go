package checks

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// maxForeign is how many bytes of another program's text a message holds at most.
const maxForeign = 256

// attempt is one run of a check. It words how the run failed.
type attempt struct {
	ctx   context.Context
	start time.Time
}

func begin(ctx context.Context) attempt { return attempt{ctx: ctx, start: time.Now()} }

// lateError is the failure of a run that had no answer in time.
type lateError struct {
	message string
	cause   error // context.DeadlineExceeded or context.Canceled
}

func (e *lateError) Error() string { return e.message }
func (e *lateError) Unwrap() error { return e.cause }

// late returns an error that says what did not come within the time that the run had.
func (a attempt) late(what string) error {
	if errors.Is(a.ctx.Err(), context.Canceled) {
		return &lateError{"the check was stopped before there was an answer", context.Canceled}
	}
	return &lateError{what + " within " + span(a.time()), context.DeadlineExceeded}
}

// time is how long the run had; of one without a deadline, how long it has taken.
func (a attempt) time() time.Duration {
	if deadline, ok := a.ctx.Deadline(); ok {
		return deadline.Sub(a.start)
	}
	return time.Since(a.start)
}

// isLate is whether err comes from the end of the run's time. The network notices a deadline a little before or
// after the context does.
func (a attempt) isLate(err error) bool {
	if a.ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// wordedError has a cause for errors.Is and As, and words of its own for people.
type wordedError struct {
	message string
	cause   error
}

func (e *wordedError) Error() string { return e.message }
func (e *wordedError) Unwrap() error { return e.cause }

// network words the failure of a connection to what, for example "10.0.0.1:80".
func (a attempt) network(what string, err error) error {
	if a.isLate(err) {
		return a.late(what + ": no answer")
	}
	return &wordedError{what + ": " + foreign(connfailure.Text(err.Error())), err}
}

// foreign makes another program's text fit for a message: one line, printable, of bounded length.
func foreign(text string) string { return oneLine(text, maxForeign) }

// oneLine returns text in one line of printable characters, of max bytes at most.
func oneLine(text string, max int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	if len(text) <= max {
		return text
	}
	cut := max - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
