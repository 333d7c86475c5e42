package fsm

import (
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/fsm/leases"
)

// This file says what the caller of a command may do. It asks the records as they are when the command is folded, so
// that what is taken from somebody is taken for all that comes after it in the log.

// rights are the records about access, at one point in time.
type rights struct {
	s    *state
	p    *plan // with the changes of it; nil: none
	time int64 // log time
}

// now is what is so before the command.
func (tx *Tx) now() rights { return rights{s: tx.s, time: tx.p.time} }

// after is what is so with the changes of the command so far.
func (tx *Tx) after() rights { return rights{s: tx.s, p: tx.p, time: tx.p.time} }

func (r rights) find(kind *Kind, key string) Value {
	if r.p != nil {
		return r.s.planned(r.p, kind, key)
	}
	return r.s.record(kind, key)
}

// auth returns nil if it was never set.
func (r rights) auth() *logv1.Auth {
	if r.p != nil {
		a, _ := r.s.planned(r.p, authKind, authKey).(*logv1.Auth)
		return a
	}
	return r.s.access.auth
}

func (r rights) enforced() bool { return r.auth().GetEnforced() }

// verbs returns what a role allows; ok is false if there is no such role.
func (r rights) verbs(role string) (verbs access.Verbs, ok bool) {
	if verbs, ok := access.BuiltIn(role); ok {
		return verbs, true
	}
	custom, _ := r.find(roleKind, role).(*logv1.Role)
	return access.Verbs(custom.GetVerbs()), custom != nil
}

// identity returns who the caller is, as far as access is concerned.
func identity(a *logv1.Actor) string {
	if !a.GetVerified() {
		return limits.AnonymousIdentity
	}
	return a.GetName()
}

// of returns what a caller may do. It refuses a token that is none any more.
func (r rights) of(a *logv1.Actor) (access.Permissions, *logv1.Refusal) {
	if refusal := r.credential(a); refusal != nil {
		return access.Permissions{}, refusal
	}
	if a.GetVerified() && a.GetStaticAdmin() || !r.enforced() {
		return access.Everything(), nil
	}
	return r.permissions(identity(a)), nil
}

// credential refuses a caller whose token is none any more, also while access is not enforced: a node that is behind may
// have taken it for one.
func (r rights) credential(a *logv1.Actor) *logv1.Refusal {
	who := identity(a)
	name, ok := strings.CutPrefix(who, limits.TokenIdentity)
	if !ok {
		return nil
	}
	t, _ := r.find(tokenKind, name).(*logv1.Token)
	switch {
	case t == nil || TokenID(t.GetSecretSha256()) != a.GetCredential():
		return &logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_REVOKED, Given: who}
	case expired(t, r.time):
		return &logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_EXPIRED, Given: who, Value: t.GetExpireTime()}
	}
	return nil
}

// permissions returns what an identity may do: what it was granted, and what everybody may do.
func (r rights) permissions(identity string) access.Permissions {
	if r.p == nil {
		if p, ok := r.s.access.recall(identity); ok {
			return p
		}
	}
	var all []access.Grant
	own, _ := r.find(grantsKind, identity).(*logv1.Grants)
	if !own.GetDenied() {
		r.each(identity, func(_, pattern string, _ bool, verbs access.Verbs) bool {
			all = append(all, access.Grant{Verbs: verbs, Pattern: pattern})
			return true
		})
	}
	p := access.New(all...)
	if r.p == nil {
		r.s.access.remember(identity, p)
	}
	return p
}

// each calls visit with all that an identity was granted, and then with what everybody may do, until visit returns
// false. It does not look whether the identity is denied.
func (r rights) each(identity string, visit func(role, pattern string, anonymous bool, verbs access.Verbs) bool) {
	own, _ := r.find(grantsKind, identity).(*logv1.Grants)
	for _, g := range own.GetGrants() {
		verbs, _ := r.verbs(g.GetRole())
		for _, p := range g.GetPatterns() {
			if !visit(g.GetRole(), p, false, verbs) {
				return
			}
		}
	}
	if role := r.auth().GetAnonymous(); role != "" {
		verbs, _ := r.verbs(role)
		visit(role, pattern.All, true, verbs)
	}
}

// refuse says which verbs a caller lacks, and over what: a service or a pattern; "" if any would do. kind and key say
// which record the command is about.
func (r rights) refuse(a *logv1.Actor, reason logv1.Refusal_Reason, verbs access.Verbs, over string, kind logv1.Kind, key string) *logv1.Refusal {
	refusal := of(kind, key, &logv1.Refusal{Reason: reason, Given: identity(a), Limit: int64(verbs), Held: over})
	if own, _ := r.find(grantsKind, identity(a)).(*logv1.Grants); own.GetDenied() {
		refusal.Value = 1
	}
	return refusal
}

