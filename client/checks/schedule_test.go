package checks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

const s = time.Second

func TestFirstRunAtOnceThenAtTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		p := newProbe("a", sleep(3*s))
		f.add("x", p)
		pass(7 * s) // nothing runs before Run
		f.start()
		if got := f.only(); !got.Running || got.Status != client.Unknown || !got.LastRun.IsZero() {
			t.Errorf("while the first run is under way: %+v", got)
		}
		pass(25 * s)
		if got, want := p.started(), []time.Duration{7 * s, 17 * s, 27 * s}; !slices.Equal(got, want) {
			t.Errorf("started at %v, want %v", got, want)
		}
		r := f.only()
		if r.Status != client.Serving || r.Took != 3*s || r.Successes != 3 || r.Failures != 0 ||
			r.LastRun.Sub(p.made) != 27*s || r.NextRun.Sub(p.made) != 37*s || r.Since.Sub(p.made) != 10*s {
			t.Errorf("got %+v", r)
		}
	})
}

func TestJitterStaysInItsBoundsAndDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		p := newProbe("a", nil)
		if err := f.Add("x", p); err != nil { // the default, 10 %
			t.Fatal(err)
		}
		f.start()
		pass(1000 * s)
		starts := p.started()
		least, most := time.Hour, time.Duration(0)
		for i := 1; i < len(starts); i++ {
			d := starts[i] - starts[i-1]
			least, most = min(least, d), max(most, d)
		}
		if least < 9*s || most > 11*s || most-least < s {
			t.Errorf("%d runs, %v to %v apart", len(starts), least, most)
		}
	})
}

func TestLateRunFailsAtItsTimeoutAndIsStuckUntilItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		calls := 0
		p := newProbe("a", func(context.Context) error {
			if calls++; calls == 2 {
				time.Sleep(23 * s) // from 10 to 33
				return errBad
			}
			return nil
		})
		f.add("x", p)
		f.start()
		f.expect("x UNKNOWN", "x SERVING")
		pass(15*s - 1)
		if r := f.only(); r.Stuck || r.Failures != 0 || !r.Running {
			t.Errorf("before the timeout: %+v", r)
		}
		pass(1)
		r := f.only()
		if !r.Stuck || !r.Running || r.Failures != 1 || r.Status != client.Serving || !r.NextRun.IsZero() || r.Took != 5*s ||
			r.Error != "it did not return within 5s" {
			t.Errorf("at the timeout: %+v", r)
		}
		pass(10 * s) // the run that was due at 20 is late, too
		if r := f.only(); r.Failures != 2 || !r.Stuck {
			t.Errorf("10 s after the timeout: %+v", r)
		}
		f.expect()
		pass(8*s - 1)
		if n := len(p.started()); n != 2 {
			t.Errorf("%d runs while one is stuck", n)
		}
		pass(1) // it returns at 33; the run that was due at 30 starts at once
		if got, want := p.started(), []time.Duration{0, 10 * s, 33 * s}; !slices.Equal(got, want) {
			t.Errorf("started at %v, want %v", got, want)
		}
		if r := f.only(); r.Stuck || r.Running || r.Failures != 0 || r.Successes != 1 || r.Error != "" || r.NextRun.Sub(p.made) != 43*s {
			t.Errorf("after it returned: %+v", r)
		}
		if p.overlap {
			t.Error("two runs at once")
		}
	})
}

func TestStuckCheckTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, WithMaxParallel(1))
		never := make(chan struct{})
		calls := 0
		f.add("x", newProbe("a", func(context.Context) error {
			if calls++; calls > 1 {
				<-never
			}
			return nil
		}))
		f.start()
		f.expect("x UNKNOWN", "x SERVING")
		pass(35*s - 1) // late at 15, 25
		f.expect()
		pass(1)
		f.expect("x NOT_SERVING")
		if r := f.only(); r.Failures != 3 || !r.Stuck || r.Since != time.Now() {
			t.Errorf("got %+v", r)
		}
		pass(time.Hour)
		if calls != 2 {
			t.Errorf("%d runs of a stuck check", calls)
		}
		close(never)
		pass(5*s - 1) // the run of 3630 was late at 3635; the next one is due at 3640
		f.expect()
		pass(1)
		f.expect("x SERVING")
	})
}

func TestLateRunsErrorIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.add("x", newProbe("heeds", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("dial: %w", ctx.Err()) }))
		f.add("x", newProbe("bare", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
		f.add("x", newProbe("nil", func(ctx context.Context) error { <-ctx.Done(); return nil }))
		f.add("x", newProbe("warning", func(ctx context.Context) error { <-ctx.Done(); return Degraded(errBad) }))
		f.add("x", newProbe("just in time", sleep(5*s-1)))
		f.start()
		pass(5 * s)
		var got []string
		for _, r := range f.Results() {
			got = append(got, fmt.Sprintf("%s: %d %v %q", r.Check, r.Failures, r.Stuck, r.Error))
		}
		want := []string{
			`bare: 1 false "it did not return within 5s"`,
			`heeds: 1 false "it did not return within 5s: dial: context deadline exceeded"`,
			`just in time: 0 false ""`,
			`nil: 1 false "it did not return within 5s"`,
			`warning: 1 false "it did not return within 5s: it does not work"`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestTookOfALateRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.add("x", newProbe("a", sleep(7*s)))
		f.start()
		var elapsed time.Duration
		for _, want := range []time.Duration{5 * s, 7 * s} {
			pass(want - elapsed)
			elapsed = want
			if r := f.only(); r.Took != want || r.Stuck == (want == 7*s) {
				t.Errorf("%v: %+v", want, r)
			}
		}
	})
}

func TestTimeoutLongerThanInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		p := newProbe("a", sleep(3*s))
		f.add("x", p, Interval(2*s), Timeout(10*s))
		f.start()
		pass(7 * s)
		if got, want := p.started(), []time.Duration{0, 3 * s, 6 * s}; !slices.Equal(got, want) {
			t.Errorf("started at %v, want %v", got, want)
		}
	})
}

func TestMaxParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, WithMaxParallel(2))
		var inside, most atomic.Int32
		var all []*probe
		for i := range 6 {
			p := newProbe(fmt.Sprint(i), func(context.Context) error {
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(4 * s)
				inside.Add(-1)
				return nil
			})
			all = append(all, p)
			f.add("x", p, Interval(100*s))
		}
		f.start()
		pass(12 * s) // three times two
		var starts []time.Duration
		for _, p := range all {
			starts = append(starts, p.started()...)
		}
		slices.Sort(starts)
		if want := []time.Duration{0, 0, 4 * s, 4 * s, 8 * s, 8 * s}; !slices.Equal(starts, want) {
			t.Errorf("started at %v, want %v", starts, want)
		}
		for _, r := range f.Results() {
			if r.Failures != 0 || r.Status != client.Serving {
				t.Errorf("one waited for a place, and failed: %+v", r)
			}
		}
		if most.Load() != 2 {
			t.Errorf("%d at once", most.Load())
		}
	})
}

func TestStuckCheckTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, WithMaxParallel(1))
		never := make(chan struct{})
		defer close(never)
		f.add("x", newProbe("a", func(context.Context) error { <-never; return nil }))
		f.start()
		p := newProbe("b", nil)
		f.add("x", p)
		pass(5 * s)
		if got := p.started(); len(got) != 1 || got[0] != 5*s {
			t.Errorf("started at %v", got)
		}
	})
}

func TestManyStuckChecksHaveOneGoroutineEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		never := make(chan struct{})
		var inside atomic.Int32
		for i := range 100 {
			f.add("x", newProbe(fmt.Sprint(i), func(context.Context) error { inside.Add(1); <-never; inside.Add(-1); return nil }), Interval(s), Timeout(s))
		}
		f.start()
		pass(time.Hour)
		if n := inside.Load(); n != 100 {
			t.Errorf("%d runs that have not returned", n)
		}
		close(never)
	})
}
