package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// timeForms are what every flag that takes a time accepts.
const timeForms = `a time as 2026-11-22T03:12:00Z, "2026-11-22 03:12" or 03:12 (local, the last one that was), or how long ago as 10m or 7d`

// moment is a point in the registry's past: a revision, or a time if that is set.
type moment struct {
	revision int64
	time     time.Time
}

func (m moment) at() *rollcallv1.At {
	if m.time.IsZero() {
		return client.AtRevision(m.revision)
	}
	return client.AtTime(m.time)
}

// parseMoment reads digits as a revision, and all else as parseTime does.
func parseMoment(s string, now time.Time) (moment, error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return moment{}, fmt.Errorf("%s is no revision: it is too large", s)
		}
		return moment{revision: n}, nil
	}
	t, err := parseTime(s, now)
	if err != nil {
		return moment{}, fmt.Errorf("%q is no moment; use a revision, %s", s, timeForms)
	}
	return moment{time: t}, nil
}

// parseTime reads the timeForms. Local is the zone of now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	// Fractions of a second are read also where a layout has none.
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return lastClock(t, now), nil
		}
	}
	if d, ok := parseAgo(s); ok {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; use %s", s, timeForms)
}

// lastClock is when clocks last showed the hour, minute and second of t.
func lastClock(t, now time.Time) time.Time {
	on := func(day int) time.Time {
		return time.Date(now.Year(), now.Month(), day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
	}
	if today := on(now.Day()); !today.After(now) {
		return today
	}
	return on(now.Day() - 1)
}

// parseAgo reads 10m, -10m and "10m ago"; days may stand in front, as 7d or 1d12h.
func parseAgo(s string) (time.Duration, bool) {
	const (
		day      = 24 * time.Hour
		mostDays = 100_000 // what can be counted in nanoseconds
	)
	rest, minus := strings.CutPrefix(s, "-")
	if before, ago := strings.CutSuffix(rest, "ago"); ago {
		if minus {
			return 0, false
		}
		rest = strings.TrimSpace(before)
	}
	var sum time.Duration
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 64)
		if err != nil || n > mostDays {
			return 0, false
		}
		if sum = time.Duration(n) * day; after == "" {
			return sum, true
		}
		rest = after
	}
	if rest == "" || rest[0] == '-' || rest[0] == '+' {
		return 0, false
	}
	d, err := time.ParseDuration(rest)
	if err != nil || sum+d < sum {
		return 0, false
	}
	return sum + d, true
}

// momentFlag is the value of --at.
type momentFlag struct {
	moment
	now  func() time.Time
	text string // as given; "" if it is not
}

func (f *momentFlag) String() string { return f.text }
func (f *momentFlag) Type() string   { return "moment" }

func (f *momentFlag) Set(s string) (err error) {
	f.text = s
	f.moment, err = parseMoment(s, f.now())
	return err
}

// at is nil if the flag was not given.
func (f *momentFlag) at() *rollcallv1.At {
	if f.text == "" {
		return nil
	}
	return f.moment.at()
}

const atUsage = "show it as it was at this `moment`: a revision as 42, or a time as 10m, 03:12, \"2026-11-22 03:12\", 2026-11-22T03:12:00Z"

// suffix is for errors: " as of 10m".
func (f *momentFlag) suffix() string {
	if f.text == "" {
		return ""
	}
	return " as of " + f.text
}

// tell says why it is another revision than the one asked for.
func (f *momentFlag) tell(w io.Writer, revision int64) {
	if f.text != "" && f.time.IsZero() && revision != f.revision {
		fmt.Fprintf(w, "revision %d is inside an atomic write, of which half was never visible: this is before it\n", f.revision)
	}
}

// timeFlag is the value of --since and --until; it is zero if not given.
type timeFlag struct {
	time.Time
	now  func() time.Time
	text string
}

func (f *timeFlag) String() string { return f.text }
func (f *timeFlag) Type() string   { return "time" }

func (f *timeFlag) Set(s string) (err error) {
	if m, err := parseMoment(s, f.now()); err == nil && m.time.IsZero() {
		return fmt.Errorf("%q is a revision; a time is wanted: %s", s, timeForms)
	}
	f.text = s
	f.Time, err = parseTime(s, f.now())
	return err
}

// past and when are flag values that read the clock when they are set.
func (a *app) past() momentFlag { return momentFlag{now: a.clock} }
func (a *app) when() timeFlag   { return timeFlag{now: a.clock} }

func (a *app) clock() time.Time { return a.now() }
