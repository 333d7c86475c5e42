package main

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
)

// audience is many watchers of one service. They look at one flip at a time.
type audience struct {
	failures failures
	current  atomic.Pointer[flip]

	mu      sync.Mutex // guards what follows, and that a flip begins with those alive
	alive   []bool     // by watcher
	cancels []context.CancelFunc

	streams sync.WaitGroup
}

// flip is one change as the watchers get it.
type flip struct {
	status  client.Status
	start   time.Time
	arrived []atomic.Int64 // by watcher: nanoseconds since start; 0: not yet; absent: never
	missing atomic.Int64
	all     chan struct{} // closed when none is missing
}

const absent = -1

func newAudience(watches int) *audience {
	return &audience{alive: make([]bool, watches), cancels: make([]context.CancelFunc, watches)}
}

// settle notes once what became of a watcher: its delay, or absent.
func (f *flip) settle(watcher int, as int64) {
	if f.arrived[watcher].CompareAndSwap(0, as) && f.missing.Add(-1) == 0 {
		close(f.all)
	}
}

// expect begins a flip for the watchers that are alive. Whoever lives when it begins is waited for.
func (a *audience) expect(s client.Status) *flip {
	f := &flip{status: s, arrived: make([]atomic.Int64, len(a.alive)), all: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	missing := 0
	for i, alive := range a.alive {
		if alive {
			missing++
		} else {
			f.arrived[i].Store(absent)
		}
	}
	f.missing.Store(int64(missing))
	if missing == 0 {
		close(f.all)
	}
	f.start = time.Now()
	a.current.Store(f)
	return f
}

// await waits until every watcher has the flip. Those who have not when patience is over are given up:
// later it could not be told which flip their message is of.
func (a *audience) await(f *flip, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-f.all:
		return
	case <-t.C:
	}
	for i := range f.arrived {
		if f.arrived[i].Load() == 0 {
			a.leave(i, status.Error(codes.DeadlineExceeded, fmt.Sprintf("a watcher had no message within %s", patience)))
		}
	}
}

// leave takes a watcher out, once.
func (a *audience) leave(watcher int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.alive[watcher] {
		return
	}
	a.alive[watcher] = false
	a.cancels[watcher]()
	a.failures.add(err)
	a.current.Load().settle(watcher, absent)
}

// open starts all watchers and waits until they have seen s, and says whether that came in time.
func (a *audience) open(ctx context.Context, service string, s client.Status, conns *benchConnections, patience time.Duration) bool {
	for i := range a.alive {
		a.alive[i] = true
	}
	f := a.expect(s)
	ctxs := make([]context.Context, len(a.alive))
	for i := range ctxs {
		ctxs[i], a.cancels[i] = context.WithCancel(context.WithoutCancel(ctx))
	}
	for i, ctx := range ctxs {
		a.streams.Go(func() {
			err := a.follow(ctx, i, service, healthpb.NewHealthClient(conns.at(i)))
			if ctx.Err() == nil {
				a.leave(i, err)
			}
		})
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-f.all:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// follow tells the flips of what one watcher receives, and returns why its stream ended; never nil.
func (a *audience) follow(ctx context.Context, watcher int, service string, c healthpb.HealthClient) error {
	stream, err := c.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if f := a.current.Load(); m.GetStatus() == f.status {
			f.settle(watcher, max(int64(time.Since(f.start)), 1))
		}
	}
}

// end closes all streams and waits for them.
func (a *audience) end() {
	for _, cancel := range a.cancels {
		if cancel != nil {
			cancel()
		}
	}
	a.streams.Wait()
}

// progress is the line of a live view while watches are opened.
func (a *audience) progress(time.Duration) string {
	open := len(a.alive)
	if f := a.current.Load(); f != nil {
		open -= int(f.missing.Load())
	}
	return fmt.Sprintf("%s of %s watches open", grouped(uint64(open)), grouped(uint64(len(a.alive))))
}
