package cliflag

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// DurationForms says which forms a duration may have.
const DurationForms = "a number with a unit, as 500ms, 10s, 5m, 2h, 30d, 1d12h or 2w"

var (
	errNoDuration = errors.New("no duration")
	errTooLong    = errors.New("too long")
)

// ParseDuration reads a duration in one of the DurationForms. Go has no days and no weeks; here a day always
// has 24 hours. A duration may be negative: who asks for it says whether that makes sense.
func ParseDuration(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, errTooLong):
		return 0, fmt.Errorf("%q is too long: a duration is at most 106751d", s)
	case s != "" && strings.Trim(strings.TrimPrefix(s, "-"), ".0123456789") == "":
		return 0, fmt.Errorf("%q has no unit; use %s, %s, %s or %s", s, s+"s", s+"m", s+"h", s+"d")
	}
	return 0, fmt.Errorf("%q is no duration; use %s", s, DurationForms)
}

func parseDuration(s string) (time.Duration, error) {
	rest, minus := strings.CutPrefix(s, "-")
	if !minus {
		rest = strings.TrimPrefix(rest, "+")
	}
	if rest == "" {
		return 0, errNoDuration
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
			return 0, errNoDuration
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > math.MaxInt64/int64(unit.long) || sum+time.Duration(n)*unit.long < sum {
			return 0, errTooLong
		}
		sum += time.Duration(n) * unit.long
		rest = after
	}
	if rest != "" {
		if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			return 0, errNoDuration
		}
		d, err := time.ParseDuration(rest)
		switch {
		case err != nil && strings.Trim(rest, ".0123456789smhnuµμ") == "" && tooLong(rest):
			return 0, errTooLong
		case err != nil:
			return 0, errNoDuration
		case sum+d < sum:
			return 0, errTooLong
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

// DurationVar defines a flag whose value is a duration.
func DurationVar(flags *pflag.FlagSet, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	flags.Var((*durationValue)(to), name, usage)
}

type durationValue time.Duration

// Set implements pflag.Value.
func (d *durationValue) Set(s string) error {
	v, err := ParseDuration(s)
	if err == nil {
		*d = durationValue(v)
	}
	return err
}

// String implements pflag.Value.
func (d *durationValue) String() string { return format.Duration(time.Duration(*d)) }

// Type implements pflag.Value.
func (*durationValue) Type() string { return "duration" }
