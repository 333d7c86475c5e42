package fsm

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// WaitIndex returns once AppliedIndex is at least index. The error is ctx.Err(), or wraps ErrHalted
// if it will never be.
func (f *FSM) WaitIndex(ctx context.Context, index uint64) error {
	return f.indexWaiters.wait(ctx, index, f.AppliedIndex)
}

// WaitRevision returns once Revision is at least revision. Errors are those of WaitIndex.
func (f *FSM) WaitRevision(ctx context.Context, revision int64) error {
	return f.revisionWaiters.wait(ctx, uint64(max(revision, 0)), func() uint64 { return uint64(f.Revision()) })
}

// waiters are the goroutines that wait for a number to grow. One atomic load tells Apply that nobody waits.
type waiters struct {
	lowest atomic.Uint64 // the least target in queue; MaxUint64: nobody waits

	mu    sync.Mutex // guards the rest, and is taken under no other lock
	queue waiterHeap
	err   error // if set, the number will not grow any more
}

type waiter struct {
	target uint64
	at     int           // in the heap; -1: not in it
	done   chan struct{} // closed when target is reached or err is set
	err    error
}

func newWaiters() *waiters {
	w := &waiters{}
	w.lowest.Store(math.MaxUint64)
	return w
}

func (w *waiters) wait(ctx context.Context, target uint64, reached func() uint64) error {
	if reached() >= target {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	x := &waiter{target: target, done: make(chan struct{})}
	if err := w.add(x); err != nil {
		return err
	}
	// The number is read again now that x is in the queue. From here on release, which is called after each
	// step, sees x.
	if reached() >= target {
		w.remove(x)
		return nil
	}
	select {
	case <-x.done:
		return x.err
	case <-ctx.Done():
		w.remove(x)
		return ctx.Err()
	}
}

// release wakes those who wait for reached or less. The number must be visible to readers before the call.
func (w *waiters) release(reached uint64) {
	if w.lowest.Load() > reached {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 && w.queue[0].target <= reached {
		close(heap.Pop(&w.queue).(*waiter).done)
	}
	w.noteLowest()
}

// fail wakes everybody with err. Later waits fail with it at once.
func (w *waiters) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	for _, x := range w.queue {
		x.at, x.err = -1, err
		close(x.done)
	}
	w.queue = nil
	w.noteLowest()
}

func (w *waiters) add(x *waiter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	heap.Push(&w.queue, x)
	w.noteLowest()
	return nil
}

func (w *waiters) remove(x *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.at >= 0 {
		heap.Remove(&w.queue, x.at)
		w.noteLowest()
	}
}

func (w *waiters) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

func (w *waiters) noteLowest() {
	if len(w.queue) == 0 {
		w.lowest.Store(math.MaxUint64)
	} else {
		w.lowest.Store(w.queue[0].target)
	}
}

// waiterHeap has the least target first.
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].target < h[j].target }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.at = len(*h)
	*h = append(*h, w)
}
func (h *waiterHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.at = -1
	return w
}
