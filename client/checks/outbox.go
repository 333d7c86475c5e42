package checks

import (
	"sync"
	"time"
)

// patience is how long a consumer may be busy before it is one that does not keep up.
const patience = 10 * time.Millisecond

// outbox brings what is new to one consumer, in order and from one goroutine. A consumer that keeps up gets
// everything. For one that does not only the newest value of each key waits, so an outbox is bounded by the number of
// keys, however slow its consumer is.
type outbox[K comparable, V any] struct {
	deliver func(K, V)
	done    chan struct{} // closed when run has returned
	wake    chan struct{} // capacity 1: there is more for run

	mu      sync.Mutex
	queue   []K       // a key for each value in waiting, and some for values that newer ones replaced
	waiting map[K][]V // in order
	busy    time.Time // since when run has been delivering; zero while it rests
	began   time.Time // when the delivery of now began; of use while busy is not zero
	closed  bool      // nothing more comes
}

func newOutbox[K comparable, V any](deliver func(K, V)) *outbox[K, V] {
	return &outbox[K, V]{
		deliver: deliver,
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		waiting: map[K][]V{},
	}
}

// put never waits for the consumer.
func (b *outbox[K, V]) put(key K, v V) {
	b.mu.Lock()
	values := b.waiting[key]
	switch {
	case b.closed:
	case len(values) > 0 && b.late():
		clear(values)
		b.waiting[key] = append(values[:0], v)
	default:
		b.queue = append(b.queue, key)
		b.waiting[key] = append(values, v)
	}
	b.mu.Unlock()
	b.signal()
}

// late reports whether the consumer does not keep up. The caller holds b.mu.
func (b *outbox[K, V]) late() bool { return !b.busy.IsZero() && time.Since(b.busy) > patience }

// delivers returns for how long the consumer has been busy with one delivery; 0 while it rests.
func (b *outbox[K, V]) delivers() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy.IsZero() {
		return 0
	}
	return time.Since(b.began)
}

// close has run return when it has delivered what waits.
func (b *outbox[K, V]) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
}

// abandon is close, and drops what waits.
func (b *outbox[K, V]) abandon() {
	b.mu.Lock()
	b.queue, b.waiting = nil, nil
	b.closed = true
	b.mu.Unlock()
	b.signal()
}

func (b *outbox[K, V]) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *outbox[K, V]) ended() <-chan struct{} { return b.done }

func (b *outbox[K, V]) run() {
	defer close(b.done)
	for {
		key, v, ok, closed := b.next()
		switch {
		case ok:
			b.deliver(key, v)
		case closed:
			return
		default:
			<-b.wake
		}
	}
}

func (b *outbox[K, V]) next() (key K, v V, ok, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 {
		key = b.queue[0]
		b.queue = b.queue[1:]
		values := b.waiting[key]
		if len(values) == 0 {
			continue
		}
		if b.late() {
			values = values[len(values)-1:]
		}
		if len(values) == 1 {
			delete(b.waiting, key)
		} else {
			b.waiting[key] = values[1:]
		}
		b.began = time.Now()
		if b.busy.IsZero() {
			b.busy = b.began
		}
		return key, values[0], true, b.closed
	}
	b.queue = nil // of a burst nothing stays
	b.busy = time.Time{}
	return key, v, false, b.closed
}
