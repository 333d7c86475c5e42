package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/health"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

var _ Reporter = (*health.Server)(nil)

func TestEveryReporterIsToldEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := &notes{}
		f := newFixture(t, To(withReasons{second}))
		f.add("x", newProbe("b", results(nil, errBad, nil)), Fall(1))
		f.add("x", newProbe("a", results(nil, nil, nil, errors.New("42 % full"))), Fall(1))
		f.start()
		pass(30 * s)
		f.expect("x UNKNOWN", "x SERVING", "x NOT_SERVING", "x SERVING", "x NOT_SERVING")
		want := []string{
			"x UNKNOWN: not run yet: a, b",
			"x SERVING: no critical check is failing",
			"x NOT_SERVING: failing: b",
			"x SERVING: no critical check is failing",
			"x NOT_SERVING: failing: a",
		}
		if got := second.take(); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

// A new reason alone would be an event in the registry at each change of a check.
func TestReasonAloneIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := &notes{}
		f := newFixture(t, To(withReasons{told}))
		f.add("x", newProbe("a", results(errors.New("1"), errors.New("2"), errors.New("3"))))
		f.add("x", newProbe("b", results(nil, nil, errBad, nil)), Fall(1))
		f.start()
		pass(time.Minute)
		f.add("x", newProbe("c", results(errBad)))
		pass(time.Minute)
		want := []string{"x UNKNOWN: not run yet: a, b", "x NOT_SERVING: failing: a"}
		if got := told.take(); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

func TestReporterThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := &notes{hold: make(chan struct{})}
		f := newFixture(t, To(blocked))
		var runs []error
		for i := range 7 {
			runs = append(runs, map[bool]error{true: errBad}[i%2 == 1])
		}
		p := newProbe("a", results(runs...))
		f.add("x", p, Fall(1))
		f.add("y", newProbe("a", nil))
		f.start()
		pass(50 * s)
		if got := p.started(); len(got) != 6 || got[5] != 50*s {
			t.Errorf("a reporter delays checks: %v", got)
		}
		var x []string
		for _, line := range f.told.take() {
			if strings.HasPrefix(line, "x") {
				x = append(x, line)
			}
		}
		if want := []string{"x UNKNOWN", "x SERVING", "x NOT_SERVING", "x SERVING", "x NOT_SERVING", "x SERVING", "x NOT_SERVING"}; !slices.Equal(x, want) {
			t.Errorf("the other reporter was told %q", x)
		}
		close(blocked.hold)
		synctest.Wait()
		got := blocked.take()
		slices.Sort(got[1:])
		first := strings.Fields(got[0])[0] // the one that it was in when it blocked
		want := []string{first + " UNKNOWN", "x NOT_SERVING", "y SERVING"}
		if !slices.Equal(got, want) {
			t.Errorf("after it returned it was told %q, want %q", got, want)
		}
	})
}

func TestReporterIsNotToldTheSameTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := &notes{hold: make(chan struct{})}
		f := newFixture(t, To(blocked))
		f.add("x", newProbe("a", results(nil, errBad, nil)), Fall(1), NonCritical())
		f.start() // SERVING, and there it blocks
		f.add("x", newProbe("b", slow(s, nil)))
		f.add("y", newProbe("a", nil))
		pass(25 * s)
		f.Remove("y", "a") // it never knew y
		synctest.Wait()
		close(blocked.hold)
		synctest.Wait()
		if got := blocked.take(); !slices.Equal(got, []string{"x SERVING"}) {
			t.Errorf("told %q", got)
		}
	})
}

func TestBlockedReporterAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := &notes{hold: make(chan struct{})}
		f := newFixture(t, To(blocked), WithObserver(&observed{notes: blocked}))
		f.add("x", newProbe("a", nil))
		f.start()
		pass(s)
		before := time.Now()
		err := f.stop()
		if err == nil || err.Error() != "checks: the runner has stopped, and 5s later these have not returned: reporter 2 of 2, the observer" {
			t.Errorf("got %v", err)
		}
		if d := time.Since(before); d != 5*s {
			t.Errorf("the stop took %v", d)
		}
		close(blocked.hold)
		synctest.Wait()
		if got := blocked.take(); len(got) != 2 {
			t.Errorf("told after Run returned: %q", got)
		}
	})
}

