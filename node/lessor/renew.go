package lessor

import (
	"context"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// outcomeWait is how long a renewal waits for the outcome of an Expire. It is short: others are renewed in the same
// call, and wait with it.
const outcomeWait = 50 * time.Millisecond

// Renew renews leases. It returns those that do not live any more, and those whose end is under way and takes long:
// ask again what became of it. All others are renewed. The error is a NotLeadingError, and then nothing is known of any.
func (l *Lessor) Renew(ctx context.Context, ids []string) (lost, waiting []string, err error) {
	l.mu.Lock()
	t := l.current()
	if t == nil {
		l.mu.Unlock()
		return nil, nil, errNotLeading
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
		return nil, nil, NotLeadingError{err}
	}
	lost, waiting, wait, err := r.set()
	if wait == nil {
		return lost, waiting, err
	}
	patient, cancel := context.WithTimeout(ctx, outcomeWait)
	defer cancel()
	for wait != nil && l.awaitOutcome(patient, t, wait) == nil {
		lost, waiting, wait, err = r.set()
	}
	if ctx.Err() != nil {
		return nil, nil, NotLeadingError{ctx.Err()}
	}
	if wait != nil { // the leadership may have ended meanwhile
		lost, waiting, _, err = r.set()
	}
	return lost, waiting, err
}

// renewal is one call of Renew.
type renewal struct {
	lessor  *Lessor
	table   *table
	ids     []string
	leases  []*lease // nil: it did not live
	arrived time.Duration
	counted int // renewals that are in Lessor.renewals
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

// set renews, now that a quorum has confirmed the leadership, which must still be the one of the arrival. Leases
// whose end is under way are not renewed; wait is for the outcome of one of them. set may be called again.
func (r *renewal) set() (lost, waiting []string, wait *expiry, err error) {
	l := r.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current() != r.table {
		return nil, nil, nil, errNotLeading
	}
	now := l.lived.read()
	for i, e := range r.leases {
		switch {
		case e == nil || e.over:
			lost = append(lost, r.ids[i])
		case e.expiring != nil:
			waiting, wait = append(waiting, r.ids[i]), e.expiring
		default:
			r.table.renew(e, r.arrived, now)
		}
	}
	renewed := len(r.ids) - len(lost) - len(waiting)
	l.renewals.Add(uint64(renewed - r.counted))
	r.counted = renewed
	return lost, waiting, wait, nil
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
