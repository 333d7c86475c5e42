package checks

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

func TestCleanStopTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.add("x", newProbe("a", results(nil, errBad)), Fall(1), Interval(time.Hour))
		calls := 0
		f.add("y", newProbe("heeds", func(ctx context.Context) error {
			if calls++; calls == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}), Fall(1))
		f.start()
		pass(12 * s)
		f.told.take()
		before := time.Now()
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(before); d != 0 {
			t.Errorf("the stop took %v", d)
		}
		f.expect()
		for _, r := range f.Results() {
			if r.Status != client.Serving || r.Failures != 0 || r.Running {
				t.Errorf("after the stop: %+v", r)
			}
		}
		if err := f.Add("x", newProbe("b", nil)); err == nil || !strings.Contains(err.Error(), "too late") {
			t.Errorf("Add after the stop: %v", err)
		}
		if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs once") {
			t.Errorf("Run after the stop: %v", err)
		}
		pass(time.Hour)
		if calls != 2 {
			t.Errorf("%d runs", calls)
		}
	})
}

func TestStopWaitsFiveSeconds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes time.Duration
		want  time.Duration
		err   string
	}{
		{"for what returns", 4 * s, 4 * s, ""},
		{"and no longer", time.Minute, 5 * s, `checks: the runner has stopped, and 5s later these have not returned: check "a" of service "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.add("x", newProbe("a", sleep(tt.takes)), Timeout(time.Minute))
				f.start()
				before := time.Now()
				err := f.stop()
				if (tt.err == "") != (err == nil) || err != nil && err.Error() != tt.err {
					t.Errorf("got %v", err)
				}
				if d := time.Since(before); d != tt.want {
					t.Errorf("the stop took %v", d)
				}
				f.expect("x UNKNOWN")
				pass(time.Hour) // and what returns later counts for nothing
				f.expect()
				if r := f.only(); r.Status != client.Unknown || r.Running || r.Stuck {
					t.Errorf("got %+v", r)
				}
				if !f.Remove("x", "a") || len(f.Results()) != 0 {
					t.Error("Remove after the stop")
				}
				f.expect()
			})
		})
	}
}

func TestRunTwiceAndRunThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		p := newProbe("a", nil)
		f.add("x", p)
		f.start()
		if err := f.Run(t.Context()); err == nil || err.Error() != "checks: Run was called before; a runner runs once" {
			t.Errorf("a second Run: %v", err)
		}
		f.expect("x UNKNOWN", "x SERVING")

		g := newFixture(t)
		g.add("x", p)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Run(over); err != nil {
			t.Error(err)
		}
		g.expect()
		if len(p.started()) != 1 {
			t.Error("a check ran though the context had ended")
		}
	})
}

// A check that heeds the deadline of Run's context notices it before the context itself does.
func TestDeadlineOfRunIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithTimeout(t.Context(), 12*s)
		defer cancel()
		calls := 0
		f.add("x", newProbe("a", func(ctx context.Context) error {
			if calls++; calls == 1 {
				return nil
			}
			end, _ := ctx.Deadline()
			time.Sleep(time.Until(end))
			return context.DeadlineExceeded
		}), Fall(1))
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
		f.expect("x UNKNOWN", "x SERVING")
	})
}

func TestRemoveEndsARunAndANewOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		release := make(chan struct{})
		var ended time.Time
		calls := 0
		p := newProbe("a", nil)
		p.run = func(ctx context.Context) error {
			if calls++; calls == 1 {
				<-ctx.Done()
				ended = time.Now()
				<-release // it takes its time
				return errBad
			}
			return nil
		}
		f.add("x", p)
		f.add("x", newProbe("stays", nil))
		f.start()
		if !f.Remove("x", "a") || f.Remove("x", "a") {
			t.Error("Remove must find the check, and only once")
		}
		synctest.Wait()
		if ended != time.Now() {
			t.Error("Remove did not end the run's context")
		}
		f.add("x", p)
		pass(5*s - 1)
		if r := f.Results()[0]; r.Stuck || r.Running || r.Failures != 0 {
			t.Errorf("before it is late: %+v", r)
		}
		pass(1)
		f.expect("x UNKNOWN", "x SERVING", "x UNKNOWN", "x NOT_SERVING")
		if r := f.Results()[0]; !r.Stuck || r.Running || r.Error != "the run of a check with this name, which was removed, has not returned" {
			t.Errorf("got %+v", r)
		}
		close(release)
		f.expect("x SERVING")
		if p.overlap {
			t.Error("two runs at once")
		}
	})
}

func TestStuckCheckThatReturnsAfterTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.add("x", newProbe("a", sleep(time.Minute)))
		f.add("x", newProbe("removed", sleep(time.Minute)))
		f.add("x", newProbe("removed when stuck", sleep(time.Minute)))
		f.start()
		f.Remove("x", "removed")
		pass(20 * s)
		f.Remove("x", "removed when stuck")
		f.told.take()
		const want = `checks: the runner has stopped, and 5s later these have not returned: check "a" of service "x", ` +
			`check "removed when stuck" of service "x", check "removed" of service "x"`
		if err := f.stop(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if r := f.only(); !r.Stuck || !r.Running {
			t.Errorf("before it returns: %+v", r)
		}
		pass(time.Minute)
		if r := f.only(); r.Stuck || r.Running || r.Failures != 2 {
			t.Errorf("after it returned: %+v", r)
		}
		f.Remove("x", "a")
		f.expect()
	})
}

// Everything that a program may do at once, for the race detector. What comes of it is the model's.
func TestManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, WithMaxParallel(3), WithObserver(&observed{&notes{}}))
		f.start()
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				name := fmt.Sprint(g % 4)
				for i := range 100 {
					w := &waking{probe: newProbe(name, slow(time.Duration(i%7)*s, map[bool]error{true: errBad}[i%3 == 0]))}
					if err := f.Add("x", w, Interval(2*s), Timeout(3*s), Fall(1)); err != nil && !strings.Contains(err.Error(), "already") {
						t.Error(err)
					}
					time.Sleep(time.Duration(g+i) * 100 * time.Millisecond)
					if w.run != nil {
						w.run()
					}
					for _, r := range f.Results() {
						if r.Successes > 0 && r.Failures > 0 || r.Stuck && !r.NextRun.IsZero() {
							t.Errorf("got %+v", r)
						}
					}
					f.get("GET", "?service=x")
					if i%2 == 0 {
						f.Remove("x", name)
					}
				}
			})
		}
		all.Wait()
		for g := range 4 {
			f.Remove("x", fmt.Sprint(g))
		}
		pass(time.Minute)
		if f.places != 3 || len(f.due) != 0 || len(f.deadlines) != 0 || len(f.leaving) != 0 || f.inside != 0 || len(f.services) != 0 {
			t.Errorf("left over: %d places, %d due, %d deadlines, %d leaving, %d inside, %d services",
				f.places, len(f.due), len(f.deadlines), len(f.leaving), f.inside, len(f.services))
		}
		lines := f.told.take()
		if len(lines) == 0 || lines[len(lines)-1] != "x SERVICE_UNKNOWN" {
			t.Errorf("told %q at last", lines)
		}
	})
}
