package fsm

import (
	"errors"
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// grantsKind are the grants of identities, by identity.
var grantsKind = &Kind{
	Number:  logv1.Kind_KIND_GRANTS,
	Name:    "grant list",
	Level:   logv1.LevelAccess,
	History: true,
	New:     func() Value { return new(logv1.Grants) },
	applied: accessApplied,
	Check: func(key string, v Value) error {
		g := v.(*logv1.Grants)
		if bad := limits.Identity(key); bad != nil {
			return bad
		}
		if checkGrants(g.GetGrants()) != nil || len(g.GetGrants()) == 0 && !g.GetDenied() || g.GetRevision() < 1 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

func init() { grantsKind.Evaluate = withoutLockout(evaluateGrants) } // which refers to the kind

// evaluateGrants evaluates a logv1.PutGrants.
func evaluateGrants(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.PutGrants
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	identity := c.GetIdentity()
	for _, refusal := range [...]*logv1.Refusal{textRefusal("identity", limits.Identity(identity)), checkIfRevision(c.IfRevision)} {
		if refusal != nil {
			return refusal
		}
	}
	given, refusal := tx.readGrants(c.GetGrants())
	if refusal != nil {
		return refusal
	}
	before := tx.s.grants(identity)
	if c.GetDenied() != before.GetDenied() {
		if refusal := tx.mayChangeRole(0); refusal != nil {
			return refusal
		}
	}
	if refusal := tx.mayGive(identity, given); refusal != nil {
		return refusal
	}
	if refusal := compareRevision(grantsKind, identity, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	return tx.putGrants(identity, c.GetGrants(), c.GetDenied())
}

// checkGrants checks grants but for whether there are such roles.
func checkGrants(grants []*logv1.Grant) *logv1.Refusal {
	patterns := 0
	for _, g := range grants {
		if refusal := textRefusal("grants.role", limits.RoleName(g.GetRole())); refusal != nil {
			return refusal
		}
		if len(g.GetPatterns()) == 0 {
			return invalid("grants.patterns", logv1.Refusal_PROBLEM_EMPTY)
		}
		for _, p := range g.GetPatterns() {
			if refusal := textRefusal("grants.patterns", limits.Pattern(p)); refusal != nil {
				return refusal
			}
		}
		patterns += len(g.GetPatterns())
	}
	if patterns > limits.MaxGrantPatterns {
		return beyond("grants.patterns", logv1.Refusal_PROBLEM_TOO_MANY, patterns, limits.MaxGrantPatterns)
	}
	return nil
}

// readGrants checks grants and returns what they allow. Their roles must exist.
func (tx *Tx) readGrants(grants []*logv1.Grant) ([]access.Grant, *logv1.Refusal) {
	if refusal := checkGrants(grants); refusal != nil {
		return nil, refusal
	}
	var all []access.Grant
	for _, g := range grants {
		verbs, ok := tx.now().verbs(g.GetRole())
		if !ok {
			return nil, of(logv1.Kind_KIND_ROLE, g.GetRole(), &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
		}
		for _, p := range g.GetPatterns() {
			all = append(all, access.Grant{Verbs: verbs, Pattern: p})
		}
	}
	return all, nil
}

// putGrants gives an identity these grants in place of those that it has.
func (tx *Tx) putGrants(identity string, grants []*logv1.Grant, denied bool) *logv1.Refusal {
	s, p := tx.s, tx.p
	before := s.grants(identity)
	if len(grants) == 0 && !denied {
		if before != nil {
			s.change(p, grantsKind, identity, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
		}
		return nil
	}
	if before == nil && s.tables.find(grantsKind).records.Len() >= limits.MaxIdentities {
		return tooMany("identities", limits.MaxIdentities)
	}
	g := &logv1.Grants{
		Grants:    grants,
		Denied:    denied,
		Reason:    tx.cmd.GetReason(),
		Actor:     tx.cmd.GetActor(),
		Time:      p.time,
		Revision:  p.revision + 1,
		RequestId: tx.cmd.GetRequestId(),
	}
	if before != nil && before.Denied == denied && before.Reason == g.Reason && slices.EqualFunc(before.Grants, grants, equalGrant) {
		g = before
	}
	s.change(p, grantsKind, identity, g, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return nil
}

func equalGrant(a, b *logv1.Grant) bool {
	return a.GetRole() == b.GetRole() && slices.Equal(a.GetPatterns(), b.GetPatterns())
}

// grants returns nil if the identity has none.
func (s *state) grants(identity string) *logv1.Grants {
	g, _ := s.record(grantsKind, identity).(*logv1.Grants)
	return g
}
