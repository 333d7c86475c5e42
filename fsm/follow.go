package fsm

import (
	"context"
	"errors"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// pageLimits bound what one message to a follower holds. A page of events ends with the atomic write
// that reaches one of them; so it can be as large as the largest write, and little more.
type pageLimits struct {
	count int // events, or records
	bytes int // about, as they are sent
}

var defaultPage = pageLimits{count: 1000, bytes: 256 << 10}

func (l pageLimits) reached(count, bytes int) bool { return count >= l.count || bytes >= l.bytes }

// FollowEvents calls send with every event from revision from on, in order, each once: with pages that
// hold whole atomic writes (but for what is before from), and with the revision up to which all has
// been given. 0 is from now on; a revision that this node has not reached is waited for. send is
// called at once, and whenever quiet has passed without a call, with no events.
//
// It reads in the ring while it is close behind, else in the registry file, and waits without a queue of its
// own: a send that blocks holds up nobody else and keeps nothing but its page. The error is ctx's or
// send's, a *logv1.CompactedError if events are asked for that are not all kept any more, or if it
// fell behind so far, or else of the registry file.
func (f *FSM) FollowEvents(ctx context.Context, from int64, quiet time.Duration, send func(events []*logv1.Event, revision int64) error) error {
	changed, leave := f.newFollower()
	defer leave()
	if from == 0 {
		from = f.Revision() + 1
	}
	// Also if they are still in memory: every node answers the same.
	if oldest := f.Horizon(); from < oldest {
		return &logv1.CompactedError{Asked: from, Oldest: oldest}
	}
	at := from - 1
	if err := send(nil, at); err != nil {
		return err
	}
	for {
		events, err := f.eventsAfter(ctx, at, 0)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			if err := rest(ctx, changed, quiet, func() error { return send(nil, at) }); err != nil {
				return err
			}
			continue
		}
		at = events[len(events)-1].GetRevision()
		if err := send(events, at); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil { // send may have nothing to do with it
			return err
		}
	}
}

// rest waits for changed. Every time that quiet passes meanwhile, bored is called.
func rest(ctx context.Context, changed <-chan struct{}, quiet time.Duration, bored func() error) error {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-changed:
			return ctx.Err()
		case <-timer.C:
			if err := bored(); err != nil {
				return err
			}
			timer.Reset(quiet)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventPage collects whole atomic writes.
type eventPage struct {
	limits pageLimits
	events []*logv1.Event
	bytes  int
	whole  int // so many of events are whole writes
}

// add takes the next event and says whether the page wants more.
func (p *eventPage) add(e *logv1.Event) bool {
	p.events = append(p.events, e)
	p.bytes += eventBytes(e)
	if e.GetRevision() < e.GetCommitRevision() {
		return true
	}
	p.whole = len(p.events)
	return !p.limits.reached(p.whole, p.bytes)
}

// eventBytes is about what e takes in an answer.
func eventBytes(e *logv1.Event) int {
	const fixed = 64
	return fixed + len(e.GetService()) + len(e.GetReason()) + len(e.GetRequestId()) +
		len(e.GetActor().GetName()) + len(e.GetActor().GetPeer())
}

// eventsAfter returns the page of events after a revision and up to another, which must be the end of
// an atomic write (0: all there are); none if there are none yet.
func (f *FSM) eventsAfter(ctx context.Context, after, upTo int64) ([]*logv1.Event, error) {
	for {
		if events, ok := f.recent(after, upTo); ok {
			return events, nil
		}
		events, err := f.storedAfter(ctx, after, upTo)
		if err != nil || len(events) > 0 {
			return events, err
		}
		// The ring has dropped what the registry file has not stored yet: see ringSlack.
		if err := f.cfg.RegistryFile.AwaitDurable(ctx, after+1); err != nil {
			return nil, err
		}
	}
}

// recent is eventsAfter from the ring; false if it does not reach back that far.
func (f *FSM) recent(after, upTo int64) ([]*logv1.Event, bool) {
	p := eventPage{limits: f.page}
	for at := after; ; {
		events, ok := f.ring.after(at, f.page.count)
		if !ok {
			// Dropped in the meantime, if at is not after.
			return p.events[:p.whole], p.whole > 0
		}
		for _, e := range events {
			if upTo > 0 && e.GetRevision() > upTo || !p.add(e) {
				return p.events[:p.whole], true
			}
			at = e.GetRevision()
		}
		// The ring grows by whole writes: less than a page is all of them.
		if len(events) < f.page.count {
			return p.events[:p.whole], true
		}
	}
}

// storedAfter is eventsAfter from the registry file.
func (f *FSM) storedAfter(ctx context.Context, after, upTo int64) ([]*logv1.Event, error) {
	var p eventPage
	span, err := f.stored(ctx, func(ctx context.Context) (logv1.EventSpan, int, error) {
		p = eventPage{limits: f.page}
		if f.reading.busy() {
			p.limits.count = min(p.limits.count, busyPage)
		}
		span, err := f.cfg.RegistryFile.Events(ctx, logv1.EventQuery{From: after + 1, To: upTo}, func(e *logv1.Event) (bool, error) {
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
	return p.events[:p.whole], nil
}

// span is what the registry file holds.
func (f *FSM) span(ctx context.Context) (logv1.EventSpan, error) {
	none := logv1.EventQuery{From: 1<<63 - 1}
	return f.cfg.RegistryFile.Events(ctx, none, func(*logv1.Event) (bool, error) { return false, nil })
}

// stored reads the registry file, paced. An arriving snapshot ends what is being read; then it is read again,
// once the snapshot has taken the registry file's place.
func (f *FSM) stored(ctx context.Context, read func(context.Context) (span logv1.EventSpan, given int, err error)) (span logv1.EventSpan, err error) {
	err = f.reading.do(ctx, func() (given int, err error) {
		const tries = 3
		for try := 1; ; try++ {
			span, given, err = read(ctx)
			var compacted *logv1.CompactedError
			if err == nil || ctx.Err() != nil || errors.As(err, &compacted) || try == tries {
				return given, err
			}
		}
	})
	return span, err
}
