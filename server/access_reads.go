package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// WhoAmI implements rollcall.v1.Access. It is for everybody whose credential is not refused.
func (s *accessService) WhoAmI(ctx context.Context, _ *rollcallv1.WhoAmIRequest) (res *rollcallv1.WhoAmIResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.WhoAmI", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		now := s.source.Access()
		res = &rollcallv1.WhoAmIResponse{
			Identity:  caller.Identity,
			How:       caller.How,
			Enforced:  now.Enforced(),
			Denied:    !caller.StaticAdmin && now.Denied(caller.Identity),
			ClusterId: s.registry.ClusterID(),
		}
		if !caller.Expires.IsZero() {
			res.Expires = timestamppb.New(caller.Expires)
		}
		res.Grants, res.Revision = s.grantsOf(caller, now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// grantsOf is what a caller may do now.
func (s *accessService) grantsOf(caller *authn.Caller, now AccessView) (all []*rollcallv1.Grant, revision int64) {
	auth, revision := s.source.GetAuth()
	switch {
	case caller.StaticAdmin || !now.Enforced():
		return []*rollcallv1.Grant{everywhere(access.Admin)}, revision
	case now.Denied(caller.Identity):
		return nil, revision
	}
	own, revision := s.source.GetGrants(caller.Identity)
	all = append(all, own.GetGrants()...)
	if role := auth.GetAnonymous(); role != "" {
		all = append(all, everywhere(role))
	}
	return all, revision
}

func everywhere(role string) *rollcallv1.Grant {
	return &rollcallv1.Grant{Role: role, Patterns: []string{pattern.All}}
}

// CheckAccess implements rollcall.v1.Access.
func (s *accessService) CheckAccess(ctx context.Context, req *rollcallv1.CheckAccessRequest) (res *rollcallv1.CheckAccessResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.CheckAccess", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		verb, err := validateCheckAccess(req)
		if err != nil {
			return err
		}
		identity := req.GetIdentity()
		if identity == "" || identity == caller.Identity {
			identity = caller.Identity
		} else if f := s.may(caller, access.Auth); f != nil {
			return f
		}
		res = &rollcallv1.CheckAccessResponse{ClusterId: s.registry.ClusterID(), Enforced: s.source.Access().Enforced()}
		res.Allowed, res.Why, res.Revision = s.judge(identity, caller, verb, req.GetService())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// judge says whether an identity may do something over a service or a pattern (everything if it is ""), and why.
func (s *accessService) judge(identity string, caller *authn.Caller, verb access.Verbs, over string) (allowed bool, why string, revision int64) {
	what := verb.Names()[0]
	if verb&(access.Status|access.Cluster|access.Backup) != 0 || over == "" {
		over = pattern.All // these are about the cluster as a whole
	} else {
		what += " " + over
	}
	own, revision := s.source.GetGrants(identity)
	auth, _ := s.source.GetAuth()
	switch {
	case identity == caller.Identity && caller.StaticAdmin:
		return true, identity + " is an administrator of the configuration of node " + s.node, revision
	case own.GetDenied():
		return false, identity + " is denied everything, whatever it and anonymous callers were granted", revision
	}
	roles := s.roles()
	allows := func(role string, patterns ...string) bool {
		for _, p := range patterns {
			grant := access.New(access.Grant{Verbs: roles[role], Pattern: p})
			if grant.Covers(verb, over) || rollcallv1.IsOwn(over) && grant.Allows(verb, over) {
				return true
			}
		}
		return false
	}
	for _, g := range own.GetGrants() {
		for _, p := range g.GetPatterns() {
			if allows(g.GetRole(), p) {
				return true, fmt.Sprintf("%s has the role %s over %s", identity, g.GetRole(), p), revision
			}
		}
	}
	if role := auth.GetAnonymous(); role != "" && allows(role, pattern.All) {
		return true, "everybody has the role " + role + ", anonymous callers too", revision
	}
	return false, fmt.Sprintf("no grant of %s allows to %s", identity, what), revision
}

// roles are the verbs of all roles.
func (s *accessService) roles() map[string]access.Verbs {
	list, _ := s.source.ListRoles()
	roles := make(map[string]access.Verbs, len(list))
	for _, role := range list {
		for _, name := range role.GetVerbs() {
			verb, _ := access.Verb(name)
			roles[role.GetName()] |= verb
		}
	}
	return roles
}

// GetAuth implements rollcall.v1.Access.
func (s *accessService) GetAuth(ctx context.Context, _ *rollcallv1.GetAuthRequest) (res *rollcallv1.GetAuthResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.GetAuth", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		if f := s.may(caller, access.Auth); f != nil {
			return f
		}
		res = &rollcallv1.GetAuthResponse{ClusterId: s.registry.ClusterID()}
		res.Auth, res.Revision = s.source.GetAuth()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// reading calls do with the caller of a read, once the node is as fresh as the call asks. It returns a status.
func (s *accessService) reading(ctx context.Context, do func(caller *authn.Caller) error) error {
	heading, err := s.AwaitRegistry(ctx)
	if err == nil {
		var caller *authn.Caller
		var refusal *rpcerror.Failure
		if caller, refusal = s.callers.Caller(ctx); refusal != nil {
			err = refusal
		} else {
			err = do(caller)
		}
	}
	s.SetHeader(ctx, heading)
	if err != nil {
		return rpcerror.ToStatus(s.node, err)
	}
	return nil
}
