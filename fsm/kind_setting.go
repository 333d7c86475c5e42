package fsm

import (
	"errors"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// settingKind are settings of the whole cluster. They are not in the history.
var settingKind = &Kind{
	Number: logv1.Kind_KIND_SETTING,
	Name:   "setting",
	New:    func() Value { return new(logv1.Setting) },
	Check: func(key string, v Value) error {
		l := v.(*logv1.Setting).GetRequestLimits()
		if key != settingRequestLimits || l.GetRequestIds() == 0 || l.GetWindow() <= 0 {
			return errors.New("it is damaged, or not one that this binary knows")
		}
		return nil
	},
	applied: func(s *state, _ string, _, v Value) {
		l := v.(*logv1.Setting).GetRequestLimits()
		s.requests.limits = requestLimits{int(l.GetRequestIds()), l.GetWindow()}
	},
}

// settingRequestLimits is the key of the limits of request ids. The record exists as soon as a leader has
// proposed limits.
const settingRequestLimits = "request_limits"

// evaluateLimits takes the limits of request ids from a leader's TermStart. If the leader gives none, or none
// that make sense, they stay as they are.
func (s *state) evaluateLimits(p *plan, start *logv1.TermStart) {
	if start.GetRequestIds() == 0 || start.GetRequestWindow() <= 0 {
		return
	}
	s.change(p, settingKind, settingRequestLimits, &logv1.Setting{
		RequestLimits: &logv1.RequestLimits{RequestIds: start.GetRequestIds(), Window: start.GetRequestWindow()},
	}, logv1.EventType_EVENT_TYPE_UNSPECIFIED)
}
