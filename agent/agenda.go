package agent

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda calls functions when their time has come, one at a time, from the goroutine of run.
type agenda struct {
	wake chan struct{} // capacity 1: run looks anew

	mu    sync.Mutex // guards what follows
	items items
	busy  time.Time // since when a function runs; zero: none does
}

type item struct {
	at time.Time
	do func()
}

// items is a heap, the earliest first.
type items []item

func (h items) Len() int           { return len(h) }
func (h items) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h items) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *items) Push(x any)        { *h = append(*h, x.(item)) }
func (h *items) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = item{}
	*h = (*h)[:len(*h)-1]
	return last
}

func newAgenda() *agenda { return &agenda{wake: make(chan struct{}, 1)} }

// at has do called at a time.
func (a *agenda) at(t time.Time, do func()) {
	a.mu.Lock()
	first := len(a.items) == 0 || t.Before(a.items[0].at)
	heap.Push(&a.items, item{t, do})
	a.mu.Unlock()
	if !first {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run calls what is due until ctx ends.
func (a *agenda) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-a.wake:
		}
		for {
			do, wait := a.next(time.Now())
			if do == nil {
				if wait > 0 {
					timer.Reset(wait)
				}
				break
			}
			do()
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// next returns what is due; nil if nothing is, and then how long that will be; 0 if nothing ever is.
func (a *agenda) next(now time.Time) (do func(), wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = time.Time{}
	if len(a.items) == 0 {
		return nil, 0
	}
	if wait = a.items[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	a.busy = now
	return heap.Pop(&a.items).(item).do, 0
}

// late returns for how long something has been due that was not done, or has been done without an end.
func (a *agenda) late(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var late time.Duration
	if !a.busy.IsZero() {
		late = now.Sub(a.busy)
	}
	if len(a.items) > 0 {
		late = max(late, now.Sub(a.items[0].at))
	}
	return late
}
