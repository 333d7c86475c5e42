package history

import (
	"slices"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// RingSlack is how many times its size the ring grows while the registry file does not hold the oldest
// events yet. The registry file's own back-pressure ends that long before; this is the bound if it does not.
const RingSlack = 4

// ring holds the newest events, in order and without gaps, for those who follow closely. It drops
// only what the registry file holds durably, so between the two nothing is missing.
type ring struct {
	size int

	mu     sync.RWMutex
	events []*logv1.Event // revisions next-len(events) to next-1
	next   int64
}

// newRing's first event is to have the revision after revision.
func newRing(size int, revision int64) *ring {
	return &ring{size: size, next: revision + 1}
}

// reset empties the ring; the next event is to have the revision after revision.
func (r *ring) reset(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.next = nil, revision+1
}

// append adds events and drops the oldest beyond the ring's size, as far as durable, the revision
// up to which the registry file holds events.
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
	// Slots of dropped events are freed when append has to grow, which copies only what is left;
	// until then they must not hold on to the events.
	clear(r.events[:drop])
	r.events = r.events[drop:]
}

// after returns at most limit events with revisions from revision+1 on, and false if the ring does
// not reach back that far.
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
	// A copy: append clears the slots it drops.
	return append([]*logv1.Event(nil), from[:n]...), true
}

// part returns the first events of q, of any service, that come after the revision durable: all of them or
// limit. False if it does not hold them.
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
