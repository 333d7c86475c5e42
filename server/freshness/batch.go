package freshness

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// batch shares one round among all callers that ask the same question. A caller needs the answer of a round
// that begins after its call. So it joins the round that has not begun yet, never the one under way. There is
// at most one of each.
type batch struct {
	ask     func(ctx context.Context) (uint64, error)
	timeout time.Duration   // of one round
	life    context.Context // ends with close
	end     context.CancelFunc

	begun atomic.Int64 // so far
	wg    sync.WaitGroup

	mu      sync.Mutex // guards what follows, and that nothing starts after close
	waiting *round     // nil: nobody waits for a round to begin
	running bool
}

// round is one round. index and err may be read after done is closed.
type round struct {
	done  chan struct{}
	index uint64
	err   error
}

func newBatch(timeout time.Duration, ask func(ctx context.Context) (uint64, error)) *batch {
	r := &batch{ask: ask, timeout: timeout}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// do returns the answer to a round that begins after the call. When ctx ends before it, the round goes
// on for the others.
func (r *batch) do(ctx context.Context) (uint64, error) {
	x, err := r.join()
	if err != nil {
		return 0, err
	}
	select {
	case <-x.done:
		return x.index, x.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (r *batch) join() (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return nil, rpcerror.ErrStopping
	}
	if r.waiting == nil {
		r.waiting = &round{done: make(chan struct{})}
	}
	x := r.waiting
	if !r.running {
		r.running = true
		r.wg.Go(r.run)
	}
	return x, nil
}

// run makes rounds until nobody waits for one.
func (r *batch) run() {
	for {
		r.mu.Lock()
		x := r.waiting
		r.waiting = nil
		r.running = x != nil
		r.mu.Unlock()
		if x == nil {
			return
		}
		r.begun.Add(1)
		ctx, cancel := context.WithTimeout(r.life, r.timeout)
		x.index, x.err = r.ask(ctx)
		cancel()
		close(x.done)
	}
}

// close ends the round under way, refuses those to come and waits for the goroutine.
func (r *batch) close() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.wg.Wait()
}
