package checks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

func TestThresholds(t *testing.T) {
	for _, tt := range []struct {
		rise, fall int
		runs, want string // + and -; U, S, N after each run
	}{
		{1, 3, "+", "S"},
		{1, 3, "-", "N"},
		{3, 3, "-+", "NN"},
		{1, 3, "-+", "NS"},
		{1, 3, "+--+---+", "SSSSSSNS"},
		{2, 2, "-+-++", "NNNNS"},
		{2, 2, "+-+--", "SSSSN"},
		{3, 1, "+-+++", "SNNNS"},
		{3, 3, "+++---+++", "SSSSSNNNS"},
		{3, 3, "---+++---", "NNNNNSSSN"},
	} {
		var d damped
		got := ""
		for _, run := range tt.runs {
			d.record(run == '+', tt.rise, tt.fall)
			got += d.status.String()[:1]
		}
		if got != tt.want {
			t.Errorf("rise %d, fall %d, %s: got %s, want %s", tt.rise, tt.fall, tt.runs, got, tt.want)
		}
	}
}

func TestDegraded(t *testing.T) {
	warning := Degraded(errBad)
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a warning":            {warning, true},
		"wrapped":              {fmt.Errorf("disk: %w", warning), true},
		"two warnings":         {errors.Join(warning, Degraded(errors.New("b"))), true},
		"a warning of a wrap":  {Degraded(fmt.Errorf("disk: %w", errBad)), true},
		"a failure":            {errBad, false},
		"a failure, beside it": {errors.Join(warning, errBad), false},
		"beside a failure":     {errors.Join(errBad, warning), false},
		"a sentinel beside it": {fmt.Errorf("%w: %w", errBad, warning), false},
		"only its text":        {fmt.Errorf("%v", warning), false},
	} {
		if got := isDegraded(tt.err); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := Degraded(nil); err != nil {
		t.Errorf("Degraded(nil) is %v", err)
	}
	if !errors.Is(warning, errBad) || warning.Error() != errBad.Error() {
		t.Error("a warning must be the error that it was made of")
	}
}

// slow takes d and returns err.
func slow(d time.Duration, err error) func(context.Context) error {
	return func(context.Context) error { time.Sleep(d); return err }
}

func TestDerivedStatus(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(f *fixture)
		want  []string // within 3 s
	}{
		{"UNKNOWN until each critical check ran", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, nil)))
			f.add("x", newProbe("b", slow(2*s, nil)))
			f.add("x", newProbe("c", slow(3*s+1, nil)), NonCritical())
		}, []string{"x UNKNOWN", "x SERVING"}},
		{"NOT_SERVING also while others have not run", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, errBad)))
			f.add("x", newProbe("b", slow(2*s, nil)))
		}, []string{"x UNKNOWN", "x NOT_SERVING"}},
		{"checks that are not critical change nothing", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, nil)))
			f.add("x", newProbe("b", slow(2*s, errBad)), NonCritical())
		}, []string{"x UNKNOWN", "x SERVING"}},
		{"a service without critical checks is SERVING", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, errBad)), NonCritical())
		}, []string{"x SERVING"}},
		{"the process itself", func(f *fixture) {
			f.add("", newProbe("a", slow(s, nil)))
		}, []string{" UNKNOWN", " SERVING"}},
		{"services do not touch each other", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, nil)))
			f.start()
			f.add("y", newProbe("a", slow(s+s/2, errBad)))
		}, []string{"x UNKNOWN", "y UNKNOWN", "x SERVING", "y NOT_SERVING"}},
		{"default of the check, and the option over it", func(f *fixture) {
			f.add("x", external{newProbe("a", slow(s, errBad))})
			f.start()
			f.add("y", external{newProbe("a", slow(s+s/2, errBad))}, Critical())
		}, []string{"x SERVING", "y UNKNOWN", "y NOT_SERVING"}},
		{"the last check is removed", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, errBad)))
			f.add("x", newProbe("b", slow(s, nil)))
			f.start()
			pass(2 * s)
			f.Remove("x", "a")
			f.Remove("x", "b")
		}, []string{"x UNKNOWN", "x NOT_SERVING", "x SERVING", "x SERVICE_UNKNOWN"}},
		{"the last check is replaced", func(f *fixture) {
			f.add("x", newProbe("a", slow(s, nil)))
			f.start()
			pass(2 * s)
			f.add("x", newProbe("b", nil), NonCritical())
			f.Remove("x", "a")
		}, []string{"x UNKNOWN", "x SERVING"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				tt.build(f)
				if f.stop == nil {
					f.start()
				}
				pass(3 * s)
				f.expect(tt.want...)
				if last := tt.want[len(tt.want)-1]; strings.HasSuffix(last, "SERVICE_UNKNOWN") != (len(f.page("", false).Services) == 0) {
					t.Errorf("%s, and the page has %d services", last, len(f.page("", false).Services))
				}
			})
		})
	}
}

// external is a check that is not critical unless somebody says so.
type external struct{ *probe }

func (external) NonCriticalByDefault() bool { return true }

func TestWarningTurnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.add("x", newProbe("a", results(errBad, Degraded(errBad), errBad, errBad, Degraded(errBad), errBad)))
		f.start()
		f.expect("x UNKNOWN", "x NOT_SERVING")
		pass(10 * s)
		f.expect("x SERVING") // a warning is a success
		if r := f.only(); !r.Degraded || r.Error != errBad.Error() || r.Successes != 1 || r.Failures != 0 || r.Status != client.Serving {
			t.Errorf("got %+v", r)
		}
		pass(30 * s)
		if r := f.only(); r.Successes != 1 || !r.Degraded {
			t.Errorf("a warning must end the row of failures: %+v", r)
		}
		f.expect()
		pass(30 * s)
		f.expect("x NOT_SERVING")
		if r := f.only(); r.Degraded {
			t.Errorf("a failure is no warning: %+v", r)
		}
	})
}
