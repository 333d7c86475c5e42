package checks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

var errBad = errors.New("it does not work")

// probe is a check whose runs the test decides.
type probe struct {
	name string
	run  func(ctx context.Context) error // nil: it passes

	mu      sync.Mutex
	starts  []time.Duration // since the probe was made
	made    time.Time
	inside  int
	overlap bool
}

func newProbe(name string, run func(context.Context) error) *probe {
	return &probe{name: name, run: run, made: time.Now()}
}

func (p *probe) Name() string { return p.name }

func (p *probe) Check(ctx context.Context) error {
	p.mu.Lock()
	p.starts = append(p.starts, time.Since(p.made))
	p.inside++
	p.overlap = p.overlap || p.inside > 1
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.inside--
		p.mu.Unlock()
	}()
	if p.run == nil {
		return nil
	}
	return p.run(ctx)
}

func (p *probe) started() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.starts)
}

// results is a check that returns the given errors in turn, and then the last one again and again.
func results(errs ...error) func(context.Context) error {
	next := 0
	return func(context.Context) error {
		err := errs[min(next, len(errs)-1)]
		next++
		return err
	}
}

// sleep takes d, and does not care for its context.
func sleep(d time.Duration) func(context.Context) error {
	return func(context.Context) error { time.Sleep(d); return nil }
}

// notes is a Reporter, a ReasonReporter if wrapped in withReasons, and an Observer that writes down what it is told.
type notes struct {
	mu    sync.Mutex
	lines []string
	hold  chan struct{} // if not nil, each call waits until it is closed
}

func (n *notes) add(format string, args ...any) {
	if n.hold != nil {
		<-n.hold
	}
	n.mu.Lock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
	n.mu.Unlock()
}

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}

func (n *notes) SetServingStatus(service string, s client.Status) { n.add("%s %v", service, s) }

type withReasons struct{ *notes }

func (n withReasons) Report(service string, s client.Status, reason string) error {
	n.add("%s %v: %s", service, s, reason)
	return nil
}

// fixture is a Runner that runs in a bubble until the test is over.
type fixture struct {
	*Runner
	t    *testing.T
	told *notes
	stop func() error
}

// newFixture makes a Runner, which start runs.
func newFixture(t *testing.T, opts ...RunnerOption) *fixture {
	t.Helper()
	f := &fixture{t: t, told: &notes{}}
	f.Runner = NewRunner(append([]RunnerOption{To(f.told)}, opts...)...)
	return f
}

func (f *fixture) add(service string, c Check, opts ...CheckOption) {
	f.t.Helper()
	if err := f.Add(service, c, append([]CheckOption{Jitter(0)}, opts...)...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) start() {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stopped := false
	f.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	f.t.Cleanup(func() { _ = f.stop() })
	synctest.Wait()
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// only is the result of the only check.
func (f *fixture) only() Result {
	f.t.Helper()
	all := f.Results()
	if len(all) != 1 {
		f.t.Fatalf("%d results", len(all))
	}
	return all[0]
}

func (f *fixture) expect(want ...string) {
	f.t.Helper()
	synctest.Wait()
	if got := f.told.take(); !slices.Equal(got, want) {
		f.t.Errorf("told %q, want %q", got, want)
	}
}
