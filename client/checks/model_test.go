package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/client"
)

// step is one run of a check in the model.
type step struct {
	takes  time.Duration // whole halves of a second
	heeds  bool          // it returns when its context ends
	result string        // pass, warn, fail, panic
}

// scripted is a check that does its steps again and again.
type scripted struct {
	name  string
	steps []step
	next  int
	busy  *atomic.Int32 // runs under way of all checks that had this name
	most  *atomic.Int32
}

func (c *scripted) Name() string { return c.name }

func (c *scripted) Check(ctx context.Context) error {
	c.most.Store(max(c.most.Load(), c.busy.Add(1)))
	defer c.busy.Add(-1)
	st := c.steps[c.next%len(c.steps)]
	c.next++
	if st.heeds {
		select {
		case <-time.After(st.takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	} else {
		time.Sleep(st.takes)
	}
	switch st.result {
	case "warn":
		return Degraded(errBad)
	case "fail":
		return errBad
	case "panic":
		panic("oh")
	}
	return nil
}

// modelCheck is what a check should do, without a schedule, states or goroutines.
type modelCheck struct {
	id       entryID
	o        checkOptions
	steps    []step
	run      int       // steps that began
	start    time.Time // of the run under way; zero if the next one waits
	returns  time.Time // that run
	late     bool      // it was counted as a failure
	due      time.Time
	blocked  time.Time // until then a run of a removed check is in the way
	history  []bool
	lastText string
}

type modelEvent struct {
	at    time.Time
	check *modelCheck
	ok    bool
	text  string
}

// until returns what is recorded up to a time, in order.
func (c *modelCheck) until(end time.Time) (events []modelEvent) {
	add := func(at time.Time, ok bool, text string) {
		events = append(events, modelEvent{at, c, ok, text})
	}
	for {
		switch waiting := !c.blocked.IsZero(); {
		case waiting || !c.start.IsZero() && c.late: // stuck
			free := c.returns
			if waiting {
				free = c.blocked
			}
			if at := c.due.Add(c.o.timeout); at.Before(free) {
				if at.After(end) {
					return events
				}
				add(at, false, "late")
				c.late = true
				c.due = later(c.due.Add(c.o.interval), at)
				continue
			}
			if free.After(end) {
				return events
			}
			if waiting {
				c.due = free
			}
			c.blocked, c.start = time.Time{}, time.Time{}
			c.due = later(c.due, free)
		case c.start.IsZero():
			if c.due.After(end) {
				return events
			}
			st := c.steps[c.run%len(c.steps)]
			c.run++
			c.start, c.late = c.due, false
			takes := st.takes
			if st.heeds {
				takes = min(takes, c.o.timeout)
			}
			c.returns = c.start.Add(takes)
			c.due = c.start.Add(c.o.interval)
		default:
			if limit := c.start.Add(c.o.timeout); !c.returns.Before(limit) {
				if limit.After(end) {
					return events
				}
				add(limit, false, "late")
				c.late = true
				c.due = later(c.due, limit)
				continue
			}
			if c.returns.After(end) {
				return events
			}
			st := c.steps[(c.run-1)%len(c.steps)]
			add(c.returns, st.result == "pass" || st.result == "warn", st.result)
			c.due = later(c.due, c.returns)
			c.start = time.Time{}
		}
	}
}

// status is the damped status, from the whole history.
func (c *modelCheck) status() client.Status {
	if len(c.history) == 0 {
		return client.Unknown
	}
	good := c.history[0]
	for i := range c.history {
		if row := c.o.fall; good && i+1 >= row && !slices.Contains(c.history[i+1-row:i+1], true) {
			good = false
		}
		if row := c.o.rise; !good && i+1 >= row && !slices.Contains(c.history[i+1-row:i+1], false) {
			good = true
		}
	}
	if good {
		return client.Serving
	}
	return client.NotServing
}

func (c *modelCheck) row() (successes, failures int) {
	for i := len(c.history) - 1; i >= 0 && c.history[i] == c.history[len(c.history)-1]; i-- {
		if c.history[i] {
			successes++
		} else {
			failures++
		}
	}
	return successes, failures
}

type model struct {
	checks []*modelCheck
	told   map[string]client.Status
	lines  []string
}

// derive compares each service with what was told of it.
func (m *model) derive(services []string) {
	for _, service := range services {
		status, any := client.Serving, false
		for _, c := range m.checks {
			if c.id.service != service {
				continue
			}
			any = true
			switch s := c.status(); {
			case !c.o.critical || s == client.Serving:
			case s == client.NotServing, status == client.Serving:
				status = s
			}
		}
		if !any {
			status = client.ServiceUnknown
		}
		last, known := m.told[service]
		if !known && !any || known && last == status {
			continue
		}
		m.lines = append(m.lines, fmt.Sprintf("%s %v", service, status))
		m.told[service] = status
		if !any {
			delete(m.told, service)
		}
	}
}

// action lets time pass, and then removes the check, or adds it.
type action struct {
	passes time.Duration
	id     entryID
	remove bool
	o      checkOptions
	steps  []step
}

func drawActions(rt *rapid.T) []action {
	seconds := func(rt *rapid.T, label string, least, greatest int) time.Duration {
		return time.Duration(rapid.IntRange(least, greatest).Draw(rt, label)) * s
	}
	steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			takes:  time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 3, 9, 41}).Draw(rt, "takes")) * s / 2,
			heeds:  rapid.Bool().Draw(rt, "heeds"),
			result: rapid.SampledFrom([]string{"pass", "pass", "warn", "fail", "fail", "panic"}).Draw(rt, "result"),
		}
	}), 1, 5)
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) action {
		return action{
			passes: time.Duration(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5, 12, 20}).Draw(rt, "passes"))*s + 7*time.Millisecond,
			id: entryID{
				rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "service"),
				rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "check"),
			},
			remove: rapid.Bool().Draw(rt, "remove"),
			o: checkOptions{
				interval: seconds(rt, "interval", 1, 10), timeout: seconds(rt, "timeout", 1, 6),
				rise: rapid.IntRange(1, 3).Draw(rt, "rise"), fall: rapid.IntRange(1, 3).Draw(rt, "fall"),
				critical: rapid.Bool().Draw(rt, "critical"),
			},
			steps: steps.Draw(rt, "steps"),
		}
	}), 15, 80).Draw(rt, "actions")
}

