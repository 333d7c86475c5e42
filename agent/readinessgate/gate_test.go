package readinessgate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

const gateType = "example.com/rollcall"

// fakePods is a pod as the API server has it.
type fakePods struct {
	mu     sync.Mutex
	pod    object
	fails  func() error  // nil: every request is answered
	drops  bool          // takes no write, and answers as if it had
	loses  bool          // takes a write, and does not answer
	took   time.Duration // of each request
	reads  []time.Time   // when the pod was read
	writes []condition   // in order
	at     []time.Time   // of writes
	tries  []time.Time   // of all requests
}

func newFakePods() *fakePods {
	p := &fakePods{}
	p.pod.Spec.ReadinessGates = append(p.pod.Spec.ReadinessGates, struct {
		ConditionType string `json:"conditionType"`
	}{gateType})
	return p
}

func (p *fakePods) request(ctx context.Context) error {
	p.mu.Lock()
	p.tries = append(p.tries, time.Now())
	fails, took := p.fails, p.took
	p.mu.Unlock()
	if took > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(took):
		}
	}
	if fails != nil {
		return fails()
	}
	return nil
}

func (p *fakePods) read(ctx context.Context) (*object, error) {
	if err := p.request(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads = append(p.reads, time.Now())
	o := p.pod
	return &o, nil
}

func (p *fakePods) write(ctx context.Context, c condition) (*object, error) {
	if err := p.request(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes, p.at = append(p.writes, c), append(p.at, time.Now())
	if !p.drops {
		p.put(c)
	}
	if p.loses {
		return nil, errors.New("the connection broke")
	}
	o := p.pod
	return &o, nil
}

// put is what a write does. p.mu is held.
func (p *fakePods) put(c condition) {
	var all []condition
	for _, old := range p.pod.Status.Conditions {
		if old.Type != c.Type {
			all = append(all, old)
		}
	}
	p.pod.Status.Conditions = append(all, c)
}

func (p *fakePods) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// statuses are those that were written, in order.
func (p *fakePods) statuses() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, c := range p.writes {
		all = append(all, c.Status)
	}
	return strings.Join(all, " ")
}

func (p *fakePods) counts() (reads, writes, tries int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.reads), len(p.writes), len(p.tries)
}

// run runs a gate in a bubble until the test ends. The returned function ends it, and waits.
func run(t *testing.T, p *fakePods) (*Gate, *bytes.Buffer, func()) {
	t.Helper()
	log := &bytes.Buffer{}
	g := newGate(p, gateType, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	return g, log, end
}

func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestNothingIsWrittenBeforeTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		after(time.Hour)
		if _, _, tries := p.counts(); tries != 0 {
			t.Errorf("%d requests before a status was said", tries)
		}
		if s := g.State(); s.Status != client.ServiceUnknown || s.Pending != 0 {
			t.Errorf("state: %+v", s)
		}
		g.Set(client.Serving, "all checks pass")
		after(0)
		if got := p.statuses(); got != "True" {
			t.Errorf("written: %q", got)
		}
		c := p.writes[0]
		if c.Reason != "Serving" || c.Message != "all checks pass" || !c.LastTransitionTime.Equal(time.Now()) {
			t.Errorf("written: %+v", c)
		}
		if s := g.State(); s.Status != client.Serving || s.Pending != 0 || s.Writes != 1 {
			t.Errorf("state: %+v", s)
		}
	})
}

func TestEachStatusHasItsCondition(t *testing.T) {
	for _, tc := range []struct {
		status       client.Status
		want, reason string
	}{
		{client.Serving, "True", "Serving"},
		{client.NotServing, "False", "NotServing"},
		{client.Unknown, "Unknown", "Unknown"},
		{client.ServiceUnknown, "Unknown", "Unknown"},
	} {
		if c := conditionOf(gateType, tc.status, "why"); c.Status != tc.want || c.Reason != tc.reason || c.Type != gateType || c.Message != "why" {
			t.Errorf("%s: %+v", tc.status, c)
		}
	}
}

// TestOnlyChangesAreWritten: the pod is looked at once a minute, and written only where it differs.
func TestOnlyChangesAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		g.Set(client.Serving, "")
		for range 600 {
			after(time.Second)
			g.Set(client.Serving, "")
		}
		reads, writes, _ := p.counts()
		if writes != 1 || reads < 9 || reads > 13 {
			t.Errorf("in 10 minutes: %d writes, %d looks", writes, reads)
		}
	})
}