// mayNot says whether a command was refused because of who its caller is.
func mayNot(r *logv1.Refusal) bool {
	switch r.GetReason() {
	case logv1.Refusal_REASON_DENIED, logv1.Refusal_REASON_ESCALATION, logv1.Refusal_REASON_AUTH_LOCKOUT,
		logv1.Refusal_REASON_TOKEN_REVOKED, logv1.Refusal_REASON_TOKEN_EXPIRED:
		return true
	}
	return false
}

// authorize refuses a command of a client that the caller may not do. Commands that nodes propose on their own account
// are not asked. What is needed for commands about access is part of what they do: see mayGive and mayChangeRole.
func (s *state) authorize(cmd *logv1.Command, now int64) *logv1.Refusal {
	switch cmd.GetKind().(type) {
	case *logv1.Command_Write, *logv1.Command_Record:
	default:
		return nil
	}
	r, caller := rights{s: s, time: now}, cmd.GetActor()
	if !r.enforced() {
		return r.credential(caller)
	}
	may, refusal := r.of(caller)
	if refusal != nil {
		return refusal
	}
	also := access.Verbs(0)
	if len(cmd.GetBreakGlass()) > 0 {
		also = access.Rules
	}
	need := func(verbs access.Verbs, kind logv1.Kind, key, over string) *logv1.Refusal {
		lacking := may.Lacks(verbs|also, over)
		if lacking == 0 {
			return nil
		}
		return r.refuse(caller, logv1.Refusal_REASON_DENIED, lacking, over, kind, key)
	}
	used := "" // the lease that was looked at last
	for i, c := range cmd.GetWrite().GetChanges() {
		refusal := need(access.Report, logv1.Kind_KIND_SERVICE, c.GetService(), c.GetService())
		if id := c.GetLeaseId(); refusal == nil && id != used {
			refusal = s.authorizeLease(id, caller, may, need)
			used = id
		}
		if refusal != nil {
			refusal.Change = uint32(i + 1)
			if len(cmd.GetWrite().GetChanges()) == 1 {
				refusal.Change = 0
			}
			return refusal
		}
	}
	record := cmd.GetRecord()
	switch record.GetKind() {
	case logv1.Kind_KIND_UNSPECIFIED, logv1.Kind_KIND_TOKEN, logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH:
	case logv1.Kind_KIND_OVERRIDE:
		var c logv1.OverrideCommand
		if c.UnmarshalVT(record.GetPayload()) != nil {
			return nil // is refused as malformed
		}
		p := c.GetSet().GetPattern() + c.GetClear().GetPattern()
		return need(access.Override, record.GetKind(), p, p)
	case logv1.Kind_KIND_RULE:
		var c logv1.RuleCommand
		if c.UnmarshalVT(record.GetPayload()) != nil {
			return nil
		}
		name := c.GetSet().GetName() + c.GetRemove().GetName()
		if !may.Some(access.Rules) {
			return r.refuse(caller, logv1.Refusal_REASON_DENIED, access.Rules, "", record.GetKind(), name)
		}
		if set := c.GetSet(); set != nil {
			if refusal := need(access.Rules, record.GetKind(), name, set.GetPattern()); refusal != nil {
				return refusal
			}
		}
		if before := s.rule(name); before != nil {
			over := before.GetPattern()
			if !may.Covers(access.Read, over) && !may.Covers(access.Rules, over) {
				over = pattern.All // the refusal does not tell him the pattern
			}
			return need(access.Rules, record.GetKind(), name, over)
		}
	case logv1.Kind_KIND_MEMBER:
		var c logv1.MemberCommand
		if c.UnmarshalVT(record.GetPayload()) != nil {
			return nil
		}
		name := c.GetAdd().GetMember().GetName() + c.GetRemove().GetName() + c.GetReplace().GetMember().GetName() + c.GetPromote().GetName()
		if !limits.NodeName(name) {
			name = ""
		}
		return need(access.Cluster, record.GetKind(), name, pattern.All)
	case logv1.Kind_KIND_LEASE:
		var c logv1.LeaseCommand
		if c.UnmarshalVT(record.GetPayload()) != nil {
			return nil
		}
		if !may.Some(access.Report) {
			return r.refuse(caller, logv1.Refusal_REASON_DENIED, access.Report, "", record.GetKind(), c.GetRevoke().GetLeaseId())
		}
		if revoke := c.GetRevoke(); revoke != nil {
			return s.authorizeRevoke(revoke.GetLeaseId(), caller, may, need)
		}
	default: // a kind that is new, and for which nobody said what it takes
		return need(access.All, record.GetKind(), "", pattern.All)
	}
	return nil
}

// Authorized says whether the caller of a command may give it, as of this node's newest cut. The fold decides.
func (f *FSM) Authorized(cmd *logv1.Command) bool {
	v := f.view.Load()
	return v.authorize(cmd, v.logTime) == nil
}