// What was decided before the end is still told.
func TestStopBringsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := &notes{hold: make(chan struct{})}
		f := newFixture(t, To(blocked))
		f.add("x", newProbe("a", results(nil, errBad)), Fall(1))
		f.start()
		pass(11 * s)
		time.AfterFunc(2*s, func() { close(blocked.hold) })
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		if got := blocked.take(); !slices.Equal(got, []string{"x UNKNOWN", "x NOT_SERVING"}) {
			t.Errorf("told %q", got)
		}
	})
}

type observed struct{ *notes }

func (o *observed) CheckDone(r Result) {
	o.add("%s/%s done: %v %v %q stuck %v", r.Service, r.Check, r.Status, r.Took, r.Error, r.Stuck)
}
func (o *observed) CheckRemoved(service, check string) { o.add("%s/%s removed", service, check) }
func (o *observed) StatusChanged(service string, s client.Status, reasons []string) {
	o.add("%s %v %q", service, s, reasons)
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &observed{&notes{}}
		f := newFixture(t, WithObserver(o))
		f.add("x", newProbe("a", slow(s, errBad)))
		f.add("x", newProbe("b", sleep(16*s)), NonCritical())
		f.start()
		pass(17 * s)
		f.Remove("x", "a")
		f.Remove("x", "b")
		synctest.Wait()
		want := []string{
			`x UNKNOWN ["a"]`,
			`x/a done: NOT_SERVING 1s "it does not work" stuck false`,
			`x NOT_SERVING ["a"]`,
			`x/b done: NOT_SERVING 5s "it did not return within 5s" stuck true`,
			`x/a done: NOT_SERVING 1s "it does not work" stuck false`,
			`x/b done: NOT_SERVING 5s "it did not return within 5s" stuck true`,
			`x/a removed`,
			`x SERVING []`,
			`x/b removed`,
			`x SERVICE_UNKNOWN []`,
		}
		if got := o.take(); !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		f := newFixture(t, To(refusing{}), WithLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == "stack" && strings.Contains(a.Value.String(), "report_test.go") {
					return slog.Attr{}
				}
				return a
			},
		}))))
		calls := 0
		f.add("x", newProbe("a", func(context.Context) error {
			switch calls++; calls {
			case 2, 3:
				panic("oh")
			case 5:
				time.Sleep(16 * s)
			}
			return nil
		}), Fall(2))
		f.start()
		pass(time.Minute)
		f.Remove("x", "a")
		pass(s)
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		var got []string
		for line := range strings.Lines(b.String()) {
			got = append(got, regexpPlace.ReplaceAllString(strings.TrimSpace(line), "(PLACE)"))
		}
		slices.Sort(got)
		want := []string{
			`level=ERROR msg="a check panicked" service=x check=a status=SERVING error="panic: oh (PLACE)" failures=1`,
			`level=INFO msg="a check has turned SERVING" service=x check=a`,
			`level=INFO msg="a check has turned SERVING" service=x check=a`,
			`level=INFO msg="a service has no checks any more" service=x`,
			`level=INFO msg="the status of a service is SERVING" service=x`,
			`level=INFO msg="the status of a service is SERVING" service=x`,
			`level=INFO msg="the status of a service is SERVING" service=x`,
			`level=INFO msg="the status of a service is UNKNOWN" service=x reason="not run yet: a"`,
			`level=WARN msg="a check has turned NOT_SERVING" service=x check=a error="it did not return within 5s" failures=2`,
			`level=WARN msg="a check has turned NOT_SERVING" service=x check=a error="panic: oh (PLACE)" failures=2`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=NOT_SERVING error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=NOT_SERVING error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=SERVICE_UNKNOWN error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=SERVING error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=SERVING error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=SERVING error="the lease is closed"`,
			`level=WARN msg="a reporter refused the status of a service" service=x status=UNKNOWN error="the lease is closed"`,
			`level=WARN msg="the status of a service is NOT_SERVING" service=x reason="failing: a"`,
			`level=WARN msg="the status of a service is NOT_SERVING" service=x reason="failing: a"`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

// A check that returns at its timeout each time is late, and not stuck. One that does not return is told once,
// whatever it was before.
func TestLogOfAStuckCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		f := newFixture(t, WithLogger(slog.New(slog.NewTextHandler(&b, nil))))
		f.add("x", newProbe("late", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
		calls := 0
		f.add("x", newProbe("hangs", func(context.Context) error {
			if calls++; calls == 4 {
				time.Sleep(time.Minute)
			}
			return errBad
		}))
		f.start()
		pass(5 * time.Minute)
		var got []string
		for line := range strings.Lines(b.String()) {
			if _, after, ok := strings.Cut(line, "a check is stuck: "); ok {
				got = append(got, strings.TrimSpace(after))
			}
		}
		want := []string{`it has not returned long after its timeout" service=x check=hangs error="it did not return within 5s" failures=5`}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

type refusing struct{}

func (refusing) SetServingStatus(string, client.Status) {}
func (refusing) Report(string, client.Status, string) error {
	return errors.New("the lease is closed")
}

// lease is a *client.Lease.
type lease struct{ *notes }

func (l lease) Submit(reports ...client.Report) error {
	for _, r := range reports {
		l.add("%s %v: %s", r.Service, r.Status, r.Reason)
	}
	return nil
}

func TestRegistryReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, renamed := lease{&notes{}}, lease{&notes{}}
		f := newFixture(t, To(newRegistryReporter(own, nil), newRegistryReporter(renamed, func(service string) string {
			if service == "" {
				return "x/10.0.0.7:80"
			}
			return ""
		})))
		f.add("", newProbe("a", errFunc("fill 97.4 % of /var")))
		f.start()
		f.add("x", newProbe("a", nil))
		synctest.Wait()
		f.Remove("x", "a")
		synctest.Wait()
		want := []string{"x UNKNOWN: not run yet: a", "x SERVING: no critical check is failing", "x SERVICE_UNKNOWN: it has no checks any more"}
		if got := own.take(); !slices.Equal(got, want) {
			t.Errorf("own names: %q", got)
		}
		want = []string{"x/10.0.0.7:80 UNKNOWN: not run yet: a", "x/10.0.0.7:80 NOT_SERVING: failing: a"}
		if got := renamed.take(); !slices.Equal(got, want) {
			t.Errorf("renamed: %q", got)
		}
	})
	if ToRegistry(nil, nil) != nil {
		t.Error("a nil lease must make a nil reporter")
	}
}

