package cliflag

import (
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func TestDurations(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "5s": 5 * time.Second, "500ms": 500 * time.Millisecond, "1.5h": 90 * time.Minute, "1h30m": 90 * time.Minute,
		"30d": 30 * day, "1d12h": 36 * time.Hour, "2w": 14 * day, "1w2d3h": 9*day + 3*time.Hour, "-1s": -time.Second, "-1d": -day,
		"+5m": 5 * time.Minute, "106751d": 106751 * day, "10us": 10 * time.Microsecond, "10µs": 10 * time.Microsecond,
	} {
		got, err := ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", in, got, err, want)
		}
	}
}

func TestWhatIsNoDuration(t *testing.T) {
	for in, want := range map[string]string{
		"":                      `"" is no duration; use ` + DurationForms,
		"soon":                  `"soon" is no duration; use ` + DurationForms,
		"5":                     `"5" has no unit; use 5s, 5m, 5h or 5d`,
		"-5":                    `"-5" has no unit; use -5s, -5m, -5h or -5d`,
		"1.5":                   `"1.5" has no unit; use 1.5s, 1.5m, 1.5h or 1.5d`,
		"5x":                    `"5x" is no duration`,
		"5 s":                   `"5 s" is no duration`,
		"d":                     `"d" is no duration`,
		"1d2w":                  `"1d2w" is no duration`,
		"1.5d":                  `"1.5d" is no duration`,
		"7d-3h":                 `"7d-3h" is no duration`,
		"7d7d":                  `"7d7d" is no duration`,
		"--5m":                  `"--5m" is no duration`,
		"5M":                    `"5M" is no duration`,
		"5min":                  `"5min" is no duration`,
		"999999d":               `"999999d" is too long`,
		"100000d2000000h":       `"100000d2000000h" is too long`,
		"99999999999999999999h": `"99999999999999999999h" is too long`,
		"9999999h":              `"9999999h" is too long`,
		"99999999999999999999d": `"99999999999999999999d" is too long`,
	} {
		got, err := ParseDuration(in)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v %v, want %s", in, got, err, want)
		}
	}
}

func TestADurationIsShownAsItIsRead(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 5 * time.Second: "5s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * 24 * time.Hour: "30d",
		36 * time.Hour: "1d12h", 90 * time.Second: "1m30s", 250 * time.Millisecond: "250ms", -time.Hour: "-1h", 24*time.Hour + time.Second: "1d1s",
		time.Hour + 5*time.Second: "1h0m5s", 20 * time.Hour: "20h", 24*time.Hour + 10*time.Minute: "1d10m",
	} {
		got := format.Duration(d)
		if back, err := ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v: %q, read as %v %v, want %q", d, got, back, err, want)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "5s", "30d", "1w2d3h", "-1d12h", "1.5h", "999999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if strings.Contains(err.Error(), "time:") {
				t.Error(err)
			}
			return
		}
		if back, err := ParseDuration(format.Duration(d)); err != nil || back != d {
			t.Errorf("%q is %v, shown as %s, read as %v %v", s, d, format.Duration(d), back, err)
		}
	})
}
