package fsm

import (
	"cmp"
	"errors"
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// roleKind are the roles that people made, by name. The built-in ones are in package access.
var roleKind = &Kind{
	Number:  logv1.Kind_KIND_ROLE,
	Name:    "role",
	Level:   logv1.LevelAccess,
	History: true,
	New:     func() Value { return new(logv1.Role) },
	applied: accessApplied,
	Check: func(key string, v Value) error {
		r := v.(*logv1.Role)
		if bad := limits.RoleName(key); bad != nil {
			return bad
		}
		if checkVerbs(r.GetVerbs()) != nil || r.GetRevision() < 1 {
			return errors.New("it is damaged")
		}
		return nil
	},
}

func init() { roleKind.Evaluate = withoutLockout(evaluateRole) } // which refers to the kind

func evaluateRole(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.RoleCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	switch c := c.GetCommand().(type) {
	case *logv1.RoleCommand_Put:
		return tx.putRole(c.Put)
	case *logv1.RoleCommand_Delete:
		return tx.deleteRole(c.Delete)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

func checkVerbs(verbs uint32) *logv1.Refusal {
	if verbs == 0 {
		return invalid("verbs", logv1.Refusal_PROBLEM_EMPTY)
	}
	if unknown := verbs &^ uint32(access.All); unknown != 0 {
		r := invalid("verbs", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Value = int64(unknown)
		return r
	}
	return nil
}

// checkRole checks the name of a role that is to be changed.
func checkRole(name string) *logv1.Refusal {
	if refusal := textRefusal("name", limits.RoleName(name)); refusal != nil {
		return refusal
	}
	if _, builtIn := access.BuiltIn(name); builtIn {
		r := invalid("name", logv1.Refusal_PROBLEM_BUILT_IN)
		r.Given = name
		return r
	}
	return nil
}

// putRole makes or changes a role. A change gives its verbs to all who have the role, so it takes somebody who has
// them everywhere.
func (tx *Tx) putRole(c *logv1.PutRole) *logv1.Refusal {
	name := c.GetName()
	for _, refusal := range [...]*logv1.Refusal{checkRole(name), checkVerbs(c.GetVerbs()), checkIfRevision(c.IfRevision)} {
		if refusal != nil {
			return refusal
		}
	}
	s, p := tx.s, tx.p
	before := s.role(name)
	if refusal := tx.mayChangeRole(access.Verbs(c.GetVerbs() | before.GetVerbs())); refusal != nil {
		return refusal
	}
	if refusal := compareRevision(roleKind, name, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	if before == nil && s.tables.find(roleKind).records.Len() >= limits.MaxRoles {
		return tooMany("roles", limits.MaxRoles)
	}
	r := &logv1.Role{
		Verbs:     c.GetVerbs(),
		Reason:    tx.cmd.GetReason(),
		Actor:     tx.cmd.GetActor(),
		Time:      p.time,
		Revision:  p.revision + 1,
		RequestId: tx.cmd.GetRequestId(),
	}
	if before != nil && before.Verbs == r.Verbs && before.Reason == r.Reason {
		r = before
	}
	s.change(p, roleKind, name, r, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return nil
}

// deleteRole deletes a role that nobody has: who makes another one of its name would give it to those who had it.
func (tx *Tx) deleteRole(c *logv1.DeleteRole) *logv1.Refusal {
	name := c.GetName()
	for _, refusal := range [...]*logv1.Refusal{checkRole(name), checkIfRevision(c.IfRevision)} {
		if refusal != nil {
			return refusal
		}
	}
	before := tx.s.role(name)
	if refusal := tx.mayChangeRole(access.Verbs(before.GetVerbs())); refusal != nil {
		return refusal
	}
	if refusal := compareRevision(roleKind, name, c.IfRevision, before.GetRevision()); refusal != nil {
		return refusal
	}
	if before == nil {
		if c.GetAllowMissing() {
			return nil
		}
		return of(logv1.Kind_KIND_ROLE, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
	}
	if identity, count := tx.s.having(name); count > 0 {
		return of(logv1.Kind_KIND_ROLE, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_ROLE_IN_USE, Held: identity, Value: int64(count)})
	}
	tx.s.change(tx.p, roleKind, name, nil, logv1.EventType_EVENT_TYPE_ACCESS_CHANGED)
	return nil
}

// having returns how many identities have a role, and one of them. Anonymous callers are one, also while access is not
// enforced. Who may delete the role administers access over everything, so he may know them.
func (s *state) having(role string) (identity string, count int) {
	if s.auth().GetAnonymous() == role {
		identity, count = limits.AnonymousIdentity, 1
	}
	s.tables.find(grantsKind).records.Scan(func(key string, value Value) bool {
		if slices.ContainsFunc(value.(*logv1.Grants).GetGrants(), func(g *logv1.Grant) bool { return g.GetRole() == role }) {
			identity = cmp.Or(identity, key)
			count++
		}
		return true
	})
	return identity, count
}

// role returns nil if there is none of the name, or it is built in.
func (s *state) role(name string) *logv1.Role {
	r, _ := s.record(roleKind, name).(*logv1.Role)
	return r
}