// TestAFlapIsNoFlood: a thousand changes a second become one write a second, and the last word is written.
func TestAFlapIsNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		for i := range 10_000 {
			if i%2 == 0 {
				g.Set(client.NotServing, "")
			} else {
				g.Set(client.Serving, "")
			}
			after(time.Millisecond)
		}
		after(spacing)
		_, _, tries := p.counts()
		if tries > 13 || tries < 3 {
			t.Errorf("%d requests in 11 s", tries)
		}
		if !strings.HasSuffix(p.statuses(), "True") {
			t.Errorf("the last word was SERVING; written: %s", p.statuses())
		}
	})
}

// TestAChangeIsWrittenAtOnce, however soon after the start of a minute.
func TestAChangeIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		g.Set(client.Serving, "")
		after(10 * time.Second)
		g.Set(client.NotServing, "switched off")
		at := time.Now()
		after(0)
		if p.statuses() != "True False" || !p.at[1].Equal(at) || !p.writes[1].LastTransitionTime.Equal(at) {
			t.Errorf("written: %+v at %v; the change was at %v", p.writes, p.at, at)
		}
	})
}

// TestAReasonWaits: another reason is written with the next look, and its time of transition stays.
func TestAReasonWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		g.Set(client.NotServing, "disk: 91% full")
		after(0)
		first := p.writes[0].LastTransitionTime
		g.Set(client.NotServing, "disk: 92% full")
		after(30 * time.Second)
		if _, writes, _ := p.counts(); writes != 1 {
			t.Errorf("%d writes", writes)
		}
		after(time.Minute)
		if _, writes, _ := p.counts(); writes != 2 || p.writes[1].Message != "disk: 92% full" || !p.writes[1].LastTransitionTime.Equal(first) {
			t.Errorf("written: %+v", p.writes)
		}
	})
}

// TestARestartIsNoTransition: an agent that starts again in a pod that has its condition writes nothing.
func TestARestartIsNoTransition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, end := run(t, p)
		g.Set(client.Serving, "")
		after(time.Second)
		end()
		if got := p.statuses(); got != "True" {
			t.Errorf("the end wrote: %s", got)
		}
		g, _, _ = run(t, p)
		g.Set(client.Serving, "")
		after(time.Second)
		if got := p.statuses(); got != "True" {
			t.Errorf("the restart wrote: %s", got)
		}
		g.Set(client.NotServing, "")
		after(time.Second)
		if got := p.statuses(); got != "True False" {
			t.Errorf("written: %s", got)
		}
	})
}

// TestAnotherWriterIsUndone: what somebody else wrote into the condition is put right with the next look.
func TestAnotherWriterIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		g.Set(client.NotServing, "switched off")
		after(5 * time.Second)
		p.set(func() { p.put(condition{Type: gateType, Status: "True"}) })
		after(refresh + refresh/10)
		if got := p.statuses(); got != "False False" {
			t.Errorf("written: %s", got)
		}
		p.set(func() { p.pod.Status.Conditions = nil })
		after(refresh + refresh/10)
		if got := p.statuses(); got != "False False False" {
			t.Errorf("written: %s", got)
		}
	})
}

// TestFailStatic: while the API server is away nothing is lost and nobody is flooded; after it, the last word is written.
func TestFailStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(2 * time.Second)
		p.set(func() { p.fails = func() error { return errors.New("connection refused") } })
		_, _, before := p.counts()
		g.Set(client.NotServing, "")
		for range 8 * 60 {
			after(time.Minute)
			g.Set(client.Serving, "")
			g.Set(client.NotServing, "")
		}
		_, _, tries := p.counts()
		if n := tries - before; n < 8*3600/30 || n > 8*3600/15+20 {
			t.Errorf("%d tries in 8 hours", n)
		}
		if s := g.State(); s.Pending < 7*time.Hour || s.Failures == 0 {
			t.Errorf("state: %+v", s)
		}
		if n := strings.Count(log.String(), "was not written"); n != 1 {
			t.Errorf("the failure was logged %d times:\n%s", n, log)
		}
		p.set(func() { p.fails = nil })
		after(maxBackoff)
		if p.statuses() != "True False" || g.State().Pending != 0 {
			t.Errorf("written: %s; %+v", p.statuses(), g.State())
		}
		if !strings.Contains(log.String(), "answers again") {
			t.Errorf("log:\n%s", log)
		}
	})
}