// authorizeLease refuses to attach a report to a lease of another.
func (s *state) authorizeLease(id string, caller *logv1.Actor, may access.Permissions, need func(access.Verbs, logv1.Kind, string, string) *logv1.Refusal) *logv1.Refusal {
	l := s.lease(id)
	if l == nil || may.UsesLease(identity(l.GetActor()), identity(caller)) {
		return nil // if there is none, the command is refused for that
	}
	return need(access.Report, logv1.Kind_KIND_LEASE, id, pattern.All)
}

// authorizeRevoke refuses to end a lease of another. Its owner ends it whatever is attached to it: else who attached a
// report before access was enforced could keep him from that. One that was granted by nobody is ended by who may report
// all that is attached to it, since that changes its status. No refusal tells what is attached.
func (s *state) authorizeRevoke(id string, caller *logv1.Actor, may access.Permissions, need func(access.Verbs, logv1.Kind, string, string) *logv1.Refusal) *logv1.Refusal {
	l := s.lease(id)
	if refusal := s.authorizeLease(id, caller, may, need); refusal != nil || l == nil || l.GetActor().GetVerified() {
		return refusal
	}
	all := true
	s.attached.Ascend(id, func(report leases.Report[*record]) bool {
		all = may.Allows(access.Report, report.Value.name)
		return all
	})
	if all {
		return nil
	}
	return need(access.Report, logv1.Kind_KIND_LEASE, id, pattern.All)
}

// mayGive refuses to change the grants of an identity to who has not himself what the grants allow, now and then: both
// what is given and what is taken away. It needs the verb auth over the same.
func (tx *Tx) mayGive(identity string, given []access.Grant) *logv1.Refusal {
	caller := tx.cmd.GetActor()
	r := tx.now()
	may, refusal := r.of(caller)
	if refusal != nil {
		return refusal
	}
	if !may.Some(access.Auth) {
		return r.refuse(caller, logv1.Refusal_REASON_DENIED, access.Auth, "", grantsKind.Number, identity)
	}
	for _, g := range tx.s.grants(identity).GetGrants() {
		verbs, _ := r.verbs(g.GetRole())
		for _, p := range g.GetPatterns() {
			given = append(given, access.Grant{Verbs: verbs, Pattern: p})
		}
	}
	for _, g := range given {
		if lacking := may.Lacks(g.Verbs|access.Auth, g.Pattern); lacking != 0 {
			return r.refuse(caller, logv1.Refusal_REASON_ESCALATION, lacking, g.Pattern, grantsKind.Number, identity)
		}
	}
	return nil
}

// mayChangeRole refuses what reaches everybody to who has not the verb auth, and these verbs, over everything.
func (tx *Tx) mayChangeRole(verbs access.Verbs) *logv1.Refusal {
	caller := tx.cmd.GetActor()
	r := tx.now()
	may, refusal := r.of(caller)
	if refusal != nil {
		return refusal
	}
	record := tx.cmd.GetRecord().GetKind()
	if !may.Whole(access.Auth) {
		return r.refuse(caller, logv1.Refusal_REASON_DENIED, access.Auth, pattern.All, record, "")
	}
	if lacking := may.Lacks(verbs, pattern.All); lacking != 0 {
		return r.refuse(caller, logv1.Refusal_REASON_ESCALATION, lacking, pattern.All, record, "")
	}
	return nil
}

// withoutLockout returns what a command about access does, unless that locks its caller out.
func withoutLockout(evaluate func(*Tx, []byte) *logv1.Refusal) func(*Tx, []byte) *logv1.Refusal {
	return func(tx *Tx, payload []byte) *logv1.Refusal {
		if refusal := evaluate(tx, payload); refusal != nil {
			return refusal
		}
		return tx.checkLockout()
	}
}

// checkLockout refuses a change of access after which the caller could not undo it, though he could before: who may do
// everything must be able to do everything afterwards, too, because he could not give himself back what he lacks. Who
// administers access without that must be able to go on with it.
func (tx *Tx) checkLockout() *logv1.Refusal {
	caller := tx.cmd.GetActor()
	after := tx.after()
	if caller.GetVerified() && caller.GetStaticAdmin() || !after.enforced() {
		return nil
	}
	before, refusal := tx.now().of(caller)
	if refusal != nil || !before.Whole(access.Auth) {
		return refusal
	}
	keep := access.Auth
	if before.Whole(access.All) {
		keep = access.All
	}
	may, refusal := after.of(caller)
	if refusal != nil {
		may = access.Permissions{}
	}
	if lacking := may.Lacks(keep, pattern.All); lacking != 0 {
		return &logv1.Refusal{Reason: logv1.Refusal_REASON_AUTH_LOCKOUT, Given: identity(caller), Limit: int64(lacking)}
	}
	return nil
}
