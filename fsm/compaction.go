package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// firstHorizon is the horizon of a registry that was never compacted: all events are kept.
const firstHorizon = 1

// evaluateCompact raises the horizon. A horizon that is not higher changes nothing: two leaders may have
// proposed the same one. The proposer must choose a horizon that does not split an atomic write. The fold
// cannot check that, because it holds no events.
func (s *state) evaluateCompact(p *plan, c *logv1.Compact) {
	horizon := c.GetHorizon()
	switch {
	case horizon < firstHorizon:
		p.refusal = beyond("horizon", logv1.Refusal_PROBLEM_TOO_LOW, horizon, firstHorizon)
	case horizon > s.revision+1:
		p.refusal = beyond("horizon", logv1.Refusal_PROBLEM_TOO_HIGH, horizon, s.revision+1)
	case horizon > s.horizon:
		p.horizon = horizon
		s.dropPassed(p, horizon)
	}
}

// Horizon is the oldest revision from which every event is kept, by the cluster's decision: at most
// Revision()+1. The registry file of this node deletes what lies below a little later.
func (f *FSM) Horizon() int64 { return f.view.Load().horizon }