// TestRunnerAgainstModel adds and removes checks, and lets time pass. Moments are chosen so that no two things whose
// order matters happen at once: action n lies n times 7 ms beside whole seconds, and runs take whole halves.
func TestRunnerAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := drawActions(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = againstModel(t, actions) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func againstModel(t *testing.T, actions []action) error {
	services := []string{"", "x", "y"}
	told := &notes{}
	r := NewRunner(To(told), WithMaxParallel(1000))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	m := &model{told: map[string]client.Status{}}
	busyUntil := map[entryID]time.Time{}
	busy, most := map[entryID]*atomic.Int32{}, map[entryID]*atomic.Int32{}
	for _, a := range actions {
		pass(a.passes)
		now := time.Now()
		m.until(now, services)
		if err := compareWithModel(r, m, told); err != nil {
			return err
		}
		at := slices.IndexFunc(m.checks, func(c *modelCheck) bool { return c.id == a.id })
		switch {
		case at < 0:
			c := &modelCheck{id: a.id, due: now, o: a.o, steps: a.steps}
			if busyUntil[a.id].After(now) {
				c.blocked = busyUntil[a.id]
			}
			if busy[a.id] == nil {
				busy[a.id], most[a.id] = &atomic.Int32{}, &atomic.Int32{}
			}
			opts := []CheckOption{Interval(a.o.interval), Jitter(0), Timeout(a.o.timeout), Rise(a.o.rise), Fall(a.o.fall)}
			if !a.o.critical {
				opts = append(opts, NonCritical())
			}
			check := &scripted{name: a.id.check, steps: a.steps, busy: busy[a.id], most: most[a.id]}
			if err := r.Add(a.id.service, check, opts...); err != nil {
				return err
			}
			m.checks = append(m.checks, c)
		case a.remove:
			c := m.checks[at]
			if !c.start.IsZero() {
				busyUntil[a.id] = c.returns
				if c.steps[(c.run-1)%len(c.steps)].heeds {
					busyUntil[a.id] = now
				}
			}
			if !r.Remove(a.id.service, a.id.check) {
				return fmt.Errorf("%v was not there to be removed", a.id)
			}
			m.checks = slices.Delete(m.checks, at, at+1)
		}
		m.derive(services)
	}
	for id, n := range most {
		if n.Load() > 1 {
			return fmt.Errorf("%d runs of %v at once", n.Load(), id)
		}
	}
	synctest.Wait()
	told.take()
	cancel()
	pass(time.Hour)
	if lines := told.take(); len(lines) > 0 {
		return fmt.Errorf("the stop told %q", lines)
	}
	return nil
}

// until lets time pass in the model.
func (m *model) until(now time.Time, services []string) {
	var events []modelEvent
	for _, c := range m.checks {
		events = append(events, c.until(now)...)
	}
	slices.SortStableFunc(events, func(a, b modelEvent) int { return a.at.Compare(b.at) })
	for _, e := range events {
		e.check.history = append(e.check.history, e.ok)
		e.check.lastText = e.text
		m.derive(services)
	}
}

func compareWithModel(r *Runner, m *model, told *notes) error {
	if got := told.take(); !slices.Equal(got, m.lines) {
		return fmt.Errorf("told %q, want %q", got, m.lines)
	}
	m.lines = nil
	slices.SortFunc(m.checks, func(a, b *modelCheck) int {
		return cmp.Or(cmp.Compare(a.id.service, b.id.service), cmp.Compare(a.id.check, b.id.check))
	})
	all := r.Results()
	if len(all) != len(m.checks) {
		return fmt.Errorf("%d results, want %d", len(all), len(m.checks))
	}
	for i, c := range m.checks {
		got := all[i]
		successes, failures := c.row()
		want := Result{
			Service: c.id.service, Check: c.id.check, Critical: c.o.critical, Status: c.status(),
			Successes: successes, Failures: failures,
			Running: !c.start.IsZero(), Stuck: c.late && (!c.start.IsZero() || !c.blocked.IsZero()),
			Degraded: c.lastText == "warn",
			Interval: c.o.interval, Timeout: c.o.timeout, Rise: c.o.rise, Fall: c.o.fall,
		}
		if c.start.IsZero() && c.blocked.IsZero() || !want.Stuck && c.blocked.IsZero() {
			want.NextRun = c.due
		}
		want.Error, want.Since, want.LastRun, want.Took = got.Error, got.Since, got.LastRun, got.Took
		if got != want {
			return fmt.Errorf("at %v\ngot  %+v\nwant %+v", time.Now(), got, want)
		}
		if bad := len(c.history) > 0 && c.lastText != "pass"; bad != (got.Error != "") {
			return fmt.Errorf("%v ended with %s, its error is %q", c.id, c.lastText, got.Error)
		}
	}
	return nil
}
