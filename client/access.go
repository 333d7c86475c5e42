package client

import (
	"context"
	"iter"
	"slices"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// WhoAmI returns who the first node that answers takes this client for, and what that identity may do.
func (c *Client) WhoAmI(ctx context.Context) (*rollcallv1.WhoAmIResponse, error) {
	return readAccess(ctx, c, operation{name: "ask who this is"}, &rollcallv1.WhoAmIRequest{}, rollcallv1.AccessClient.WhoAmI)
}

// AccessQuestion is what CheckAccess asks.
type AccessQuestion struct {
	Verb     string // "read", for example: docs/security.md lists them
	Service  string // a service's name, or a pattern as an override's; "": everything
	Identity string // "cert:NAME", "token:NAME" or "anonymous"; "": this client. About others, the caller needs the verb auth
}

// CheckAccess returns whether an identity may do something, and thanks to which grant. It changes nothing.
func (c *Client) CheckAccess(ctx context.Context, q AccessQuestion) (*rollcallv1.CheckAccessResponse, error) {
	op := operation{name: "check access", access: q.Identity}
	req := &rollcallv1.CheckAccessRequest{Verb: q.Verb, Service: q.Service, Identity: q.Identity}
	return readAccess(ctx, c, op, req, rollcallv1.AccessClient.CheckAccess)
}

// GetAuth returns whether access is enforced, and what callers may do that prove no identity.
func (c *Client) GetAuth(ctx context.Context) (*rollcallv1.GetAuthResponse, error) {
	return readAccess(ctx, c, operation{name: "get auth"}, &rollcallv1.GetAuthRequest{}, rollcallv1.AccessClient.GetAuth)
}

// AuthSetting is what SetAuth sets.
type AuthSetting struct {
	Enforced  bool   // false: everybody may do everything
	Anonymous string // the role of callers that prove no identity, over everything; "": none
}

// SetAuth has access enforced, or not any more. It is refused with [ReasonAuthLockout] if the caller could not undo it,
// and with [ReasonTLSRequired] if tokens would be read on their way.
func (c *Client) SetAuth(ctx context.Context, a AuthSetting, o WriteOptions) (*rollcallv1.SetAuthResponse, error) {
	op := c.writing("set auth", &o, isConditional(o.IfRevision))
	if err := o.refuse(op, optionIfRevision); err != nil {
		return nil, err
	}
	req := &rollcallv1.SetAuthRequest{
		Enforced:     a.Enforced,
		Anonymous:    a.Anonymous,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		ValidateOnly: o.DryRun,
	}
	return changeAccess(ctx, c, op, req, rollcallv1.AccessClient.SetAuth)
}

// PutRole makes a role of some verbs, or changes the one of that name. The built-in ones are never changed.
func (c *Client) PutRole(ctx context.Context, name string, verbs []string, o WriteOptions) (*rollcallv1.PutRoleResponse, error) {
	op := c.writing("put role", &o, isConditional(o.IfRevision))
	op.access = name
	if err := o.refuse(op, optionIfRevision); err != nil {
		return nil, err
	}
	req := &rollcallv1.PutRoleRequest{
		Name:         name,
		Verbs:        slices.Clone(verbs),
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		ValidateOnly: o.DryRun,
	}
	return changeAccess(ctx, c, op, req, rollcallv1.AccessClient.PutRole)
}

// DeleteRole deletes a role. It is refused with [ReasonRoleInUse] while an identity, or anonymous callers, have it.
func (c *Client) DeleteRole(ctx context.Context, name string, o WriteOptions) (*rollcallv1.DeleteRoleResponse, error) {
	op := c.writing("delete role", &o, isConditional(o.IfRevision))
	op.access = name
	if err := o.refuse(op, optionIfRevision|optionAllowMissing); err != nil {
		return nil, err
	}
	req := &rollcallv1.DeleteRoleRequest{
		Name:         name,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		AllowMissing: o.AllowMissing,
		ValidateOnly: o.DryRun,
	}
	return changeAccess(ctx, c, op, req, rollcallv1.AccessClient.DeleteRole)
}

// ListRoles returns all roles: the built-in ones, then the others by name.
func (c *Client) ListRoles(ctx context.Context) (*rollcallv1.ListRolesResponse, error) {
	return readAccess(ctx, c, operation{name: "list roles"}, &rollcallv1.ListRolesRequest{}, rollcallv1.AccessClient.ListRoles)
}

// IdentityGrants is what PutGrants gives.
type IdentityGrants struct {
	Identity string // "cert:NAME" or "token:NAME"
	Grants   []*rollcallv1.Grant
	Denied   bool // it may do nothing, not even what anonymous callers may
}

// PutGrants gives an identity these grants, in place of all that it had; none takes all away.
func (c *Client) PutGrants(ctx context.Context, g IdentityGrants, o WriteOptions) (*rollcallv1.PutGrantsResponse, error) {
	op := c.writing("put grants", &o, isConditional(o.IfRevision))
	op.access = g.Identity
	if err := o.refuse(op, optionIfRevision); err != nil {
		return nil, err
	}
	req := &rollcallv1.PutGrantsRequest{
		Identity:     g.Identity,
		Grants:       slices.Clone(g.Grants),
		Denied:       g.Denied,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		ValidateOnly: o.DryRun,
	}
	return changeAccess(ctx, c, op, req, rollcallv1.AccessClient.PutGrants)
}

// ListGrantsOptions are of ListGrants. The zero value is useful.
type ListGrantsOptions struct {
	PageSize int    // 1,000 if 0; at most 10,000
	Identity string // only this one; "": all
	// AsOf, if not nil, is set to the revision that a page is as of, before its grants are given; also if there are
	// none.
	AsOf *int64
}

// ListGrants gives what identities were given, by identity. Pages, fail-over and errors are as for List.
func (c *Client) ListGrants(ctx context.Context, o ListGrantsOptions) iter.Seq2[*rollcallv1.IdentityGrants, error] {
	return func(yield func(*rollcallv1.IdentityGrants, error) bool) {
		req := &rollcallv1.ListGrantsRequest{Identity: o.Identity, PageSize: int32(min(o.PageSize, 1<<30))} // beyond every limit: for the node to refuse
		op := operation{name: "list grants", access: o.Identity}
		listAccess(ctx, c, op, req, rollcallv1.AccessClient.ListGrants, func(page *rollcallv1.ListGrantsResponse) bool {
			if o.AsOf != nil {
				*o.AsOf = page.GetRevision()
			}
			req.PageToken = page.GetNextPageToken()
			for _, g := range page.GetGrants() {
				if !yield(g, nil) {
					return false
				}
			}
			return true
		}, func(err error) { yield(nil, err) })
	}
}
