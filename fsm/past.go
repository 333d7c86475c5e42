package fsm

import (
	"context"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// What is read here stands in the registry file, which is behind the fold. What it does not hold yet is read in
// memory, or the reading awaits that it is written, as far as this node has it then. Errors are ctx's, the
// registry file's, or a *logv1.CompactedError.

// storedAtOnce is how many events one transaction of the registry file reads: a long one keeps pages of its
// file from being used again.
const storedAtOnce = 5000

// ReadEvents reads the retained events of q, in its order, and returns those that keep wants: at most
// limit (at least 1), of at most 100,000 that it looks at. From 0 is the oldest retained.
func (f *FSM) ReadEvents(ctx context.Context, q logv1.EventQuery, limit int, keep func(*logv1.Event) bool) (logv1.EventPage, error) {
	return f.readEvents(ctx, q, max(limit, 1), maxVisited, keep)
}

func (f *FSM) readEvents(ctx context.Context, q logv1.EventQuery, limit, visits int, keep func(*logv1.Event) bool) (page logv1.EventPage, err error) {
	left := q // what is still to be read
	if revision := f.Revision(); q.To == 0 || q.To > revision {
		left.To = revision
	}
	page.Span, err = f.stored(ctx, func(ctx context.Context) (logv1.EventSpan, int, error) {
		span, err := f.span(ctx)
		return span, 0, err
	})
	if err != nil {
		return page, err
	}
	if q.From == 0 {
		left.From = page.Span.Oldest
	}
	for {
		// The horizon may have moved since the last look.
		if q.From == 0 && q.Descending {
			left.From = max(left.From, page.Span.Oldest)
		}
		if left.From < page.Span.Oldest {
			return page, &logv1.CompactedError{Asked: left.From, Oldest: page.Span.Oldest}
		}
		if left.From > left.To {
			return page, nil
		}
		if visits <= 0 || len(page.Events) == limit {
			page.Next = left.First()
			return page, nil
		}
		part, err := f.readPart(ctx, page.Span, left, min(storedAtOnce, visits), limit-len(page.Events), keep)
		if err != nil {
			return page, err
		}
		page.Span = part.span
		visits -= part.looked
		if left.From < page.Span.Oldest {
			continue // what is below was there in part
		}
		page.Events = append(page.Events, part.kept...)
		if q.Descending {
			left.To = part.to - 1
		} else {
			left.From = part.to + 1
		}
	}
}

// eventPart is one step of a reading.
type eventPart struct {
	span   logv1.EventSpan
	kept   []*logv1.Event
	looked int
	to     int64 // the last revision that the step is done with
}

// readPart reads the first events of q, which ends at a revision that this node has reached: at most visits
// of them, and until limit are kept. span is what the registry file held before.
func (f *FSM) readPart(ctx context.Context, span logv1.EventSpan, q logv1.EventQuery, visits, limit int, keep func(*logv1.Event) bool) (eventPart, error) {
	if durable := f.cfg.RegistryFile.DurableRevision(); q.First() > durable {
		part := eventPart{span: span}
		var held bool
		err := f.reading.do(ctx, func() (int, error) {
			var events []*logv1.Event
			events, held = f.ring.part(q, durable, visits)
			for _, e := range events {
				part.to = e.GetRevision()
				part.looked++
				if (q.Service == "" || e.GetService() == q.Service) && keep(e) {
					if part.kept = append(part.kept, e); len(part.kept) == limit {
						break
					}
				}
			}
			return len(part.kept), nil
		})
		if err != nil || held {
			return part, err
		}
		// The ring has dropped it: see ringSlack.
		if err := f.cfg.RegistryFile.AwaitDurable(ctx, q.First()); err != nil {
			return eventPart{}, err
		}
	}
	var part eventPart
	var whole bool // all of q that the registry file holds was visited
	var err error
	part.span, err = f.stored(ctx, func(ctx context.Context) (logv1.EventSpan, int, error) {
		part, whole = eventPart{}, true
		span, err := f.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
			part.to = e.GetRevision()
			part.looked++
			if keep(e) {
				part.kept = append(part.kept, e)
			}
			whole = part.looked < visits && len(part.kept) < limit
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

// RevisionAt returns the registry's revision at a time, in Unix nanoseconds of log time.
func (f *FSM) RevisionAt(ctx context.Context, time int64) (revision int64, err error) {
	for {
		now := f.Revision()
		span, err := f.stored(ctx, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
			revision, span, err = f.cfg.RegistryFile.RevisionAt(ctx, time)
			return span, 0, err
		})
		if err != nil || revision < span.Newest || span.Newest >= now {
			return revision, err
		}
		// It may be one that the registry file does not hold yet.
		if err := f.cfg.RegistryFile.AwaitDurable(ctx, now); err != nil {
			return 0, err
		}
	}
}

// VisibleRevision returns the newest revision that is not after the given one and that the registry
// had: inside an atomic write it never was. revision is one that this node has reached.
func (f *FSM) VisibleRevision(ctx context.Context, revision int64) (visible int64, err error) {
	if err := f.cfg.RegistryFile.AwaitDurable(ctx, revision); err != nil {
		return 0, err
	}
	span, err := f.stored(ctx, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
		visible = revision
		if revision == 0 {
			span, err = f.span(ctx)
			return span, 0, err
		}
		q := logv1.EventQuery{From: 1, To: revision, Descending: true}
		span, err = f.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
			if e.GetRevision() != visible || e.GetRevision() >= e.GetCommitRevision() {
				return false, nil // the end of a write; below the horizon there are gaps
			}
			visible--
			return true, nil
		})
		return span, 0, err
	})
	return visible, beforeHorizon(err, revision, visible, span)
}

