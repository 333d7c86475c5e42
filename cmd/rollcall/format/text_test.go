package format

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestNumbersForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234567: "1.23ms", 17623 * time.Microsecond: "17.6ms",
		9996 * time.Microsecond: "10ms", 10003 * time.Millisecond: "10s", 2 * time.Minute: "2m0s",
	} {
		if got := ThreeDigits(d); got != want {
			t.Errorf("ThreeDigits(%d) is %s, want %s", int64(d), got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Grouped(n); got != want {
			t.Errorf("Grouped(%d) is %s, want %s", n, got, want)
		}
	}
}

func TestOneUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 900 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m",
		59*time.Minute + 59*time.Second: "59m", 47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := OneUnit(d); got != want {
			t.Errorf("OneUnit(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestDurationsInTwoUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 12_345_678: "12ms", 9_870 * time.Millisecond: "9.8s", 61 * time.Second: "1m1s", 2*time.Hour + 59*time.Second: "2h0m",
		49*time.Hour + 59*time.Minute: "2d1h",
	} {
		if got := TwoUnits(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func TestCodeNamesAreTheProtocols(t *testing.T) {
	for c, want := range map[codes.Code]string{
		codes.OK: "OK", codes.Canceled: "CANCELLED", codes.InvalidArgument: "INVALID_ARGUMENT",
		codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.Unknown: "UNKNOWN",
	} {
		if got := Code(c); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestNothingHiddenReachesATerminal: what a caller wrote changes neither the line it stands on nor how the
// rest of it shows.
func TestNothingHiddenReachesATerminal(t *testing.T) {
	for s, want := range map[string]string{
		"plain, é, 한글, ∑, 💥":    "plain, é, 한글, ∑, 💥",
		"a\nb\tc":               `a\nb\tc`,
		"\x1b[2J":               `\x1b[2J`,
		"\u009b2J":              `\u009b2J`,
		"ok\u202edellaf":        `ok\u202edellaf`,
		"\u2066x\u2069":         `\u2066x\u2069`,
		"pay\u200bments":        `pay\u200bments`,
		"\ufeffpayments":        `\ufeffpayments`,
		"pay\u00admen\u034fts":  `pay\u00admen\u034fts`,
		"\u3164\u2800\u115f":    `\u3164\u2800\u115f`,
		"a\u00a0b\u2028c":       `a\u00a0b\u2028c`,
		"tag\U000e0041 \ue000":  `tag\U000e0041 \ue000`,
		`C:\new`:                `C:\new`,
		"C:\\new\u200b":         `C:\\new\u200b`,
		"broken \xff":           `broken \ufffd`,
		"\U0001d159\U00016fe4|": `\U0001d159\U00016fe4|`,
	} {
		if got := Printable(s); got != want {
			t.Errorf("%+q prints as %q, want %q", s, got, want)
		}
		if again := Printable(want); again != want {
			t.Errorf("%q, escaped already, prints as %q", want, again)
		}
		var table, columns strings.Builder
		if err := Table(&table, func(row func(...string)) { row(s, "end") }); err != nil {
			t.Fatal(err)
		}
		c := Columns{W: &columns, Header: []string{"", ""}}
		if err := c.Write([][]Cell{Cells(s, "end")}); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{table.String(), strings.TrimLeft(columns.String(), " \n")} {
			if text != want+"  end\n" {
				t.Errorf("a row of %+q is %q", s, text)
			}
		}
	}
}

func TestBytesHaveTwoOrThreeDigits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 900: "900B", 1023: "1023B", 1024: "1.0KiB", 32 << 10: "32KiB", 10_188: "9.9KiB", 10_200: "10KiB", 1_048_000: "1023KiB", 1_048_570: "1.0MiB",
		41 << 30: "41GiB", 1<<63 - 1: "8.0EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
