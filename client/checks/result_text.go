package checks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/internal/duration"
)

// onPage is the JSON of a Result.
type onPage struct {
	Check     string     `json:"check"`
	Critical  bool       `json:"critical"`
	Status    string     `json:"status"`
	Since     time.Time  `json:"since"`
	Error     string     `json:"error"`
	Degraded  bool       `json:"degraded"`
	LastRun   *time.Time `json:"last_run,omitempty"`
	Took      *float64   `json:"took_seconds,omitempty"`
	NextRun   *time.Time `json:"next_run,omitempty"`
	Successes int        `json:"successes"`
	Failures  int        `json:"failures"`
	Running   bool       `json:"running"`
	Stuck     bool       `json:"stuck"`
	Interval  float64    `json:"interval_seconds"`
	Timeout   float64    `json:"timeout_seconds"`
	Rise      int        `json:"rise"`
	Fall      int        `json:"fall"`
}

// MarshalJSON implements json.Marshaler: a Result as the page of [Runner.Handler] shows it. The service is not in it.
func (r Result) MarshalJSON() ([]byte, error) {
	c := onPage{
		Check: r.Check, Critical: r.Critical, Status: r.Status.String(), Since: r.Since.UTC(),
		Error: r.Error, Degraded: r.Degraded,
		Successes: r.Successes, Failures: r.Failures, Running: r.Running, Stuck: r.Stuck,
		Interval: r.Interval.Seconds(), Timeout: r.Timeout.Seconds(), Rise: r.Rise, Fall: r.Fall,
	}
	if !r.LastRun.IsZero() {
		last, took := r.LastRun.UTC(), r.Took.Seconds()
		c.LastRun, c.Took = &last, &took
	}
	if !r.NextRun.IsZero() {
		next := r.NextRun.UTC()
		c.NextRun = &next
	}
	return json.Marshal(c)
}

// Lines are a Result for people, as the page of [Runner.Handler] shows it at the time now: two or three lines. The
// first has the name and the status, the others are indented and have the last run, and its error.
func (r Result) Lines(now time.Time) []string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s since %s", r.Check, r.Status, stampAge(r.Since, now))
	if !r.Critical {
		b.WriteString(", not critical")
	}
	switch {
	case r.Failures > 0:
		fmt.Fprintf(&b, ", failures in a row: %d (fall %d)", r.Failures, r.Fall)
	case r.Successes > 0:
		fmt.Fprintf(&b, ", successes in a row: %d (rise %d)", r.Successes, r.Rise)
	}
	lines := []string{b.String()}
	b.Reset()
	switch {
	case r.Stuck:
		b.WriteString("stuck: a run has not returned within its timeout; ")
	case r.Running:
		b.WriteString("running; ")
	}
	if !r.LastRun.IsZero() {
		fmt.Fprintf(&b, "last run %s, took %v; ", stampAge(r.LastRun, now), r.Took.Round(time.Microsecond))
	}
	if !r.NextRun.IsZero() {
		fmt.Fprintf(&b, "next run %s; ", stamp(r.NextRun))
	}
	fmt.Fprintf(&b, "interval %v, timeout %v", r.Interval, r.Timeout)
	lines = append(lines, "  "+b.String())
	switch {
	case r.Degraded:
		lines = append(lines, "  warning: "+r.Error)
	case r.Error != "":
		lines = append(lines, "  error: "+r.Error)
	}
	return lines
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// stampAge is a time, and how long ago it was.
func stampAge(t, now time.Time) string { return stamp(t) + " (" + duration.Age(now.Sub(t)) + " ago)" }
