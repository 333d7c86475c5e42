package server

import (
	"context"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// accessService implements rollcall.v1.Access. Changes go the way of all changes: the fold says whether their caller may
// make them. What is read is read from this node's registry.
type accessService struct {
	rollcallv1.UnimplementedAccessServer
	freshness.Reads
	*admin
	source Access
	// private says that nobody on the way can read the tokens that callers send to this node.
	private bool
}

// CreateToken implements rollcall.v1.Access.
func (s *accessService) CreateToken(ctx context.Context, req *rollcallv1.CreateTokenRequest) (res *rollcallv1.CreateTokenResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.CreateToken", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateCreateToken(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Create{Create: &logv1.CreateToken{
		Name:         req.GetName(),
		SecretSha256: req.GetSecretSha256(),
		Ttl:          int64(req.GetTtl().AsDuration()),
		Description:  req.GetDescription(),
		Grants:       convert.LogGrants(req.GetGrants()),
	}}})
	if err != nil {
		return nil, err
	}
	var token logv1.Token
	if err := c.read(s.node, logv1.Kind_KIND_TOKEN, &token); err != nil {
		return nil, err
	}
	res = &rollcallv1.CreateTokenResponse{
		Token:     convert.Token(req.GetName(), &token, nil),
		Changed:   c.changed(logv1.Kind_KIND_TOKEN),
		Revision:  c.result.GetRevision(),
		ClusterId: s.registry.ClusterID(),
	}
	res.Token.Grants = req.GetGrants()
	if !res.Changed { // what it was granted since then
		granted, _ := s.source.GetGrants(limits.TokenIdentity + req.GetName())
		res.Token.Grants = granted.GetGrants()
	}
	if req.GetValidateOnly() && res.Changed {
		res.Token.Revision, res.Token.Time = 0, nil // only a token that is made has these
	}
	return res, nil
}

// RevokeToken implements rollcall.v1.Access.
func (s *accessService) RevokeToken(ctx context.Context, req *rollcallv1.RevokeTokenRequest) (res *rollcallv1.RevokeTokenResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.RevokeToken", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateRevokeToken(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{
		Name:         req.GetName(),
		Id:           req.GetId(),
		AllowMissing: req.GetAllowMissing(),
	}}})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.RevokeTokenResponse{Revision: c.result.GetRevision(), ClusterId: s.registry.ClusterID()}, nil
}

// PutRole implements rollcall.v1.Access.
func (s *accessService) PutRole(ctx context.Context, req *rollcallv1.PutRoleRequest) (res *rollcallv1.PutRoleResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.PutRole", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	verbs, err := validatePutRole(req)
	if err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Put{Put: &logv1.PutRole{
		Name: req.GetName(), Verbs: uint32(verbs), IfRevision: req.IfRevision,
	}}})
	if err != nil {
		return nil, err
	}
	var role logv1.Role
	if err := c.read(s.node, logv1.Kind_KIND_ROLE, &role); err != nil {
		return nil, err
	}
	res = &rollcallv1.PutRoleResponse{
		Role:      convert.Role(req.GetName(), &role),
		Changed:   c.changed(logv1.Kind_KIND_ROLE),
		Revision:  c.result.GetRevision(),
		ClusterId: s.registry.ClusterID(),
	}
	if req.GetValidateOnly() && res.Changed {
		res.Role.Revision, res.Role.Time = 0, nil
	}
	return res, nil
}

// DeleteRole implements rollcall.v1.Access.
func (s *accessService) DeleteRole(ctx context.Context, req *rollcallv1.DeleteRoleRequest) (res *rollcallv1.DeleteRoleResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.DeleteRole", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateDeleteRole(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Delete{Delete: &logv1.DeleteRole{
		Name: req.GetName(), IfRevision: req.IfRevision, AllowMissing: req.GetAllowMissing(),
	}}})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.DeleteRoleResponse{Revision: c.result.GetRevision(), ClusterId: s.registry.ClusterID()}, nil
}

