package lessor

import (
	"context"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// Renew renews leases. It returns those that do not live any more; all others are renewed. The error is a
// NotLeadingError, and then nothing is known of any.
func (l *Lessor) Renew(ctx context.Context, ids []string) (lost []string, err error) {
	l.mu.Lock()
	t := l.current()
	if t == nil {
		l.mu.Unlock()
		return nil, errNotLeading
	}
	r := renewal{lessor: l, table: t, ids: ids, leases: make([]*lease, len(ids)), arrived: l.lived.read()}
	for i, id := range ids {
		if e := l.see(t, id); e != nil {
			e.holds++
			r.leases[i] = e
		}
	}
	l.mu.Unlock()
	defer r.release()

	if err := l.cfg.Round(ctx); err != nil {
		return nil, NotLeadingError{err}
	}
	for {
		lost, wait, err := r.set()
		if err != nil || wait == nil {
			return lost, err
		}
		if err := l.awaitOutcome(ctx, t, wait); err != nil {
			return nil, err
		}
	}
}

// renewal is one call of Renew.
type renewal struct {
	lessor  *Lessor
	table   *table
	ids     []string
	leases  []*lease // nil: it did not live
	arrived time.Duration
}

func (r *renewal) release() {
	r.lessor.mu.Lock()
	defer r.lessor.mu.Unlock()
	for _, e := range r.leases {
		if e != nil {
			e.holds--
		}
	}
}

// set renews, now that a quorum has confirmed the leadership, which must still be the one of the arrival. If the
// end of a lease is under way, set returns what to wait for.
func (r *renewal) set() (lost []string, wait *expiry, err error) {
	l := r.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current() != r.table {
		return nil, nil, errNotLeading
	}
	now := l.lived.read()
	for i, e := range r.leases {
		switch {
		case e == nil || e.over:
			lost = append(lost, r.ids[i])
		case e.expiring != nil:
			wait = e.expiring
		default:
			r.table.renew(e, r.arrived, now)
		}
	}
	if wait == nil {
		l.renewals.Add(uint64(len(r.ids) - len(lost)))
	}
	return lost, wait, nil
}

// awaitOutcome waits until it is known what became of an Expire.
func (l *Lessor) awaitOutcome(ctx context.Context, t *table, x *expiry) error {
	select {
	case <-x.done:
		return nil
	case <-t.ended:
		return errNotLeading
	case <-l.life.Done():
		return errNotLeading
	case <-ctx.Done():
		return NotLeadingError{ctx.Err()}
	}
}

// Times tells how long leases still live, in the order asked.
func (l *Lessor) Times(ids []string) ([]*peerv1.LeaseTime, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.current()
	if t == nil {
		return nil, errNotLeading
	}
	now := l.lived.read()
	times := make([]*peerv1.LeaseTime, len(ids))
	for i, id := range ids {
		times[i] = &peerv1.LeaseTime{}
		if e := l.see(t, id); e != nil {
			times[i] = &peerv1.LeaseTime{Known: true, Left: int64(e.renewed + e.ttl - now), Late: e.late}
		}
	}
	return times, nil
}