// beforeHorizon is err, or says that what is kept does not tell of the registry at one of revisions.
func beforeHorizon(err error, asked, revision int64, span logv1.EventSpan) error {
	if err == nil && revision < span.Oldest-1 {
		return &logv1.CompactedError{Asked: asked, Oldest: span.Oldest}
	}
	return err
}

// GetServiceAt returns what the registry held of name at a revision that VisibleRevision returned; nil if
// nothing.
func (f *FSM) GetServiceAt(ctx context.Context, name string, revision int64) (found *rollcallv1.ServiceRecord, err error) {
	span, err := f.stored(ctx, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
		found = nil
		if revision == 0 {
			span, err = f.span(ctx)
			return span, 0, err
		}
		q := logv1.EventQuery{From: 1, To: revision, Service: name, Descending: true}
		span, err = f.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
			found = recordAfter(e)
			return false, nil
		})
		return span, 1, err
	})
	return found, beforeHorizon(err, revision, revision, span)
}

// ListServicesAt is ListServices at a revision that VisibleRevision returned.
func (f *FSM) ListServicesAt(ctx context.Context, revision int64, prefix, after string, limit int, statuses []servingStatus) (Page, error) {
	return f.listAt(ctx, revision, prefix, after, max(limit, 1), statuses, maxVisited)
}

func (f *FSM) listAt(ctx context.Context, revision int64, prefix, after string, limit int, statuses []servingStatus, visits int) (Page, error) {
	page := Page{Revision: revision}
	for {
		var records []*rollcallv1.ServiceRecord
		var looked int
		var more bool
		last := after
		atOnce := min(storedAtOnce, visits)
		span, err := f.stored(ctx, func(ctx context.Context) (logv1.EventSpan, int, error) {
			records, looked, more, last = nil, 0, false, after
			span, err := f.cfg.RegistryFile.EventsAt(ctx, revision, prefix, after, atOnce, func(e *logv1.Event) (bool, error) {
				looked++
				r := recordAfter(e)
				if r != nil && (len(statuses) == 0 || slices.Contains(statuses, r.GetStatus())) {
					if len(page.Records)+len(records) == limit {
						more = true
						return false, nil
					}
					records = append(records, r)
				}
				last = e.GetService()
				return true, nil
			})
			return span, len(records), err
		})
		if err := beforeHorizon(err, revision, revision, span); err != nil {
			return Page{}, err
		}
		visits -= looked
		after = last
		page.Records = append(page.Records, records...)
		if !more && looked < atOnce {
			return page, nil
		}
		if more || visits <= 0 {
			page.More, page.After = true, after
			return page, nil
		}
	}
}

// recordAfter is what the registry held of a service after its event e; nil if nothing.
func recordAfter(e *logv1.Event) *rollcallv1.ServiceRecord {
	if e.GetStatus() == logv1.Status_STATUS_SERVICE_UNKNOWN {
		return nil
	}
	r := &rollcallv1.ServiceRecord{
		Service: e.GetService(),
		Status:  servingStatus(e.GetEffectiveStatus()),
		Report: &rollcallv1.Report{
			Status:   servingStatus(e.GetStatus()),
			Reason:   e.GetReason(),
			Time:     timestamp(e.GetTime()),
			Revision: e.GetRevision(),
		},
	}
	if e.GetStatusTime() != 0 {
		r.StatusTime = timestamp(e.GetStatusTime())
	}
	if a := e.GetActor(); a != nil {
		r.Report.Actor = &rollcallv1.Actor{Name: a.GetName(), Verified: a.GetVerified(), Peer: a.GetPeer()}
	}
	return r
}
