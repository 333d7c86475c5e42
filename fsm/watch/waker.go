package watch

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// waker updates the watches of topics that changed, in goroutines of its own, so that apply never waits
// for them. The shards of all queued topics take turns: a topic with very many watches delays the others by
// one shard a turn.
//
// A watch has no goroutine: the waker's goroutines send for it. If each watch had one, waking all of them at
// once would make every read and every apply wait behind them.
type waker struct {
	topics *topics // that sweeps go through

	mu          sync.Mutex // guards what follows; taken before topicShard.mu
	first, last *Topic     // the queue; each with left > 0
	watches     []*watch   // from head on: those that missed a change and are ready now, oldest first
	head        int
	turn        bool // true: topics are next, if topics and watches are waiting
	sweeps      []*sweep

	woken atomic.Uint64 // topics queued

	signal chan struct{} // capacity 1: one signal tells of any amount of work
	stop   chan struct{}
	done   sync.WaitGroup
	once   sync.Once
}

func newWaker(topics *topics) *waker {
	w := &waker{topics: topics, signal: make(chan struct{}, 1), stop: make(chan struct{})}
	// The other half of the processors writes out what was sent.
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		w.done.Go(w.run)
	}
	return w
}

// queue wakes the watches of tp, soon. What they shall see must be published before the call.
func (w *waker) queue(tp *Topic) {
	w.woken.Add(1)
	w.mu.Lock()
	resting := tp.left == 0
	tp.round = tp.snapshot()
	tp.left = len(tp.round) // all shards once more, beginning at the cursor
	if resting && tp.left > 0 {
		w.append(tp)
	}
	w.mu.Unlock()
	w.more()
}

// queueWatch updates one watch, soon. It takes only the waker's lock.
func (w *waker) queueWatch(one *watch) {
	w.mu.Lock()
	w.watches = append(w.watches, one)
	w.mu.Unlock()
	w.more()
}

func (w *waker) append(tp *Topic) {
	if w.last == nil {
		w.first = tp
	} else {
		w.last.next = tp
	}
	w.last = tp
}

func (w *waker) more() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// take appends to into the watches whose turn it is, and reports whether any topic or watch was waiting. A
// topic whose watches have left gives none.
func (w *waker) take(into []*watch) ([]*watch, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn = !w.turn
	switch {
	case w.head < len(w.watches) && (w.first == nil || !w.turn):
		into = w.takeWatches(into)
	case w.first != nil:
		// Several topics at a time, if they have few watches.
		for w.first != nil && len(into) < watchesPerShard/2 {
			into = w.takeShard(into)
		}
	default:
		return into, false
	}
	if w.first != nil || w.head < len(w.watches) || len(w.sweeps) > 0 {
		w.more() // another goroutine takes a part
	}
	return into, true
}

func (w *waker) takeWatches(into []*watch) []*watch {
	taken := w.watches[w.head:min(w.head+watchesPerShard, len(w.watches))]
	into = append(into, taken...)
	clear(taken)
	w.head += len(taken)
	switch {
	case w.head == len(w.watches):
		w.watches, w.head = nil, 0
	case w.head > len(w.watches)/2: // so each watch is moved once at most
		w.watches, w.head = slices.Clone(w.watches[w.head:]), 0
	}
	return into
}

func (w *waker) takeShard(into []*watch) []*watch {
	tp := w.first
	if w.first = tp.next; w.first == nil {
		w.last = nil
	}
	tp.next = nil
	tp.cursor %= len(tp.round)
	shard := tp.round[tp.cursor]
	tp.cursor++
	if tp.left--; tp.left > 0 {
		w.append(tp)
	} else {
		tp.round = nil
	}
	return tp.watching(shard, into)
}

// close ends the goroutines and waits for them. What is still queued is not woken.
func (w *waker) close() {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
}

func (w *waker) run() {
	var batch []*watch
	for {
		swept := w.sweep()
		var busy bool
		if batch, busy = w.take(batch[:0]); !busy && !swept {
			select {
			case <-w.signal:
			case <-w.stop:
				return
			}
			continue
		}
		for _, one := range batch {
			one.update()
		}
		clear(batch)
		// Let others run: those who write out what was sent, reads, and apply.
		runtime.Gosched()
		select {
		case <-w.stop:
			return
		default:
		}
	}
}
