package cluster_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// leaseRecord is what callers and watchers saw of leases, by one clock. check compares it with P10: a lease ends
// no earlier than its TTL after the last renewal that was acknowledged, and soon after that.
type leaseRecord struct {
	mu        sync.Mutex // guards all
	leases    map[string]*seenLease
	disturbed []span
	sink      io.Writer // is told every renewal, a line each; nil: nobody is
	// first is when a write whose first try failed was sent, by its request id. A later try may be answered with
	// what became of the first.
	first map[string]time.Time
}

// span is a time in which there may have been no leader, or in which the leader may have changed. A new leader
// gives every lease a whole TTL.
type span struct{ from, to time.Time }

// seenLease is what is known of one lease. Times are zero until there is one.
type seenLease struct {
	ttl time.Duration
	// sent is when the newest renewal was sent of those that were acknowledged, and acked when its answer came.
	// The grant counts, and so does a write that names the lease.
	sent, acked time.Time
	tried       time.Time // after this no renewal, acknowledged or not, can count any more
	lost        time.Time // a renewal was answered so for the first time
	revoking    time.Time // a revoke was sent for the first time
	revoked     time.Time // a revoke was acknowledged for the first time

	ended      time.Time         // first seen: the event of its end, or of what its end did
	endedBy    *rollcallv1.Event // that event
	endRevoked bool
}

func newLeaseRecord() *leaseRecord {
	return &leaseRecord{leases: map[string]*seenLease{}, first: map[string]time.Time{}}
}

// lease returns what is known of a lease. It is called with mu held.
func (r *leaseRecord) lease(id string) *seenLease {
	l := r.leases[id]
	if l == nil {
		l = &seenLease{}
		r.leases[id] = l
	}
	return l
}

// granted notes a grant that was acknowledged.
func (r *leaseRecord) granted(id string, ttl time.Duration, sent, acked time.Time) {
	r.mu.Lock()
	r.lease(id).ttl = ttl
	r.tell("granted %s %d", id, ttl)
	r.mu.Unlock()
	r.renewed(id, sent, acked)
}

// renewed notes a renewal that was acknowledged.
func (r *leaseRecord) renewed(id string, sent, acked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell("renewed %s %d %d", id, sent.UnixNano(), acked.UnixNano())
	l := r.lease(id)
	if sent.After(l.sent) {
		l.sent, l.acked = sent, acked
	}
	l.tried = latest(l.tried, acked)
}

// attempted notes a renewal of which nobody knows whether it counts. It cannot count after over. One that has just
// been sent is such a one, too.
func (r *leaseRecord) attempted(id string, over time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell("attempted %s %d", id, over.UnixNano())
	l := r.lease(id)
	l.tried = latest(l.tried, over)
}

// answeredLost notes an answer that the lease does not live.
func (r *leaseRecord) answeredLost(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell("lost %s %d", id, at.UnixNano())
	if l := r.lease(id); l.lost.IsZero() {
		l.lost = at
	}
}

// tell writes a line to the sink. It is called with mu held.
func (r *leaseRecord) tell(format string, args ...any) {
	if r.sink != nil {
		fmt.Fprintf(r.sink, format+"\n", args...)
	}
}

// hear notes a line that a record of another process told.
func (r *leaseRecord) hear(line string) error {
	var what, id string
	var n [2]int64
	if _, err := fmt.Sscan(line, &what, &id, &n[0]); err != nil {
		return err
	}
	at := time.Unix(0, n[0])
	switch what {
	case "granted":
		r.mu.Lock()
		r.lease(id).ttl = time.Duration(n[0])
		r.mu.Unlock()
	case "renewed":
		if _, err := fmt.Sscan(line, &what, &id, &n[0], &n[1]); err != nil {
			return err
		}
		r.renewed(id, at, time.Unix(0, n[1]))
	case "attempted":
		r.attempted(id, at)
	case "lost":
		r.answeredLost(id, at)
	case "revoking":
		r.revoking(id, at)
	case "revoked":
		r.revoked(id, at)
	default:
		return fmt.Errorf("what is %q?", line)
	}
	return nil
}

// revoking notes that a revoke is sent, and revoked that it was acknowledged.
func (r *leaseRecord) revoking(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell("revoking %s %d", id, at.UnixNano())
	if l := r.lease(id); l.revoking.IsZero() {
		l.revoking = at
	}
}

