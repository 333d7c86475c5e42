package watch

import (
	"sync"
	"sync/atomic"
)

// Watch calls send with the current status of name, SERVICE_UNKNOWN if there is none, and then
// with each newest one that differs from what it sent last (P5): states in between may be skipped, none
// is repeated, none is older than the one before. name may be one of the node's own.
//
// send is called once for each call of ready at most, the first one included: ready says that what was
// sent before has left. It must not wait: it is called by the goroutine that wakes all watches, one call
// at a time for a watch. ready never waits and may be called by anybody, within send too, whatever locks
// they hold. Once stop has returned send is not running and is not called any more; stop must not be
// called within send, and is called once.
//
// Many watches of name that have the same group, which must be comparable, are woken one after the other:
// those of a connection, so that what is sent to them leaves together.
func (t *Table) Watch(name string, group any, send func(Status)) (ready, stop func()) {
	w := &watch{table: t, send: send, sent: -1}
	w.busy.Store(true)
	w.missed.Store(true)
	t.topics.join(name, group, w)
	return w.ready, w.stop
}

// Subscribe has the returned channel signaled, soon, when there is something new in the registry.
func (t *Table) Subscribe() (changed <-chan struct{}, leave func()) {
	w := &watch{signal: make(chan struct{}, 1)}
	t.subscribers.join("", nil, w)
	return w.signal, func() { t.subscribers.leave(w) }
}

// watch is one watch of a status. It has no goroutine and no queue: whoever wakes it calls update.
type watch struct {
	table *Table
	topic *Topic
	shard *watchShard // where it stands
	slot  int         // in shard; guarded by topic.home.mu

	// signal makes it a follower's, which has a goroutine and reads for itself. Capacity 1: that there is
	// something need not be said twice. nil: it is what the rest says.
	signal chan struct{}

	mu      sync.Mutex // held while sending; guards send, sent and stopped
	send    func(Status)
	sent    Status
	stopped bool

	// busy: what was sent has not left. missed: somebody woke it meanwhile. Who sets missed looks at
	// busy again and who clears busy looks at missed, so that one of them has it updated.
	busy, missed atomic.Bool
}

// update sends the newest status if it differs from the last one sent. What was published before the
// call is sent by it or by a later one.
func (w *watch) update() {
	if w.signal != nil {
		select {
		case w.signal <- struct{}{}:
		default:
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.busy.Load() {
		w.missed.Store(true)
		if w.busy.Load() {
			return
		}
		w.missed.Store(false)
	}
	status := w.table.status(w.topic.name)
	if status == w.sent {
		return
	}
	w.sent = status
	w.busy.Store(true)
	w.send(status)
}

func (w *watch) ready() {
	w.busy.Store(false)
	if w.missed.Swap(false) {
		w.table.waker.queueWatch(w)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	w.stopped = true
	w.send = nil // and all that it holds
	w.mu.Unlock()
	w.table.topics.leave(w)
}
