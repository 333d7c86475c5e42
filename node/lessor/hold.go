package lessor

import (
	"context"
	"errors"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// hold is a write under way that names leases. None of them ends meanwhile.
type hold struct {
	table  *table
	leases []*lease
	begun  time.Duration // lived time
}

// Hold is called before a write is proposed that names leases, and what it returns when the write has an outcome:
// with true if it was written, or may have been. Hold waits until no end of these leases is under way, and until
// the write has its outcome none is proposed. If the write was written, its leases are renewed: the entry's commit
// proves what a round proves.
//
// If this node does not lead, or ctx ends, the write will not be proposed, and Hold holds nothing. If the write is
// proposed all the same, in a later leadership of this node, that gives each lease a whole TTL.
func (l *Lessor) Hold(ctx context.Context, ids []string) (done func(written bool)) {
	h, _ := l.await(ctx, ids)
	if h == nil {
		return func(bool) {}
	}
	return func(written bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.release(h, written)
	}
}

// await returns a hold. An error, and no hold, if this node does not lead or ctx ended.
func (l *Lessor) await(ctx context.Context, ids []string) (*hold, error) {
	for {
		h, t, wait := l.tryHold(ids)
		switch {
		case h != nil:
			return h, nil
		case t == nil:
			return nil, errNotLeading
		}
		if err := l.awaitOutcome(ctx, t, wait); err != nil {
			return nil, err
		}
	}
}

// tryHold returns a hold, or what to wait for. t is nil if this node does not lead.
func (l *Lessor) tryHold(ids []string) (h *hold, t *table, wait *expiry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t = l.current(); t == nil {
		return nil, nil, nil
	}
	h = &hold{table: t, begun: l.lived.read()}
	for _, id := range ids {
		e := l.see(t, id)
		if e == nil {
			continue // the fold refuses the write
		}
		if e.expiring != nil {
			return nil, t, e.expiring
		}
		h.leases = append(h.leases, e)
	}
	for _, e := range h.leases {
		e.holds++
	}
	return h, t, nil
}

// release ends a hold. Of a leadership that is over nothing is left to renew: the next one began after the write
// was proposed, or the write was proposed in it. mu is held.
func (l *Lessor) release(h *hold, written bool) {
	renews := written && l.current() == h.table
	now := l.lived.read()
	for _, e := range h.leases {
		e.holds--
		if renews && !e.over {
			h.table.renew(e, h.begun, now)
		}
	}
}

// HoldStarted is Hold for a proposal that is answered later. If ready is false, the end of a lease is under way: the
// proposal must not begin until later is called with it.
func (l *Lessor) HoldStarted(p *logv1.Proposal, ids []string, later func(*logv1.Proposal)) (ready bool) {
	h, t, _ := l.tryHold(ids)
	switch {
	case h != nil:
		l.started(p, h)
		return true
	case t == nil:
		return true
	}
	l.waiting.Go(func() {
		if h, _ := l.await(l.life, ids); h != nil {
			l.started(p, h)
		}
		later(p)
	})
	return false
}

// started has the hold of a proposal end with its answer.
func (l *Lessor) started(p *logv1.Proposal, h *hold) {
	p.Waiter = &heldWaiter{p.Waiter, l, p}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds[p] = h
}

// endHold ends the hold of a proposal, if that has not happened yet. mu is held.
func (l *Lessor) endHold(p *logv1.Proposal, written bool) {
	if h := l.holds[p]; h != nil {
		delete(l.holds, p)
		l.release(h, written)
	}
}

// endGivenUp ends the holds of proposals that nobody waits for any more. They may be written all the same, later:
// an Expire then finds that it has not seen their revision. mu is held.
func (l *Lessor) endGivenUp() {
	for p := range l.holds {
		if p.GivenUp() {
			l.endHold(p, true)
		}
	}
}

// heldWaiter ends a hold before the waiter is told.
type heldWaiter struct {
	logv1.Waiter
	lessor   *Lessor
	proposal *logv1.Proposal
}

func (w *heldWaiter) Answer(answer any, err error) {
	w.lessor.mu.Lock()
	w.lessor.endHold(w.proposal, Written(answer, err))
	w.lessor.mu.Unlock()
	w.Waiter.Answer(answer, err)
}

// Written says whether a proposal with this outcome was written, or may have been.
func Written(answer any, err error) bool {
	if err != nil {
		return !notWritten(err)
	}
	switch answer := answer.(type) {
	case interface{ Refused() bool }:
		return !answer.Refused()
	case *logv1.Result:
		return answer.GetRefusal() == nil
	}
	return true
}

func notWritten(err error) bool {
	var not interface{ NotWritten() bool }
	return errors.As(err, &not) && not.NotWritten()
}
