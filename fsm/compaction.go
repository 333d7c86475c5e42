package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// firstHorizon is that of a registry that was never compacted: there is every event.
const firstHorizon = 1

// evaluateCompact takes a horizon that is ahead. One that is not changes nothing: two leaders may have
// wanted the same. That it does not split an atomic write is the proposer's to see to, as the fold has
// no events.
func (s *state) evaluateCompact(p *plan, c *logv1.Compact) {
	horizon := c.GetHorizon()
	switch {
	case horizon < firstHorizon:
		p.refusal = beyond("horizon", logv1.Refusal_PROBLEM_TOO_LOW, horizon, firstHorizon)
	case horizon > s.revision+1:
		p.refusal = beyond("horizon", logv1.Refusal_PROBLEM_TOO_HIGH, horizon, s.revision+1)
	case horizon > s.horizon:
		p.horizon = horizon
	}
}

// setHorizon also accounts for it in the state hash.
func (s *state) setHorizon(horizon int64) {
	s.hash.horizon(s.horizon, horizon)
	s.horizon = horizon
}

// horizon changes the hash as the horizon moves. The first one is not in it: a registry that was never
// compacted hashes as it did before there was compaction.
func (m *multiset) horizon(before, after int64) {
	var room [512]byte
	if before > firstHorizon {
		m.remove(kindHorizon, newCanonical(&room).number(before))
	}
	if after > firstHorizon {
		m.add(kindHorizon, newCanonical(&room).number(after))
	}
}

// Horizon is the oldest revision from which every event is kept, by the cluster's decision: at most
// Revision()+1. The registry file of this node deletes what lies below a little later.
func (f *FSM) Horizon() int64 { return f.view.Load().horizon }
