package watch

import (
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// Table is all that is watched on one node. Close it.
type Table struct {
	status      func(name string) Status
	topics      *topics
	subscribers *topics // of every change: the one name in it is ""
	waker       *waker
}

// NewTable returns a table of watches without any. status returns the newest published status of a name,
// SERVICE_UNKNOWN if there is none; it must not block.
func NewTable(status func(name string) Status) *Table {
	t := &Table{status: status, topics: newTopics(), subscribers: newTopics()}
	t.waker = newWaker(t.topics)
	return t
}

// Close ends the goroutines that wake watches, and waits for them.
func (t *Table) Close() { t.waker.close() }

// Topic returns the topic of name, nil if nobody watches it. Who joins after the call reads what was
// published before it.
func (t *Table) Topic(name string) *Topic { return t.topics.get(name) }

// Wake has the watches of topic updated, soon. What they shall see must be published before.
func (t *Table) Wake(topic *Topic) { t.waker.queue(topic) }

// Sweep has the watches updated whose names a pattern covers and whose status is another than the one they sent
// last, soon. What they shall see must be published before. It takes no longer the more there are.
func (t *Table) Sweep(p string) { t.waker.queueSweep(p) }

// WakeSubscribers signals all who subscribed, soon.
func (t *Table) WakeSubscribers() {
	if topic := t.subscribers.get(""); topic != nil {
		t.waker.queue(topic)
	}
}

// WakeAll wakes every watch and every subscriber.
func (t *Table) WakeAll() {
	t.topics.each(t.waker.queue)
	t.WakeSubscribers()
}

// Watches is how many watches there are, subscribers not among them.
func (t *Table) Watches() int64 { return t.topics.watchers.Load() }

// Topics is how many names are watched, subscribers not among them.
func (t *Table) Topics() int { return t.topics.len() }

// Subscribers is how many have subscribed and not left.
func (t *Table) Subscribers() int64 { return t.subscribers.watchers.Load() }

// Wakes is how many times the watches of a name, or the subscribers, were woken.
func (t *Table) Wakes() uint64 { return t.waker.woken.Load() }
