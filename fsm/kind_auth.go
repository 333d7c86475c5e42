package fsm

import (
	"errors"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// authKind is one record: whether access is enforced.
var authKind = &Kind{
	Number:  logv1.Kind_KIND_AUTH,
	Name:    "access setting",
	Level:   logv1.LevelAccess,
	History: true,
	New:     func() Value { return new(logv1.Auth) },
	applied: authApplied,
	Check: func(key string, v Value) error {
		a := v.(*logv1.Auth)
		if key != authKey || a.GetAnonymous() != "" && limits.RoleName(a.GetAnonymous()) != nil || a.GetRevision() < 1 {
			return errors.New("it is damaged, or not one that this binary knows")
		}
		return nil
	},
}

const authKey = "auth"

func init() { authKind.Evaluate = withoutLockout(evaluateAuth) } // which refers to the kind

// evaluateAuth evaluates a logv1.SetAuth.
func evaluateAuth(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.SetAuth
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	if refusal := checkIfRevision(c.IfRevision); refusal != nil {
		return refusal
	}
	var anonymous access.Verbs
	if role := c.GetAnonymous(); role != "" {
		if refusal := textRefusal("anonymous", limits.RoleName(role)); refusal != nil {
			return refusal
		}
		verbs, ok := tx.now().verbs(role)
		if !ok {
			return of(logv1.Kind_KIND_ROLE, role, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
		}
		anonymous = verbs
	}
	given := anonymous
	if !c.GetEnforced() && tx.now().enforced() {
		given = access.All // everybody may do everything then
	}
	if refusal := tx.mayChangeRole(given); refusal != nil {
		return refusal
	}
	s, p := tx.s, tx.p
	before := s.auth()
	if refusal := compareRevision(authKind, authKey, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	a := &logv1.Auth{
		Enforced:  c.GetEnforced(),
		Anonymous: c.GetAnonymous(),
		Reason:    tx.cmd.GetReason(),
		Actor:     tx.cmd.GetActor(),
		Time:      p.time,
		Revision:  p.revision + 1,
		RequestId: tx.cmd.GetRequestId(),
	}
	if before != nil && before.Enforced == a.Enforced && before.Anonymous == a.Anonymous && before.Reason == a.Reason {
		a = before
	}
	s.change(p, authKind, authKey, a, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return nil
}

// auth returns nil if it was never set.
func (s *state) auth() *logv1.Auth { return s.access.auth }
