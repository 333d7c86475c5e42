// Package duration reads durations as people write them, on a command line and in a file: Go's forms, and days and
// weeks. It writes ages for people. What a duration is for, and which ones make sense there, does not belong here.
package duration

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Forms says which forms a duration may have.
const Forms = "a number with a unit, as 500ms, 10s, 5m, 2h, 30d, 1d12h or 2w"

// Errors of Read.
var (
	ErrNoDuration = errors.New("no duration")
	ErrTooLong    = errors.New("too long")
)

// Parse reads a duration in one of the Forms. Go has no days and no weeks; here a day always
// has 24 hours. A duration may be negative: who asks for it says whether that makes sense.
func Parse(s string) (time.Duration, error) {
	d, err := Read(s)
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, ErrTooLong):
		return 0, fmt.Errorf("%q is too long: a duration is at most 106751d", s)
	case s != "" && strings.Trim(strings.TrimPrefix(s, "-"), ".0123456789") == "":
		return 0, fmt.Errorf("%q has no unit; use %s, %s, %s or %s", s, s+"s", s+"m", s+"h", s+"d")
	}
	return 0, fmt.Errorf("%q is no duration; use %s", s, Forms)
}

// Read is Parse for callers with an error text of their own: its errors are ErrNoDuration and ErrTooLong.
func Read(s string) (time.Duration, error) {
	rest, minus := strings.CutPrefix(s, "-")
	if !minus {
		rest = strings.TrimPrefix(rest, "+")
	}
	if rest == "" {
		return 0, ErrNoDuration
	}
	var sum time.Duration
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, unit.name)
		if !ok {
			continue
		}
		if number == "" || strings.Trim(number, "0123456789") != "" {
			return 0, ErrNoDuration
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > math.MaxInt64/int64(unit.long) || sum+time.Duration(n)*unit.long < sum {
			return 0, ErrTooLong
		}
		sum += time.Duration(n) * unit.long
		rest = after
	}
	if rest != "" {
		if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			return 0, ErrNoDuration
		}
		d, err := time.ParseDuration(rest)
		switch {
		case err != nil && strings.Trim(rest, ".0123456789smhnuµμ") == "" && tooLong(rest):
			return 0, ErrTooLong
		case err != nil:
			return 0, ErrNoDuration
		case sum+d < sum:
			return 0, ErrTooLong
		}
		sum += d
	}
	if minus {
		sum = -sum
	}
	return sum, nil
}

// tooLong reports whether a text that Go does not read as a duration is one with a number that is too large.
func tooLong(s string) bool {
	unit := strings.TrimLeft(s, ".0123456789")
	if unit == "" || len(unit) == len(s) {
		return false
	}
	_, err := time.ParseDuration("1" + unit)
	return err == nil
}
