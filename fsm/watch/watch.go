package watch

import (
	"sync"
	"sync/atomic"
)

// Watch calls send with the current status of name, SERVICE_UNKNOWN if there is none. Then it calls send
// with the newest status whenever that differs from the last one sent (P5). Statuses in between may be
// skipped. None is repeated, and none is older than the one before. name may be one of the node's own.
//
// The caller calls ready when the last status has left, and once at the beginning. send is called at most
// once for each call of ready. send must not wait: the goroutine that calls it wakes all watches. ready
// never waits, and may be called by any goroutine, within send, and under any lock. When stop returns, send
// is not running and is not called any more. stop is called once, and not within send.
//
// Watches of name with the same group, a comparable value, are woken one after the other. The group is
// their connection, so that what is sent to them leaves together.
func (t *Table) Watch(name string, group any, send func(Status)) (ready, stop func()) {
	w := &watch{table: t, send: send, sent: -1}
	w.busy.Store(true)
	w.missed.Store(true)
	t.topics.join(name, group, w)
	return w.ready, w.stop
}

// Subscribe signals changed, soon, when there is something new in the registry, until leave is called.
func (t *Table) Subscribe() (changed <-chan struct{}, leave func()) {
	w := &watch{signal: make(chan struct{}, 1)}
	t.subscribers.join("", nil, w)
	return w.signal, func() { t.subscribers.leave(w) }
}

// watch is one watch of a status. It has no goroutine and no queue: whoever wakes it calls update.
type watch struct {
	table *Table
	topic *Topic
	shard *watchShard // that holds it
	slot  int         // in shard; guarded by topic.home.mu

	// signal is set for a subscriber, which has a goroutine that reads. The fields below are then unused.
	// Capacity 1: one signal tells of any number of changes.
	signal chan struct{}

	mu      sync.Mutex // held while sending; guards send, sent and stopped
	send    func(Status)
	sent    Status
	stopped bool

	// busy: the last status has not left yet. missed: the watch was woken meanwhile. Who sets missed then
	// reads busy again, and who clears busy then reads missed, so one of the two has it updated.
	busy, missed atomic.Bool
}

// update sends the newest status if it differs from the last one sent. What was published before the call
// is sent by this call or by a later one.
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
