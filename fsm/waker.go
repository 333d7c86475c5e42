package fsm

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// waker wakes the watchers of topics that changed, in a goroutine of its own, so that apply never
// waits for them. Shards of all queued topics take turns: a topic with very many watchers delays
// the others by one shard a turn.
type waker struct {
	mu      sync.Mutex // guards pending
	pending []*topic   // at most once each: see topic.queued

	woken atomic.Uint64 // topics taken from pending

	signal chan struct{} // capacity 1: "pending is not empty" need not be said twice
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once
}

func newWaker() *waker {
	w := &waker{
		signal: make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	go w.run()
	return w
}

// queue has the watchers of tp woken, soon. What they shall see must be published before.
func (w *waker) queue(tp *topic) {
	if tp.queued.Swap(true) {
		return // the take to come clears queued before it looks at the waiters
	}
	w.mu.Lock()
	w.pending = append(w.pending, tp)
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *waker) take() []*topic {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.pending
	w.pending = nil
	return taken
}

// close ends the goroutine and waits for it. Who is queued then is not woken any more.
func (w *waker) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func (w *waker) run() {
	defer close(w.done)
	var active []*topic // with left > 0
	for {
		for _, tp := range w.take() {
			tp.queued.Store(false)
			w.woken.Add(1)
			resting := tp.left == 0
			tp.round = tp.snapshot()
			tp.left = len(tp.round) // all of them once more, from wherever the cursor is
			if resting {
				active = append(active, tp)
			}
		}
		if len(active) == 0 {
			select {
			case <-w.signal:
			case <-w.stop:
				return
			}
			continue
		}
		rest := active[:0]
		for _, tp := range active {
			tp.cursor %= len(tp.round)
			woken := tp.wake(tp.round[tp.cursor])
			tp.cursor++
			if tp.left--; tp.left > 0 {
				rest = append(rest, tp)
			} else {
				tp.round = nil
			}
			// Lets those who were woken run before the next are: whatever else wants to run, a read or
			// an apply, waits behind all of them at every step. One call lets only a few of them run,
			// as the scheduler takes turns between us and them. (BenchmarkWatches in cluster_test.)
			for range 1 + woken/2 {
				runtime.Gosched()
			}
		}
		clear(active[len(rest):])
		active = rest
		select {
		case <-w.stop:
			return
		default:
		}
	}
}
