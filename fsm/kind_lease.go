package fsm

import (
	"errors"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/leases"
)

// leaseKind are the leases, by id. A lease lives until its end is set. Then its record stays for as long as its
// reports are being changed or, with forget_after, until what they became is forgotten. state.attached says which
// reports are attached to it. That it was renewed in time is known to the leader only.
var leaseKind = &Kind{
	Number:  logv1.Kind_KIND_LEASE,
	Name:    "lease",
	Level:   logv1.LevelLayers,
	History: true,
	New:     func() Value { return new(logv1.Lease) },
	Check: func(key string, v Value) error {
		l := v.(*logv1.Lease)
		switch end := l.GetEnd(); {
		case !leases.IsID(key):
			return errors.New("it has an id that is not 16 hexadecimal digits")
		case checkTTL(l.GetTtl()) != nil || l.GetRevision() < 1 || !isOutcome(l.GetOnExpiry()):
			return errors.New("it is damaged")
		case end == nil:
		case end.GetRevision() <= l.GetRevision() || !isOutcome(end.GetStatus()) || end.GetDone() && end.GetForgetTime() == 0:
			return errors.New("it is damaged: it cannot have ended like this")
		}
		return nil
	},
	applied: func(s *state, _ string, before, after Value) {
		was, _ := before.(*logv1.Lease)
		now, _ := after.(*logv1.Lease)
		s.leaseCounts.add(was, -1)
		s.leaseCounts.add(now, 1)
	},
}

func init() { leaseKind.Evaluate = evaluateLease } // which refers to the kind

// attachedReport is a service whose report is attached to a lease.
type attachedReport = leases.Report[*record]

// leaseCounts are how many leases there are of those that have ended. They follow from the records.
type leaseCounts struct {
	ended     int32 // all their reports have been changed
	forgotten int32 // what they leave is to be forgotten, or will be when they have ended
}

func (c *leaseCounts) add(l *logv1.Lease, n int32) {
	if l.GetEnd().GetDone() {
		c.ended += n
	}
	if l.GetEnd().GetForgetTime() != 0 {
		c.forgotten += n
	}
}

// lease returns nil if there is none of the id.
func (s *state) lease(id string) *logv1.Lease {
	l, _ := s.record(leaseKind, id).(*logv1.Lease)
	return l
}

// lives says whether there is a lease of the id that has not ended.
func (s *state) lives(id string) bool {
	l := s.lease(id)
	return l != nil && l.End == nil
}

