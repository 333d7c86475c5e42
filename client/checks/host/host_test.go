package host

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcallhq/rollcall/client/checks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// level is "" for nil, "warn" for a warning and "fail" for a failure.
func level(err error) string {
	switch warning := checks.Degraded(errors.New("x")); {
	case err == nil:
		return ""
	case sameType(err, warning):
		return "warn"
	}
	return "fail"
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	for want, opts := range map[string][]Option{
		"":     {FreePercent(0, 0), FreeBytes(1, 1)},
		"warn": {FreePercent(0, 0), FreeBytes(math.MaxUint64, 0)},
		"fail": {FreePercent(0, 0), FreeBytes(math.MaxUint64, math.MaxUint64)},
	} {
		for _, c := range []checks.Check{Disk("d", dir, opts...), Memory("m", opts...)} {
			err := c.Check(t.Context())
			if got := level(err); got != want {
				t.Errorf("%s: %q (%v), want %q", c.Name(), got, err, want)
			}
			if err != nil && !strings.Contains(err.Error(), "free") {
				t.Errorf("the message %q does not say what is free", err)
			}
		}
	}
	err := Disk("d", dir+"/none").Check(t.Context())
	if level(err) != "fail" || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a path that is not there: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		free uint64
		opts []Option
		want string
	}{
		{100, nil, ""}, {10, nil, ""}, {9, nil, "warn"}, {5, nil, "warn"}, {4, nil, "fail"}, {0, nil, "fail"},
		{50, []Option{FreePercent(60, 40)}, "warn"}, {39, []Option{FreePercent(60, 40)}, "fail"},
		{50, []Option{FreeBytes(60, 40)}, "warn"}, {39, []Option{FreeBytes(60, 40)}, "fail"}, {60, []Option{FreeBytes(60, 40)}, ""},
		{0, []Option{FreePercent(0, 0), FreeBytes(1, 0)}, "warn"},
	} {
		if got := level(newCheck("x", tt.opts).judge("d", tt.free, 100)); got != tt.want {
			t.Errorf("%d of 100 free: %q, want %q", tt.free, got, tt.want)
		}
	}
	for load, want := range map[float64]string{0: "", 2: "", 2.1: "warn", 4: "warn", 4.1: "fail"} {
		if got := level(judgeLoad(load, 2, 4)); got != want {
			t.Errorf("load %v: %q, want %q", load, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	if err := Load("l", 1e6, 1e6).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if !Load("l", 2, 4).(*check).NonCriticalByDefault() || Disk("d", "/").(*check).NonCriticalByDefault() {
		t.Error("only the load is not critical by default")
	}
}

func TestWrongArguments(t *testing.T) {
	nan := math.NaN()
	for _, c := range []checks.Check{
		Disk("d", ""), Disk("d", "/", FreePercent(5, 10)), Disk("d", "/", FreePercent(101, 5)), Disk("d", "/", FreePercent(5, -1)), Disk("d", "/", FreePercent(nan, 1)),
		Disk("d", "/", FreePercent(1, nan)), Disk("d", "/", FreeBytes(1, 2)), Disk("d", "/", FreePercent(0, 0)), Memory("m", FreePercent(5, 10)),
		Load("l", 0, 1), Load("l", 2, 1), Load("l", nan, 1), Load("l", 1, nan), Load("l", 1, math.Inf(1)), Load("l", -1, 1),
		Disk("d", "/", nil), Memory("m", nil),
	} {
		if c.(*check).Validate() == nil || c.Check(t.Context()) == nil {
			t.Errorf("%s with wrong arguments is taken", c.Name())
		}
	}
}

func sameType(a, b any) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
