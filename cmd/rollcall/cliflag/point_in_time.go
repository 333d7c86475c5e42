package cliflag

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/duration"
)

// TimeForms says which forms a time may have.
const TimeForms = `a time as 2026-11-22T03:12:00Z, "2026-11-22 03:12" or 03:12 (local, the last one that was), or how long ago as 10m or 7d`

// PointInTime is the value of --at: a revision, or a time, of which the registry is to be shown.
type PointInTime struct {
	Now func() time.Time // for times relative to it

	revision int64
	time     time.Time // zero: the revision counts
	text     string    // as given; "" if it was not
}

// parsePointInTime reads digits as a revision, and everything else as a time. If it is a revision, t is
// zero.
func parsePointInTime(s string, now time.Time) (revision int64, t time.Time, err error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		if revision, err = strconv.ParseInt(s, 10, 64); err != nil {
			return 0, t, fmt.Errorf("%s is no revision: it is too large", s)
		}
		return revision, t, nil
	}
	switch t, err = parseTime(s, now); {
	case errors.Is(err, errTimeRange):
		return 0, t, err
	case err != nil:
		return 0, t, fmt.Errorf("%q is no point in time; use a revision, %s", s, TimeForms)
	}
	return 0, t, nil
}

// The first and the last time that nodes know: they count nanoseconds in 64 bits.
var (
	firstTime = time.Unix(0, math.MinInt64+1)
	lastTime  = time.Unix(0, math.MaxInt64)
)

var errTimeRange = errors.New("it must be from 1678 to 2262")

// parseTime reads a time in one of the TimeForms, which is one that nodes know. A local time is in the zone of now.
func parseTime(s string, now time.Time) (time.Time, error) {
	t, err := parseAnyTime(s, now)
	switch {
	case err != nil:
		return time.Time{}, err
	case t.Before(firstTime) || t.After(lastTime):
		return time.Time{}, fmt.Errorf("%q is too far away: %w", s, errTimeRange)
	}
	return t, nil
}

func parseAnyTime(s string, now time.Time) (time.Time, error) {
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
	switch d, err := parseAgo(s); {
	case err == nil:
		return now.Add(-d), nil
	case errors.Is(err, duration.ErrTooLong):
		return time.Time{}, fmt.Errorf("%q is too far away: %w", s, errTimeRange)
	}
	return time.Time{}, fmt.Errorf("%q is no time; use %s", s, TimeForms)
}

// lastClock returns when clocks last showed the hour, minute and second of t.
func lastClock(t, now time.Time) time.Time {
	on := func(day int) time.Time {
		return time.Date(now.Year(), now.Month(), day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
	}
	if today := on(now.Day()); !today.After(now) {
		return today
	}
	return on(now.Day() - 1)
}

// parseAgo reads 10m, -10m and "10m ago", with any duration.
func parseAgo(s string) (time.Duration, error) {
	rest, minus := strings.CutPrefix(s, "-")
	if before, ago := strings.CutSuffix(rest, "ago"); ago {
		if minus {
			return 0, duration.ErrNoDuration
		}
		rest = strings.TrimSpace(before)
	}
	// A number alone is no duration here either, though Go reads "0".
	if rest == "" || rest[0] == '-' || rest[0] == '+' || rest == "0" {
		return 0, duration.ErrNoDuration
	}
	return duration.Read(rest)
}

func (p *PointInTime) String() string { return p.text }

// Type is pflag's name for the kind of value.
func (p *PointInTime) Type() string { return "revision or time" }

// Set reads the flag's text.
func (p *PointInTime) Set(s string) (err error) {
	p.text = s
	p.revision, p.time, err = parsePointInTime(s, p.Now())
	return err
}

// Given reports whether the flag was given.
func (p *PointInTime) Given() bool { return p.text != "" }

// At returns what is asked of a node; nil if the flag was not given.
func (p *PointInTime) At() *rollcallv1.At {
	switch {
	case !p.Given():
		return nil
	case p.time.IsZero():
		return client.AtRevision(p.revision)
	}
	return client.AtTime(p.time)
}

// Suffix returns " as of 10m" for messages; "" if the flag was not given.
func (p *PointInTime) Suffix() string {
	if !p.Given() {
		return ""
	}
	return " as of " + p.text
}

// NoteRevision writes why a node answered as of another revision than the one that was asked for, if it did.
func (p *PointInTime) NoteRevision(w io.Writer, answered int64) {
	if p.Given() && p.time.IsZero() && answered != p.revision {
		fmt.Fprintf(w, "revision %d is inside an atomic write, of which half was never visible: this is before it\n", p.revision)
	}
}

// PointInTimeUsage is the usage text of --at.
const PointInTimeUsage = "show it as it was at this `point in time`: a revision as 42, or a time as 10m, 03:12, \"2026-11-22 03:12\", 2026-11-22T03:12:00Z"

// Time is the value of --since and --until. It is zero if not given.
type Time struct {
	time.Time
	Now func() time.Time // for times relative to it

	text string
}

func (f *Time) String() string { return f.text }

// Type is pflag's name for the kind of value.
func (f *Time) Type() string { return "time" }

// Set reads the flag's text.
func (f *Time) Set(s string) (err error) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return fmt.Errorf("%q is a revision; a time is wanted: %s", s, TimeForms)
	}
	f.text = s
	f.Time, err = parseTime(s, f.Now())
	return err
}