func errFunc(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

func TestReasonsAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 128) // 256 bytes, the longest
	for _, n := range []int{1, 2, 3, 4, 5, 100, 100_000} {
		var names []string
		for range n {
			names = append(names, long)
		}
		text := reasonText(client.NotServing, names)
		if err := limits.Reason(text); err != nil {
			t.Errorf("%d names: %v", n, err)
		}
		shown := strings.Count(text, long)
		more := ""
		if n > shown {
			more = fmt.Sprintf(" and %d more", n-shown)
		}
		if shown < min(n, 3) || !strings.HasSuffix(text, long+more) {
			t.Errorf("%d names: %d bytes, %d shown: …%s", n, len(text), shown, text[len(text)-40:])
		}
	}
	exact := []string{strings.Repeat("a", 256), strings.Repeat("b", 256), strings.Repeat("c", 256), strings.Repeat("d", 1024-len("failing: ")-3*256-3*2)}
	if text := reasonText(client.NotServing, exact); len(text) != 1024 || strings.Contains(text, "more") {
		t.Errorf("what fits to the byte was cut: %d", len(text))
	}
}

func TestWakeRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		w := &waking{probe: newProbe("a", sleep(s))}
		f.add("x", w)
		w.run() // before Run nothing happens
		f.start()
		pass(4 * s)
		w.run()
		pass(s / 2)
		w.run() // while a run is under way: once more after it
		w.run()
		pass(30 * s)
		if got, want := w.started(), []time.Duration{0, 4 * s, 5 * s, 15 * s, 25 * s}; !slices.Equal(got, want) {
			t.Errorf("started at %v, want %v", got, want)
		}
		if w.stopped {
			t.Error("stop was called before Remove")
		}
		f.Remove("x", "a")
		if !w.stopped {
			t.Error("stop was not called")
		}
		w.run()
		pass(30 * s)
		if n := len(w.started()); n != 5 {
			t.Errorf("%d runs, some after Remove", n)
		}
	})
}

type waking struct {
	*probe
	run     func()
	stopped bool
}

func (w *waking) wake(run func()) func()  { w.run = run; return func() { w.stopped = true } }
func (w *waking) defaults() []CheckOption { return []CheckOption{Fall(7)} }

func TestChecksOwnDefaults(t *testing.T) {
	r := NewRunner()
	for name, opts := range map[string][]CheckOption{"own": nil, "said": {Fall(2)}} {
		if err := r.Add("x", &waking{probe: newProbe(name, nil)}, opts...); err != nil {
			t.Fatal(err)
		}
	}
	if all := r.Results(); all[0].Fall != 7 || all[1].Fall != 2 || all[0].Rise != 1 {
		t.Errorf("got %+v", all)
	}
}

var regexpPlace = regexp.MustCompile(`\(checks\.[^)]*\.go:\d+\)`)
