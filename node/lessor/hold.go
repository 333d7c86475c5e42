package lessor

import (
	"context"
	"time"
)

// Hold is called before a write is proposed that names leases, and what it returns when the write has an outcome:
// with true if it was written, or may have been. Hold waits until no end of these leases is under way, and until
// the write has its outcome none is proposed. If the write was written, its leases are renewed: the entry's commit
// proves what a round proves.
//
// If this node does not lead, or ctx ends, the write will not be proposed, and Hold holds nothing. If the write is
// proposed all the same, in a later leadership of this node, that gives each lease a whole TTL.
func (l *Lessor) Hold(ctx context.Context, ids []string) (done func(written bool)) {
	for {
		t, held, wait, at := l.hold(ids)
		if t == nil {
			return func(bool) {}
		}
		if wait == nil {
			return func(written bool) { l.release(t, held, written, at) }
		}
		if t.await(ctx, wait) != nil {
			return func(bool) {}
		}
	}
}

func (l *Lessor) hold(ids []string) (t *table, held []*lease, wait *expiry, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t = l.current(); t == nil {
		return nil, nil, nil, 0
	}
	held = make([]*lease, 0, len(ids))
	for _, id := range ids {
		e := l.see(t, id)
		if e == nil {
			continue // the fold refuses the write
		}
		if e.expiring != nil {
			return t, nil, e.expiring, 0
		}
		held = append(held, e)
	}
	for _, e := range held {
		e.holds++
	}
	return t, held, nil, l.lived.read()
}

// release ends a hold. Of a leadership that is over nothing is left to renew: the next one began after the write
// was proposed, or the write was proposed in it.
func (l *Lessor) release(t *table, held []*lease, written bool, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	renews := written && l.current() == t
	now := l.lived.read()
	for _, e := range held {
		e.holds--
		if renews && !e.over {
			t.renew(e, at, now)
		}
	}
}