func (r *leaseRecord) revoked(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell("revoked %s %d", id, at.UnixNano())
	if l := r.lease(id); l.revoked.IsZero() {
		l.revoked = at
	}
}

// disturb notes a span without a leader, or with another one at its end.
func (r *leaseRecord) disturb(from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disturbed = append(r.disturbed, span{from, to})
}

// saw notes an event that somebody was given at a time. What is given again, or elsewhere, counts when it was
// given first.
func (r *leaseRecord) saw(e *rollcallv1.Event, at time.Time) {
	id := e.GetLeaseId()
	if id == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lease(id)
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED:
		l.ttl = e.GetLease().GetTtl().AsDuration()
		return
	case rollcallv1.EventType_EVENT_TYPE_LEASE_ENDING, rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED:
		l.endRevoked = e.GetLease().GetRevoked()
	case rollcallv1.EventType_EVENT_TYPE_EXPIRED:
	default:
		return
	}
	if l.ended.IsZero() || at.Before(l.ended) {
		l.ended, l.endedBy = at, e
	}
}

// leasePromise is what check asks for.
type leasePromise struct {
	// late is how much later than its TTL after its last renewal a lease may end; 0: that is not asked. Each
	// span of the record that lies between adds what a new leader adds.
	late time.Duration
	// now is when the record was closed: what should have ended by then must have.
	now time.Time
}

// check returns what contradicts P10.
func (r *leaseRecord) check(p leasePromise) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.disturbed, func(a, b span) int { return a.from.Compare(b.from) })
	var errs []error
	for id, l := range r.leases {
		for _, problem := range []string{l.early(), l.contradicts(), l.overdue(r.disturbed, p)} {
			if problem != "" {
				errs = append(errs, fmt.Errorf("lease %s of %s %s", id, l.ttl, problem))
			}
		}
	}
	return errors.Join(errs...)
}

// early says if the lease expired within its TTL of a renewal that was acknowledged. An acknowledgement after
// the end is one of those.
func (l *seenLease) early() string {
	if l.ended.IsZero() || l.endRevoked || !l.ended.Before(l.sent.Add(l.ttl)) {
		return ""
	}
	return fmt.Sprintf("had expired %s after a renewal was sent, which was acknowledged %s after it was sent: %v",
		l.ended.Sub(l.sent), l.acked.Sub(l.sent), l.endedBy)
}

// contradicts says if the lease's end is not what its callers were told.
func (l *seenLease) contradicts() string {
	switch {
	case !l.lost.IsZero() && l.ended.IsZero():
		return "was said to be lost, and lives"
	case !l.revoked.IsZero() && l.ended.IsZero():
		return "was revoked, and lives"
	case l.endRevoked && l.revoking.IsZero():
		return fmt.Sprintf("was revoked by nobody: %v", l.endedBy)
	case !l.revoked.IsZero() && l.sent.After(l.revoked):
		return fmt.Sprintf("was renewed %s after it had been revoked", l.sent.Sub(l.revoked))
	}
	return ""
}

// overdue says if the lease ended too late, or should have ended and has not.
func (l *seenLease) overdue(disturbed []span, p leasePromise) string {
	if p.late == 0 || l.endRevoked || l.tried.IsZero() {
		return ""
	}
	due := l.tried.Add(l.ttl + p.late)
	for _, d := range disturbed {
		if d.to.After(l.tried) && !d.from.After(due) {
			due = latest(due, d.to.Add(l.ttl+p.late))
		}
	}
	switch {
	case l.ended.IsZero() && p.now.After(due):
		return fmt.Sprintf("lives %s after it should have expired", p.now.Sub(due))
	case l.ended.After(due):
		return fmt.Sprintf("expired %s too late, %s after its last renewal", l.ended.Sub(due), l.ended.Sub(l.tried))
	}
	return ""
}

// last returns when the newest acknowledged renewal of a lease was sent, and after when none can count any more.
func (r *leaseRecord) last(id string) (acknowledged, tried time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease(id).sent, r.lease(id).tried
}

// end returns when a lease's end was first seen; zero: it was not.
func (r *leaseRecord) end(id string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease(id).ended
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
