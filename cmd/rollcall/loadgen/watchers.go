package loadgen

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// watchers are many watches of one service. They wait for one flip at a time.
type watchers struct {
	errors  Errors
	current atomic.Pointer[flip]

	mu      sync.Mutex // guards alive and cancels, and that a flip begins with those alive
	alive   []bool     // by watcher
	cancels []context.CancelFunc

	streams sync.WaitGroup
}

// flip is one change of the service's status, as the watchers receive it.
type flip struct {
	status  client.Status
	start   time.Time
	delays  []atomic.Int64 // by watcher: nanoseconds since start; 0: not yet; absent: never
	missing atomic.Int64   // watchers without a delay
	all     chan struct{}  // closed when none is missing
}

const absent = -1

func newWatchers(n int) *watchers {
	return &watchers{alive: make([]bool, n), cancels: make([]context.CancelFunc, n)}
}

// settle records a watcher's delay, or absent. It counts once.
func (f *flip) settle(watcher int, delay int64) {
	if f.delays[watcher].CompareAndSwap(0, delay) && f.missing.Add(-1) == 0 {
		close(f.all)
	}
}

// expect begins a flip. It waits for the watchers that are alive now.
func (w *watchers) expect(s client.Status) *flip {
	f := &flip{status: s, delays: make([]atomic.Int64, len(w.alive)), all: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := 0
	for i, alive := range w.alive {
		if alive {
			missing++
		} else {
			f.delays[i].Store(absent)
		}
	}
	f.missing.Store(int64(missing))
	if missing == 0 {
		close(f.all)
	}
	f.start = time.Now()
	w.current.Store(f)
	return f
}

// await waits until every watcher has the flip. After timeout it gives up the watchers that have not, because
// it would not be known which flip a later message of theirs belongs to.
func (w *watchers) await(f *flip, timeout time.Duration) {
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-f.all:
		return
	case <-t.C:
	}
	for i := range f.delays {
		if f.delays[i].Load() == 0 {
			w.giveUp(i, status.Error(codes.DeadlineExceeded, fmt.Sprintf("a watcher had no message within %s", timeout)))
		}
	}
}

// giveUp takes a watcher out, once.
func (w *watchers) giveUp(watcher int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.alive[watcher] {
		return
	}
	w.alive[watcher] = false
	w.cancels[watcher]()
	w.errors.Add(err)
	w.current.Load().settle(watcher, absent)
}

// open starts all watches and reports whether all had status s within timeout.
func (w *watchers) open(ctx context.Context, service string, s client.Status, conns *Connections, timeout time.Duration) bool {
	for i := range w.alive {
		w.alive[i] = true
	}
	f := w.expect(s)
	ctxs := make([]context.Context, len(w.alive))
	for i := range ctxs {
		ctxs[i], w.cancels[i] = context.WithCancel(context.WithoutCancel(ctx))
	}
	for i, ctx := range ctxs {
		w.streams.Go(func() {
			err := w.receive(ctx, i, service, healthpb.NewHealthClient(conns.at(i)))
			if ctx.Err() == nil {
				w.giveUp(i, err)
			}
		})
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-f.all:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// receive settles the flips that one watcher receives. It returns why its stream ended, never nil.
func (w *watchers) receive(ctx context.Context, watcher int, service string, c healthpb.HealthClient) error {
	stream, err := c.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if f := w.current.Load(); m.GetStatus() == f.status {
			f.settle(watcher, max(int64(time.Since(f.start)), 1))
		}
	}
}

// close ends all watches and waits for them.
func (w *watchers) close() {
	for _, cancel := range w.cancels {
		if cancel != nil {
			cancel()
		}
	}
	w.streams.Wait()
}

// opening describes how many watches are open, while they are being opened.
func (w *watchers) opening(time.Duration) string {
	open := len(w.alive)
	if f := w.current.Load(); f != nil {
		open -= int(f.missing.Load())
	}
	return fmt.Sprintf("%s of %s watches open", format.Grouped(uint64(open)), format.Grouped(uint64(len(w.alive))))
}