// checkLease refuses a change that names a lease which does not live, or names none although a live lease holds
// the report. live is an id that was found to live before.
func (s *state) checkLease(c *logv1.Change, before *record, live *string) *logv1.Refusal {
	if id := c.GetLeaseId(); id != "" {
		if id != *live && !s.lives(id) {
			return of(logv1.Kind_KIND_LEASE, id, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
		}
		*live = id
		return nil
	}
	if held := before.origin.leaseID; s.lives(held) {
		return of(logv1.Kind_KIND_SERVICE, c.GetService(), &logv1.Refusal{Reason: logv1.Refusal_REASON_LEASE_HELD, Held: held})
	}
	return nil
}

// evaluateLease evaluates a logv1.LeaseCommand.
func evaluateLease(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.LeaseCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	if _, refusal := tx.s.breakGlass(tx.cmd); refusal != nil {
		return refusal
	}
	switch c := c.GetCommand().(type) {
	case *logv1.LeaseCommand_Grant:
		return tx.grantLease(c.Grant)
	case *logv1.LeaseCommand_Revoke:
		return tx.revokeLease(c.Revoke)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

// isOutcome says whether the end of a lease can leave a report with this status; SERVICE_UNKNOWN: it is deleted.
func isOutcome(st logv1.Status) bool {
	return isReport(st) || st == logv1.Status_STATUS_SERVICE_UNKNOWN
}

func checkOutcome(field string, st logv1.Status) *logv1.Refusal {
	if isOutcome(st) {
		return nil
	}
	r := invalid(field, logv1.Refusal_PROBLEM_UNKNOWN)
	r.Value = int64(st)
	return r
}

func checkTTL(ttl int64) *logv1.Refusal {
	return checkRange("ttl", ttl, int64(limits.MinLeaseTTL), int64(limits.MaxLeaseTTL))
}

func checkRange(field string, n, lowest, highest int64) *logv1.Refusal {
	switch {
	case n < lowest:
		return beyond(field, logv1.Refusal_PROBLEM_TOO_LOW, n, lowest)
	case n > highest:
		return beyond(field, logv1.Refusal_PROBLEM_TOO_HIGH, n, highest)
	}
	return nil
}

func checkLeaseID(id string) *logv1.Refusal {
	if refusal := textRefusal("lease_id", limits.LeaseID(id)); refusal != nil || id != "" {
		return refusal
	}
	return invalid("lease_id", logv1.Refusal_PROBLEM_EMPTY)
}

func checkGrant(c *logv1.GrantLease) *logv1.Refusal {
	id := c.GetLeaseId()
	if refusal := checkLeaseID(id); refusal != nil {
		return refusal
	}
	if !leases.IsID(id) {
		r := invalid("lease_id", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Given = id
		return r
	}
	if refusal := checkTTL(c.GetTtl()); refusal != nil {
		return refusal
	}
	if refusal := checkOutcome("on_expiry", c.GetOnExpiry()); refusal != nil || c.GetForgetAfter() == 0 {
		return refusal
	}
	return checkRange("forget_after", c.GetForgetAfter(), int64(limits.MinForgetAfter), int64(limits.MaxForgetAfter))
}

func (tx *Tx) grantLease(c *logv1.GrantLease) *logv1.Refusal {
	if refusal := checkGrant(c); refusal != nil {
		return refusal
	}
	s, p, id := tx.s, tx.p, c.GetLeaseId()
	if s.lease(id) != nil {
		r := of(logv1.Kind_KIND_LEASE, id, invalid("lease_id", logv1.Refusal_PROBLEM_CONFLICT))
		r.Given, r.Held = id, id
		return r
	}
	if s.tables.find(leaseKind).records.Len()-int(s.leaseCounts.ended) >= limits.MaxLeases {
		return tooMany("leases", limits.MaxLeases)
	}
	s.change(p, leaseKind, id, &logv1.Lease{
		Ttl:         c.GetTtl(),
		OnExpiry:    c.GetOnExpiry(),
		ForgetAfter: c.GetForgetAfter(),
		Reason:      tx.cmd.GetReason(),
		Actor:       tx.cmd.GetActor(),
		Time:        p.time,
		Revision:    p.revision + 1,
		RequestId:   tx.cmd.GetRequestId(),
	}, logv1.EventType_EVENT_TYPE_LEASE_GRANTED)
	return nil
}

// revokeLease ends a lease. Rules do not bind it, for it says what is already so.
func (tx *Tx) revokeLease(c *logv1.RevokeLease) *logv1.Refusal {
	id := c.GetLeaseId()
	if refusal := checkLeaseID(id); refusal != nil {
		return refusal
	}
	if c.Status != nil {
		if refusal := checkOutcome("status", c.GetStatus()); refusal != nil {
			return refusal
		}
		if c.GetKeepReports() {
			return invalid("keep_reports", logv1.Refusal_PROBLEM_CONFLICT)
		}
	}
	s, p := tx.s, tx.p
	l := s.lease(id)
	if l == nil || l.End != nil {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_LEASE, id, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	end := &logv1.LeaseEnd{
		Revoked:     true,
		Status:      l.GetOnExpiry(),
		KeepReports: c.GetKeepReports(),
		Actor:       tx.cmd.GetActor(),
		Reason:      tx.cmd.GetReason(),
		RequestId:   tx.cmd.GetRequestId(),
	}
	if c.Status != nil {
		end.Status = c.GetStatus()
	}
	e := newEnding(s, p, s.mostRevoked)
	e.begin(id, l, end)
	e.finish()
	return nil
}
