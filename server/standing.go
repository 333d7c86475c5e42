package server

import (
	"context"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// standing is the caller of a stream that writes or renews.
type standing struct {
	*admin
	caller     *authn.Caller
	generation int64 // of what its rights were looked at last
}

// stand returns the standing of the caller of a stream that begins. It refuses one that may report nothing.
func (a *admin) stand(caller *authn.Caller) (*standing, *rpcerror.Failure) {
	s := &standing{admin: a, caller: caller, generation: -1}
	return s, s.lost()
}

// lost says why the stream must end: the caller's credential is none any more, or it may report nothing. nil: it goes
// on, as far as this node knows. What it writes is looked at again in the fold.
func (s *standing) lost() *rpcerror.Failure {
	if f := s.callers.Still(s.caller); f != nil {
		return f
	}
	generation := s.access.Access().Generation()
	if generation == s.generation {
		return nil
	}
	if f := s.may(s.caller, access.Report); f != nil {
		return f
	}
	s.generation = generation
	return nil
}

// ownLeases tells leases that the caller may renew from those of others, which are lost to it: who renews the lease of
// another keeps services of that one SERVING that are gone. An error would end the stream for the caller's own leases,
// too. The rule is that of the fold for who may attach a report. A lease that this node has not heard of is left to
// the leader. others is nil if there are none; mine is ids then.
func (s *standing) ownLeases(ids []string) (mine, others []string) {
	now := s.access.Access()
	if s.caller.StaticAdmin || !now.Enforced() {
		return ids, nil
	}
	may := now.Permissions(s.caller.Identity)
	for i, id := range ids {
		l := s.leases.Lease(id)
		owner := limits.AnonymousIdentity
		if l.GetActor().GetVerified() {
			owner = l.GetActor().GetName()
		}
		own := l == nil || may.UsesLease(owner, s.caller.Identity)
		switch {
		case !own && others == nil:
			mine, others = append(mine, ids[:i]...), []string{id}
		case !own:
			others = append(others, id)
		case others != nil:
			mine = append(mine, id)
		}
	}
	if others == nil {
		return ids, nil
	}
	return mine, others
}

// recheck has end called when the caller of a stream may not go on, also while it sends nothing. stop undoes that.
func (a *admin) recheck(ctx context.Context, caller *authn.Caller, end func(why error)) (stop func(), f *rpcerror.Failure) {
	may := a.rights.Of(caller)
	open := &openStream{ctx: ctx, cancel: end, scope: reportScope{}, began: may}
	return func() { a.streams.Leave(&open.recheck) }, a.streams.Join(&open.recheck, open, caller, may)
}

// may says why a caller may not do something over anything at all; nil: it may over something.
func (a *admin) may(caller *authn.Caller, verb access.Verbs) *rpcerror.Failure {
	now := a.access.Access()
	if caller.StaticAdmin || !now.Enforced() || now.Permissions(caller.Identity).Some(verb) {
		return nil
	}
	f := rpcerror.Denied(caller.Identity, verb, "")
	a.denials.Count(f)
	return f
}

// tokens are the tokens of the registry.
type tokens struct{ Access }

func (t tokens) Generation() int64 { return t.Access.Access().Generation() }

func (t tokens) Token(id string) (name string, token *logv1.Token) {
	return t.Access.Access().Token(id)
}

func (t tokens) Changed() <-chan struct{} { return t.AccessChanged() }
