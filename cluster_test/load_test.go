package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// load writes from several writers, each to a service of its own, one numbered write after the
// other; the number stands in the reason. So a service may only ever show the number of its last
// acknowledged write, or of a later one whose outcome is unknown. Until there is one, each write but
// the first is a compare-and-set on the one before: that it is refused means that a write took effect
// twice (P3).
type load struct {
	t       *testing.T
	writers []*writer
	every   time.Duration // between two writes of one writer, if the first does not take longer; 0: no pause
	acked   atomic.Int64
	failed  atomic.Int64  // writes that were not acknowledged
	slowest atomic.Int64  // nanoseconds until a write was acknowledged, at most
	ackedC  chan struct{} // capacity 1: a hint that acked grew
	cancel  context.CancelFunc
	abandon context.CancelFunc // ends writes under way: their outcome is unknown
	wg      sync.WaitGroup
}

type writer struct {
	service string
	mu      sync.Mutex // guards what follows
	next    int
	acked   int          // number of the last acknowledged write; 0: none
	rev     int64        // its revision
	unknown map[int]bool // later numbers whose outcome is unknown
	refused map[int]bool // numbers that were surely not written
	doubt   bool         // there was an unknown outcome: that write may still come
}

func startLoad(t *testing.T, cl *client.Client, writers int) *load {
	t.Helper()
	return startLoadOf(t, cl, writers, 0)
}

// startSpreadLoad is startPacedLoad through several clients, the writers in turn.
func startSpreadLoad(t *testing.T, clients []*client.Client, perSecond int) *load {
	t.Helper()
	const writers = 40
	return startLoadBy(t, clients, writers, writers*time.Second/time.Duration(perSecond))
}

// startPacedLoad has forty writers make so many writes a second, together.
func startPacedLoad(t *testing.T, cl *client.Client, perSecond int) *load {
	t.Helper()
	const writers = 40
	return startLoadOf(t, cl, writers, writers*time.Second/time.Duration(perSecond))
}

func startLoadOf(t *testing.T, cl *client.Client, writers int, every time.Duration) *load {
	t.Helper()
	return startLoadBy(t, []*client.Client{cl}, writers, every)
}

func startLoadBy(t *testing.T, clients []*client.Client, writers int, every time.Duration) *load {
	t.Helper()
	l := &load{t: t, every: every, ackedC: make(chan struct{}, 1)}
	for i := range writers {
		l.writers = append(l.writers, &writer{service: fmt.Sprintf("load/w%d", i), unknown: map[int]bool{}, refused: map[int]bool{}})
	}
	l.resume(clients...)
	t.Cleanup(func() { l.stop() })
	return l
}

// resume has the writers of a load that was stopped go on.
func (l *load) resume(clients ...*client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	attempts, abandon := context.WithCancel(context.Background())
	l.cancel, l.abandon = cancel, abandon
	for i, w := range l.writers {
		l.wg.Go(func() { l.run(ctx, attempts, clients[i%len(clients)], w) })
	}
}

// stop ends the writers; what they know stays.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	l.abandon()
}

func (l *load) run(ctx, attempts context.Context, cl *client.Client, w *writer) {
	var pace <-chan time.Time
	if l.every > 0 {
		tick := time.NewTicker(l.every)
		defer tick.Stop()
		pace = tick.C
	}
	for ctx.Err() == nil {
		if pace != nil {
			select {
			case <-pace:
			case <-ctx.Done():
				return
			}
		}
		w.mu.Lock()
		w.next++
		n := w.next
		o := client.WriteOptions{Reason: strconv.Itoa(n)}
		if w.acked > 0 && !w.doubt {
			o.IfRevision = new(int64)
			*o.IfRevision = w.rev
		}
		w.mu.Unlock()
		s := healthpb.HealthCheckResponse_SERVING
		if n%2 == 0 {
			s = healthpb.HealthCheckResponse_NOT_SERVING
		}
		// Not ctx: a write under way when the load stops must end in an outcome of its own.
		attempt, done := context.WithTimeout(attempts, 5*time.Second)
		begun := time.Now()
		resp, err := cl.Set(attempt, w.service, s, o)
		done()
		if err != nil {
			if l.failed.Add(1) == 1 {
				l.t.Logf("%s: the first write that failed: %v", w.service, err)
			}
		} else {
			took := int64(time.Since(begun))
			for most := l.slowest.Load(); took > most && !l.slowest.CompareAndSwap(most, took); most = l.slowest.Load() {
			}
		}
		w.mu.Lock()
		switch e := (*client.Error)(nil); {
		case err == nil:
			if resp.GetRevision() <= w.rev {
				l.t.Errorf("%s: write %d has revision %d, an earlier one had %d", w.service, n, resp.GetRevision(), w.rev)
			}
			w.acked, w.rev = n, resp.GetRevision()
			clear(w.unknown)
			l.acked.Add(1)
			select {
			case l.ackedC <- struct{}{}:
			default:
			}
		case errors.As(err, &e) && e.Written == client.WrittenNo:
			if e.Reason == "REVISION_MISMATCH" {
				l.t.Errorf("%s: write %d expected revision %d and found %d: an earlier one took effect twice", w.service, n, w.rev, e.CurrentRevision)
				w.rev = e.CurrentRevision
			}
			w.refused[n] = true
		default:
			w.unknown[n], w.doubt = true, true
		}
		w.mu.Unlock()
	}
}

// wait returns after n more acknowledged writes.
func (l *load) wait(n int64) {
	l.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for want := l.acked.Load() + n; l.acked.Load() < want; {
		select {
		case <-l.ackedC:
		case <-deadline.C:
			l.t.Fatalf("waited %s for %d more acknowledged writes; %d are missing", patience, n, want-l.acked.Load())
		}
	}
}

// verify compares what a node shows with what the writers know. The load must have stopped.
func (l *load) verify(p *process) {
	l.t.Helper()
	for _, w := range l.writers {
		w.verify(l.t, p)
	}
}

func (w *writer) verify(t *testing.T, p *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := rollcallv1.NewRegistryClient(p.dial()).GetService(ctx, &rollcallv1.GetServiceRequest{Service: w.service})
	shown := 0
	if err == nil {
		shown, err = strconv.Atoi(resp.GetService().GetReport().GetReason())
		if err != nil {
			t.Fatal(err)
		}
	} else if status.Code(err) != codes.NotFound {
		t.Fatalf("%s on %s: %v", w.service, p.name, err)
	}
	switch {
	case shown == w.acked:
	case w.refused[shown]:
		t.Errorf("%s on %s shows write %d, which was refused as not written", w.service, p.name, shown)
	case !w.unknown[shown]:
		t.Errorf("%s on %s shows write %d; %d was acknowledged, and after it %v are unknown", w.service, p.name, shown, w.acked, w.unknown)
	}
}

// settle takes what a node shows for what is written: the writes whose outcome was unknown happened or never
// will, as no process that knew of them lives. The load must have stopped.
func (l *load) settle(p *process) {
	l.t.Helper()
	for _, w := range l.writers {
		w.verify(l.t, p)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		resp, err := rollcallv1.NewRegistryClient(p.dial()).GetService(ctx, &rollcallv1.GetServiceRequest{Service: w.service})
		cancel()
		if status.Code(err) == codes.NotFound {
			continue
		}
		if err != nil {
			l.t.Fatal(err)
		}
		r := resp.GetService().GetReport()
		w.mu.Lock()
		w.acked, _ = strconv.Atoi(r.GetReason())
		w.rev, w.doubt = r.GetRevision(), false
		clear(w.unknown)
		w.mu.Unlock()
	}
}
