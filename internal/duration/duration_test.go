package duration

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "-0s": 0, "500ms": 500 * time.Millisecond, "1.5h": 90 * time.Minute, "1h30m": 90 * time.Minute, ".5s": 500 * time.Millisecond,
		"30d": 30 * day, "1d12h": 36 * time.Hour, "2w": 14 * day, "1w2d3h": 9*day + 3*time.Hour, "-1d12h": -36 * time.Hour, "+5m": 5 * time.Minute,
		"106751d": 106751 * day, "106751d23h47m16.854775807s": math.MaxInt64, "10µs": 10 * time.Microsecond, "10μs": 10 * time.Microsecond,
	} {
		if got, err := Read(in); err != nil || got != want {
			t.Errorf("%q is %v %v, want %v", in, got, err, want)
		}
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%q is %v %v, want %v", in, got, err, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"": ErrNoDuration, "-": ErrNoDuration, "+": ErrNoDuration, "5": ErrNoDuration, "soon": ErrNoDuration, "d": ErrNoDuration, "w": ErrNoDuration, "1.5d": ErrNoDuration,
		"1d2w": ErrNoDuration, "7d7d": ErrNoDuration, "7d-3h": ErrNoDuration, "7d+3h": ErrNoDuration, "--5m": ErrNoDuration, "+-5m": ErrNoDuration, "5 s": ErrNoDuration,
		" 5s": ErrNoDuration, "5s ": ErrNoDuration, "5S": ErrNoDuration, "1d5": ErrNoDuration, "１s": ErrNoDuration,
		"999999d": ErrTooLong, "15251w": ErrTooLong, "9999999h": ErrTooLong, "99999999999999999999d": ErrTooLong, "99999999999999999999h": ErrTooLong,
		"106751d23h47m16.854775808s": ErrTooLong, "15250w7d": ErrTooLong, "100000d2000000h": ErrTooLong,
	} {
		if got, err := Read(in); !errors.Is(err, want) || got != 0 {
			t.Errorf("%q is %v %v, want %v", in, got, err, want)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"5":       `"5" has no unit; use 5s, 5m, 5h or 5d`,
		"-1.5":    `"-1.5" has no unit; use -1.5s, -1.5m, -1.5h or -1.5d`,
		"":        `"" is no duration; use ` + Forms,
		"soon":    `"soon" is no duration; use ` + Forms,
		"1d5":     `"1d5" is no duration; use ` + Forms,
		"999999d": `"999999d" is too long: a duration is at most 106751d`,
	} {
		if _, err := Parse(in); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// FuzzRead: what Read accepts, it accepts with a sign before it, and it means the opposite.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"0", "5s", "30d", "1w2d3h", "1.5h", "999999d", "106751d23h47m16.854775807s", "１s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Read(s)
		if err != nil && (d != 0 || !errors.Is(err, ErrNoDuration) && !errors.Is(err, ErrTooLong)) {
			t.Fatalf("%q is %v, %v", s, d, err)
		}
		if err != nil || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
			return
		}
		if d < 0 {
			t.Errorf("%q is %v", s, d)
		}
		if minus, err := Read("-" + s); err != nil || minus != -d {
			t.Errorf("-%q is %v, %v", s, minus, err)
		}
	})
}