// PutGrants implements rollcall.v1.Access.
func (s *accessService) PutGrants(ctx context.Context, req *rollcallv1.PutGrantsRequest) (res *rollcallv1.PutGrantsResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.PutGrants", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validatePutGrants(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_GRANTS, &logv1.PutGrants{
		Identity: req.GetIdentity(), Grants: convert.LogGrants(req.GetGrants()), Denied: req.GetDenied(), IfRevision: req.IfRevision,
	})
	if err != nil {
		return nil, err
	}
	res = &rollcallv1.PutGrantsResponse{
		Grants:    &rollcallv1.IdentityGrants{Identity: req.GetIdentity()},
		Changed:   c.changed(logv1.Kind_KIND_GRANTS),
		Revision:  c.result.GetRevision(),
		ClusterId: s.registry.ClusterID(),
	}
	if record := c.record(logv1.Kind_KIND_GRANTS); record != nil && !record.GetDeleted() {
		var granted logv1.Grants
		if err := c.read(s.node, logv1.Kind_KIND_GRANTS, &granted); err != nil {
			return nil, err
		}
		res.Grants = convert.IdentityGrants(req.GetIdentity(), &granted)
	}
	if req.GetValidateOnly() && res.Changed {
		res.Grants.Revision, res.Grants.Time = 0, nil
	}
	return res, nil
}

// SetAuth implements rollcall.v1.Access.
func (s *accessService) SetAuth(ctx context.Context, req *rollcallv1.SetAuthRequest) (res *rollcallv1.SetAuthResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.SetAuth", true, &err)
	caller, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateSetAuth(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	if req.GetEnforced() && !s.private {
		return nil, rpcerror.ToStatus(s.node, &rpcerror.Failure{
			Reason:  rpcerror.ReasonTLSRequired,
			Message: "not written: this node's API port takes plain text from other machines, so tokens could be read on the way; give it certificates first (--tls permissive or required)",
			Meta:    map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo},
		})
	}
	c, err := s.change(ctx, caller, req, logv1.Kind_KIND_AUTH, &logv1.SetAuth{
		Enforced: req.GetEnforced(), Anonymous: req.GetAnonymous(), IfRevision: req.IfRevision,
	})
	if err != nil {
		return nil, err
	}
	var auth logv1.Auth
	if err := c.read(s.node, logv1.Kind_KIND_AUTH, &auth); err != nil {
		return nil, err
	}
	res = &rollcallv1.SetAuthResponse{
		Auth:      convert.Auth(&auth),
		Changed:   c.changed(logv1.Kind_KIND_AUTH),
		Revision:  c.result.GetRevision(),
		ClusterId: s.registry.ClusterID(),
	}
	if req.GetValidateOnly() && res.Changed {
		res.Auth.Revision, res.Auth.Time = 0, nil
	}
	return res, nil
}

// accessChange is what became of a command about access. It has one record of each kind at most.
type accessChange struct{ result *logv1.Result }

// change routes a command about access. The error is a status.
func (s *accessService) change(ctx context.Context, caller *authn.Caller, req changeRequest, kind logv1.Kind, payload payload) (accessChange, error) {
	b, err := payload.MarshalVT()
	if err != nil {
		return accessChange{}, rpcerror.ToStatus(s.node, rpcerror.NotWritten("%w", err))
	}
	cmd := command(caller, req)
	cmd.Kind = &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: b}}
	result, err := s.propose(ctx, cmd, req.GetValidateOnly())
	return accessChange{result}, err
}

// record is what became of the record of a kind; nil: it was not there, and is not.
func (c accessChange) record(kind logv1.Kind) *logv1.RecordResult {
	for _, r := range c.result.GetRecords() {
		if r.GetKind() == kind {
			return r
		}
	}
	return nil
}

func (c accessChange) changed(kind logv1.Kind) bool { return c.record(kind).GetChanged() }

// read reads the record of a kind. The error is a status.
func (c accessChange) read(node string, kind logv1.Kind, into interface{ UnmarshalVT([]byte) error }) error {
	record := c.record(kind)
	if record == nil {
		return rpcerror.ToStatus(node, rpcerror.OutcomeUnknown("the leader's answer does not say what became of the change"))
	}
	if err := into.UnmarshalVT(record.GetValue()); err != nil {
		return rpcerror.ToStatus(node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
	}
	return nil
}
