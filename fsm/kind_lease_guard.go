package fsm

import (
	"errors"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// leaseGuardKind is whether the leader holds leases that are due, so that very many do not expire at once. There is
// one record. The leader engages the guard, and ends that; a user can release it.
var leaseGuardKind = &Kind{
	Number:  logv1.Kind_KIND_LEASE_GUARD,
	Name:    "lease guard",
	Level:   logv1.LevelLayers,
	History: true,
	New:     func() Value { return new(logv1.LeaseGuard) },
	Check: func(key string, v Value) error {
		if g := v.(*logv1.LeaseGuard); key != leaseGuardKey || g.GetRevision() < 1 || g.GetEngaged() && g.GetReleaseTime() != 0 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

func init() { leaseGuardKind.Evaluate = evaluateLeaseGuard } // which refers to the kind

// leaseGuardKey is the key of the only record.
const leaseGuardKey = "guard"

func (s *state) leaseGuard() *logv1.LeaseGuard {
	g, _ := s.record(leaseGuardKind, leaseGuardKey).(*logv1.LeaseGuard)
	return g
}

// evaluateLeaseGuard evaluates a logv1.LeaseGuardCommand: it releases the guard. Nothing changes if it is not engaged.
func evaluateLeaseGuard(tx *Tx, payload []byte) *logv1.Refusal {
	if new(logv1.LeaseGuardCommand).UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	if _, refusal := tx.s.breakGlass(tx.cmd); refusal != nil {
		return refusal
	}
	s, p := tx.s, tx.p
	g := s.leaseGuard()
	if g.GetEngaged() {
		g = &logv1.LeaseGuard{
			Time:        p.time,
			Revision:    p.revision + 1,
			Late:        g.GetLate(),
			Live:        g.GetLive(),
			ReleaseTime: p.time,
			Reason:      tx.cmd.GetReason(),
			Actor:       tx.cmd.GetActor(),
		}
	}
	s.setLeaseGuard(p, g)
	return nil
}

func (s *state) setLeaseGuard(p *plan, g *logv1.LeaseGuard) {
	var v Value
	if g != nil {
		v = g
	}
	s.change(p, leaseGuardKind, leaseGuardKey, v, logv1.EventType_EVENT_TYPE_LEASE_GUARD)
}

// evaluateHold engages the guard, or ends that. Nothing changes if it is already so.
func (s *state) evaluateHold(p *plan, c *logv1.HoldLeases) {
	if p.refusal = s.checkTerm(c.GetTerm()); p.refusal != nil {
		return
	}
	for _, n := range [...]struct {
		field string
		value int64
	}{{"late", c.GetLate()}, {"live", c.GetLive()}} {
		if n.value < 0 {
			p.refusal = beyond(n.field, logv1.Refusal_PROBLEM_TOO_LOW, n.value, 0)
			return
		}
	}
	if s.leaseGuard().GetEngaged() == c.GetEngaged() {
		return
	}
	// The counts are of now, when it ends too: the next leader sees from them whether few were late.
	s.setLeaseGuard(p, &logv1.LeaseGuard{Engaged: c.GetEngaged(), Time: p.time, Revision: p.revision + 1, Late: c.GetLate(), Live: c.GetLive()})
}

// checkTerm refuses a command of a leader that stands in an entry of another term: it is too late.
func (s *state) checkTerm(term uint64) *logv1.Refusal {
	if term == s.term {
		return nil
	}
	return &logv1.Refusal{Reason: logv1.Refusal_REASON_STALE, Value: int64(term)}
}
