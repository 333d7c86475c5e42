package history

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// ReadEvents reads the retained events of q, in its order, and returns those that keep wants: at most
// limit (at least 1), of at most Limits.Visited that it visits. From 0 is the oldest retained.
func (r *Reader) ReadEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (logv1.EventPage, error) {
	return r.readEvents(ctx, q, max(limit, 1), keep)
}

func (r *Reader) readEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (page logv1.EventPage, err error) {
	ctx = ofCall(ctx)
	visits := r.cfg.Limits.Visited
	left := q // what is still to be read
	if revision := r.cfg.Revision(); q.To == 0 || q.To > revision {
		left.To = revision
	}
	page.Span, err = r.stored(ctx, reading{}, func(ctx context.Context) (logv1.EventSpan, int, error) {
		span, err := r.span(ctx)
		return span, 0, err
	})
	if err != nil {
		return page, err
	}
	if q.From == 0 {
		left.From = page.Span.Oldest
	}
	for turn := 0; ; turn++ {
		// The horizon may have moved since the turn before.
		if q.From == 0 && q.Descending {
			left.From = max(left.From, page.Span.Oldest)
		}
		if left.From < page.Span.Oldest {
			return page, &logv1.CompactedError{Asked: left.From, Oldest: page.Span.Oldest}
		}
		if left.From > left.To {
			return page, nil
		}
		if visits <= 0 || len(page.Events) == limit || q.PageBytes > 0 && left.PageBytes <= 0 {
			page.Next = left.First()
			return page, nil
		}
		part, err := r.readPart(ctx, page.Span, left, min(r.throttle.visits(turn, r.cfg.Limits.AtOnce), visits), limit-len(page.Events), keep)
		if err != nil {
			return page, err
		}
		page.Span = part.span
		visits -= part.visited
		if left.From < page.Span.Oldest {
			continue // only some of the events below the horizon were there
		}
		page.Events = append(page.Events, part.kept...)
		left.PageBytes -= part.bytes
		if q.Descending {
			left.To = part.to - 1
		} else {
			left.From = part.to + 1
		}
	}
}

// eventPart is what one turn of a reading found.
type eventPart struct {
	span    logv1.EventSpan
	kept    []*logv1.Event
	visited int
	bytes   int   // of kept
	to      int64 // the last revision that the turn has dealt with
}

func (p *eventPart) keep(e *logv1.Event) {
	p.kept = append(p.kept, e)
	p.bytes += eventBytes(e)
}

// full says whether the page has room for no more than was kept.
func (p *eventPart) full(q logv1.EventQuery, limit int) bool {
	return len(p.kept) >= limit || q.PageBytes > 0 && p.bytes >= q.PageBytes
}

// readPart reads the first events of q, which ends at a revision that this node has reached: at most visits
// of them, and until limit are kept. span is what the registry file held before.
func (r *Reader) readPart(ctx context.Context, span logv1.EventSpan, q logv1.EventQuery, visits, limit int, keep func(*logv1.Event) bool) (eventPart, error) {
	if durable := r.cfg.RegistryFile.DurableRevision(); q.First() > durable {
		part := eventPart{span: span}
		var held bool
		err := r.throttle.do(ctx, reading{most: min(limit, visits)}, func() (int, error) {
			var events []*logv1.Event
			events, held = r.ring.part(q, durable, visits)
			for _, e := range events {
				part.to = e.GetRevision()
				part.visited++
				if q.Wants(e) && keep(e) {
					if part.keep(e); part.full(q, limit) {
						break
					}
				}
			}
			return len(part.kept), nil
		})
		if err != nil || held {
			return part, err
		}
		// The ring has dropped what the registry file has not stored yet: see RingSlack.
		if err := r.cfg.RegistryFile.AwaitDurable(ctx, q.First()); err != nil {
			return eventPart{}, err
		}
	}
	var part eventPart
	var whole bool // all of q that the registry file holds was visited
	var err error
	part.span, err = r.stored(ctx, reading{most: min(limit, visits)}, func(ctx context.Context) (logv1.EventSpan, int, error) {
		part, whole = eventPart{}, true
		span, err := r.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
			part.to = e.GetRevision()
			part.visited++
			if keep(e) {
				part.keep(e)
			}
			whole = part.visited < visits && !part.full(q, limit)
			return whole, nil
		})
		return span, len(part.kept), err
	})
	switch {
	case whole && q.Descending:
		part.to = q.From
	case whole:
		part.to = min(q.To, part.span.Newest)
	}
	return part, err
}
