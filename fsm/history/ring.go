package history

import (
	"slices"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// RingSlack bounds the ring: it may grow to so many times its size while the registry file does not hold
// its oldest events yet. Usually the registry file slows writers down long before.
const RingSlack = 4

// ring holds the newest events, in order and without gaps, for followers that are close behind. It drops only
// events that the registry file has stored, so one of the two has every event.
type ring struct {
	size int

	mu     sync.RWMutex
	events []*logv1.Event // revisions next-len(events) to next-1
	next   int64
}

// newRing returns an empty ring. Its first event must have the revision after revision.
func newRing(size int, revision int64) *ring {
	return &ring{size: size, next: revision + 1}
}

// reset empties the ring. Its next event must have the revision after revision.
func (r *ring) reset(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.next = nil, revision+1
}

// append adds events. It drops the oldest events beyond the ring's size, but none after the revision durable,
// up to which the registry file has stored the events.
func (r *ring) append(events []*logv1.Event, durable int64) {
	if len(events) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
	r.next += int64(len(events))
	excess := len(r.events) - r.size
	if excess <= 0 {
		return
	}
	first := r.next - int64(len(r.events))
	drop := min(int64(excess), durable-first+1)
	drop = max(drop, int64(len(r.events)-RingSlack*r.size), 0)
	// The slots of dropped events are freed when append grows the slice. Until then they must not keep the
	// events alive.
	clear(r.events[:drop])
	r.events = r.events[drop:]
}

// after returns the events after revision, at most limit. False: the ring has dropped the first of them.
func (r *ring) after(revision int64, limit int) ([]*logv1.Event, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	first := r.next - int64(len(r.events))
	if revision+1 < first {
		return nil, false
	}
	if revision+1 >= r.next {
		return nil, true
	}
	from := r.events[revision+1-first:]
	n := min(len(from), limit)
	// A copy, because append clears the slots of events that it drops.
	return append([]*logv1.Event(nil), from[:n]...), true
}

// part returns the first events of q, whatever record they are of, that come after the revision durable: all or
// limit of them. False: the ring has dropped some of them.
func (r *ring) part(q logv1.EventQuery, durable int64, limit int) ([]*logv1.Event, bool) {
	first, last := max(q.From, durable+1), q.To
	if q.Descending {
		first = max(first, last-int64(limit)+1)
	} else {
		last = min(last, first+int64(limit)-1)
	}
	events, ok := r.after(first-1, int(last-first+1))
	if q.Descending {
		slices.Reverse(events)
	}
	return events, ok && int64(len(events)) == last-first+1
}
