package history

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// PageLimits bound what one message to a follower holds. A page of events ends with an atomic write; if
// not even one fits, the page is a part of that write.
type PageLimits struct {
	Count int // events, or records
	Bytes int // about, as they are sent
}

// Reached reports whether a page of so many events and bytes is full.
func (l PageLimits) Reached(count, bytes int) bool { return count >= l.Count || bytes >= l.Bytes }

// Within returns l with room for about so many bytes, if that is less.
func (l PageLimits) Within(bytes int) PageLimits {
	l.Bytes = min(l.Bytes, bytes)
	return l
}

// eventPage collects events until its limits are reached.
type eventPage struct {
	limits PageLimits
	events []*logv1.Event
	bytes  int
	whole  int // so many of events are whole writes
}

// add takes the next event and says whether the page wants more.
func (p *eventPage) add(e *logv1.Event) bool {
	p.events = append(p.events, e)
	p.bytes += eventBytes(e)
	if e.GetRevision() == e.GetCommitRevision() {
		p.whole = len(p.events)
	}
	return !p.limits.Reached(len(p.events), p.bytes)
}

// page returns the whole writes that were added or, if there are none, the part of one.
func (p *eventPage) page() []*logv1.Event {
	if p.whole > 0 {
		return p.events[:p.whole]
	}
	return p.events
}

// eventBytes is about how many bytes e takes in an answer.
func eventBytes(e *logv1.Event) int {
	const fixed = 64
	size := fixed + len(e.GetKey()) + len(e.GetAfter()) + len(e.GetReason()) + len(e.GetRequestId()) +
		len(e.GetActor().GetName()) + len(e.GetActor().GetPeer())
	for _, b := range e.GetRuleBreak().GetBroken() {
		size += fixed/2 + len(b.GetRule()) + len(b.GetPattern())
	}
	for _, rule := range e.GetRuleBreak().GetBreakGlass() {
		size += 2 + len(rule)
	}
	return size
}

// EventsAfter returns the page of events after a revision and up to another, which must be the end of
// an atomic write (0: all there are); none if there are none yet. The page holds whole atomic writes, or a
// part of one that is larger than limits; the next page goes on with it.
func (r *Reader) EventsAfter(ctx context.Context, after, upTo int64, limits PageLimits) ([]*logv1.Event, error) {
	for {
		if events, ok := r.recent(after, upTo, limits); ok {
			return events, nil
		}
		events, err := r.storedAfter(ctx, after, upTo, limits)
		if err != nil || len(events) > 0 {
			return events, err
		}
		// The ring has dropped events that the registry file has not stored yet: see RingSlack.
		if err := r.cfg.RegistryFile.AwaitDurable(ctx, after+1); err != nil {
			return nil, err
		}
	}
}

// recent is EventsAfter from the ring; false if it does not reach back that far.
func (r *Reader) recent(after, upTo int64, limits PageLimits) ([]*logv1.Event, bool) {
	p := eventPage{limits: limits}
	for at := after; ; {
		events, ok := r.ring.after(at, limits.Count)
		if !ok {
			// If at is not after, events were dropped since the ring was read last.
			return p.page(), len(p.events) > 0
		}
		for _, e := range events {
			if upTo > 0 && e.GetRevision() > upTo || !p.add(e) {
				return p.page(), true
			}
			at = e.GetRevision()
		}
		// The ring grows by whole writes, so less than a page is all that there is.
		if len(events) < limits.Count {
			return p.page(), true
		}
	}
}

// storedAfter is EventsAfter from the registry file.
func (r *Reader) storedAfter(ctx context.Context, after, upTo int64, limits PageLimits) ([]*logv1.Event, error) {
	var p eventPage
	span, err := r.stored(ctx, reading{follower: true}, func(ctx context.Context) (logv1.EventSpan, int, error) {
		p = eventPage{limits: limits}
		if r.throttle.busy() {
			p.limits.Count = min(p.limits.Count, BusyPage)
		}
		span, err := r.cfg.RegistryFile.Events(ctx, logv1.EventQuery{From: after + 1, To: upTo}, func(e *logv1.Event) (bool, error) {
			return p.add(e), nil
		})
		return span, len(p.events), err
	})
	switch {
	case err != nil:
		return nil, err
	case after+1 < span.Oldest:
		return nil, &logv1.CompactedError{Asked: after + 1, Oldest: span.Oldest}
	}
	return p.page(), nil
}
