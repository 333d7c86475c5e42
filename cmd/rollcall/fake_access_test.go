package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// fakeAccess is what a fake knows of who may do what; its mutex guards it.
type fakeAccess struct {
	auth   *rollcallv1.Auth
	tokens map[string]*rollcallv1.Token
	roles  map[string]*rollcallv1.AccessRole
	grants map[string]*rollcallv1.IdentityGrants
	asked  []proto.Message // requests of changes, in order
	// before is called once, before the next change is looked at: somebody else changes something.
	before   func()
	filtered bool // answers leave something out
	me       *rollcallv1.WhoAmIResponse
	seen     []string // the authorization of each call of Access
}

func newFakeAccess() fakeAccess {
	return fakeAccess{
		auth: &rollcallv1.Auth{}, tokens: map[string]*rollcallv1.Token{}, roles: map[string]*rollcallv1.AccessRole{}, grants: map[string]*rollcallv1.IdentityGrants{},
		me: &rollcallv1.WhoAmIResponse{Identity: "anonymous", How: "nothing: no token and no certificate", ClusterId: "3f9a0000"},
	}
}

// asks begins a change.
func (f *fake) asks(ctx context.Context, req proto.Message) error {
	f.access.asked = append(f.access.asked, req)
	f.calls(ctx)
	if before := f.access.before; before != nil {
		f.access.before = nil
		before()
	}
	return f.refuse
}

// calls notes who calls.
func (f *fake) calls(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	f.access.seen = append(f.access.seen, strings.Join(md.Get("authorization"), " "))
}

func mismatch(asked *int64, current int64) error {
	if asked == nil || *asked == current {
		return nil
	}
	return refusal(codes.FailedPrecondition, reasonRevisionMismatch, "it has another revision", map[string]string{"current_revision": fmt.Sprint(current), "written": "no"})
}

func (f *fake) by(actor string) *rollcallv1.Actor {
	return &rollcallv1.Actor{Name: "token:admin", Verified: true, OnBehalfOf: actor, Peer: "127.0.0.1:4711"}
}

func (f *fake) accessChanged(c *rollcallv1.AccessChange, actor *rollcallv1.Actor, reason string) {
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED,
		Time: timestamppb.New(timeOf(f.revision)), Actor: actor, Reason: reason, Access: c,
	})
}

func (f *fake) WhoAmI(ctx context.Context, _ *rollcallv1.WhoAmIRequest) (*rollcallv1.WhoAmIResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls(ctx)
	if f.unread != nil {
		return nil, f.unread
	}
	return f.access.me, nil
}

func (f *fake) CheckAccess(_ context.Context, req *rollcallv1.CheckAccessRequest) (*rollcallv1.CheckAccessResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return nil, f.unread
	}
	verb, _ := access.Verb(req.GetVerb())
	over := req.GetService()
	if over == "" {
		over = "*"
	}
	resp := &rollcallv1.CheckAccessResponse{Why: "no grant of " + req.GetIdentity() + " allows it", Enforced: f.access.auth.GetEnforced(), Revision: f.revision, ClusterId: "3f9a"}
	for _, g := range f.access.grants[req.GetIdentity()].GetGrants() {
		has, _ := access.BuiltIn(g.GetRole())
		for _, p := range g.GetPatterns() {
			if has&verb != 0 && pattern.Contains(p, over) {
				resp.Allowed, resp.Why = true, "its grant "+g.GetRole()+" on "+p
			}
		}
	}
	return resp, nil
}

func (f *fake) GetAuth(context.Context, *rollcallv1.GetAuthRequest) (*rollcallv1.GetAuthResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &rollcallv1.GetAuthResponse{Auth: f.access.auth, Revision: f.revision, ClusterId: "3f9a"}, f.unread
}

func (f *fake) SetAuth(ctx context.Context, req *rollcallv1.SetAuthRequest) (*rollcallv1.SetAuthResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	before := f.access.auth
	if err := mismatch(req.IfRevision, before.GetRevision()); err != nil {
		return nil, err
	}
	resp := &rollcallv1.SetAuthResponse{Auth: before, Revision: f.revision, ClusterId: "3f9a"}
	if before.GetRevision() > 0 && before.GetEnforced() == req.GetEnforced() && before.GetAnonymous() == req.GetAnonymous() {
		return resp, nil
	}
	resp.Auth, resp.Changed = &rollcallv1.Auth{Enforced: req.GetEnforced(), Anonymous: req.GetAnonymous(), Reason: req.GetReason(), Actor: f.by(req.GetActor()), Time: timestamppb.New(reported)}, true
	if req.GetValidateOnly() {
		return resp, nil
	}
	f.revision++
	resp.Auth.Revision, resp.Revision, f.access.auth = f.revision, f.revision, resp.Auth
	f.accessChanged(&rollcallv1.AccessChange{Auth: resp.Auth}, resp.Auth.GetActor(), req.GetReason())
	return resp, nil
}

func (f *fake) CreateToken(ctx context.Context, req *rollcallv1.CreateTokenRequest) (*rollcallv1.CreateTokenResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	for _, g := range req.GetGrants() {
		if _, ok := access.BuiltIn(g.GetRole()); !ok && f.access.roles[g.GetRole()] == nil {
			return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("role %q does not exist", g.GetRole()), map[string]string{"name": g.GetRole()})
		}
	}
	id := hex.EncodeToString(req.GetSecretSha256()[:8])
	resp := &rollcallv1.CreateTokenResponse{Token: f.access.tokens[req.GetName()], Revision: f.revision, ClusterId: "3f9a"}
	if resp.Token.GetId() == id {
		return resp, nil
	}
	resp.Changed = true
	resp.Token = &rollcallv1.Token{
		Name: req.GetName(), Id: id, Description: req.GetDescription(), Grants: req.GetGrants(), Reason: req.GetReason(), Actor: f.by(req.GetActor()), Time: timestamppb.New(reported),
	}
	if ttl := req.GetTtl(); ttl != nil {
		resp.Token.ExpireTime = timestamppb.New(reported.Add(ttl.AsDuration()))
	}
	if req.GetValidateOnly() {
		return resp, nil
	}
	f.revision++
	resp.Token.Revision, resp.Revision, f.access.tokens[req.GetName()] = f.revision, f.revision, resp.Token
	shown := proto.CloneOf(resp.Token)
	shown.Grants = nil
	f.accessChanged(&rollcallv1.AccessChange{Token: shown}, resp.Token.GetActor(), req.GetReason())
	f.give(&rollcallv1.IdentityGrants{Identity: "token:" + req.GetName(), Grants: req.GetGrants(), Reason: req.GetReason(), Actor: resp.Token.GetActor(), Time: timestamppb.New(reported)})
	return resp, nil
}

func (f *fake) RevokeToken(ctx context.Context, req *rollcallv1.RevokeTokenRequest) (*rollcallv1.RevokeTokenResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	name := req.GetName()
	for _, t := range f.access.tokens {
		if t.GetId() == req.GetId() {
			name = t.GetName()
		}
	}
	if f.access.tokens[name] == nil && !req.GetAllowMissing() {
		return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("token %q does not exist", name), map[string]string{"name": name})
	}
	if req.GetValidateOnly() {
		return &rollcallv1.RevokeTokenResponse{Revision: f.revision}, nil
	}
	f.revision++
	delete(f.access.tokens, name)
	delete(f.access.grants, "token:"+name)
	f.accessChanged(&rollcallv1.AccessChange{Deleted: true, Token: &rollcallv1.Token{Name: name}}, f.by(req.GetActor()), req.GetReason())
	return &rollcallv1.RevokeTokenResponse{Revision: f.revision, ClusterId: "3f9a"}, nil
}

func (f *fake) ListTokens(ctx context.Context, req *rollcallv1.ListTokensRequest) (*rollcallv1.ListTokensResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls(ctx)
	resp := &rollcallv1.ListTokensResponse{Revision: f.revision, ClusterId: "3f9a"}
	for _, name := range slices.Sorted(maps.Keys(f.access.tokens)) {
		switch {
		case name <= req.GetPageToken():
		case len(resp.Tokens) == 1: // a page of one, so that commands turn pages
			resp.NextPageToken = resp.GetTokens()[0].GetName()
		default:
			resp.Tokens = append(resp.Tokens, f.access.tokens[name])
		}
	}
	return resp, f.unread
}

func (f *fake) PutRole(ctx context.Context, req *rollcallv1.PutRoleRequest) (*rollcallv1.PutRoleResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	before := f.access.roles[req.GetName()]
	if err := mismatch(req.IfRevision, before.GetRevision()); err != nil {
		return nil, err
	}
	resp := &rollcallv1.PutRoleResponse{Role: before, Revision: f.revision, ClusterId: "3f9a"}
	if before != nil && slices.Equal(before.GetVerbs(), req.GetVerbs()) {
		return resp, nil
	}
	resp.Role, resp.Changed = &rollcallv1.AccessRole{Name: req.GetName(), Verbs: req.GetVerbs(), Reason: req.GetReason(), Actor: f.by(req.GetActor()), Time: timestamppb.New(reported)}, true
	if req.GetValidateOnly() {
		return resp, nil
	}
	f.revision++
	resp.Role.Revision, resp.Revision, f.access.roles[req.GetName()] = f.revision, f.revision, resp.Role
	f.accessChanged(&rollcallv1.AccessChange{Role: resp.Role}, resp.Role.GetActor(), req.GetReason())
	return resp, nil
}

func (f *fake) DeleteRole(ctx context.Context, req *rollcallv1.DeleteRoleRequest) (*rollcallv1.DeleteRoleResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	if f.access.roles[req.GetName()] == nil && !req.GetAllowMissing() {
		return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("role %q does not exist", req.GetName()), map[string]string{"name": req.GetName()})
	}
	if !req.GetValidateOnly() {
		f.revision++
		delete(f.access.roles, req.GetName())
		f.accessChanged(&rollcallv1.AccessChange{Deleted: true, Role: &rollcallv1.AccessRole{Name: req.GetName()}}, f.by(req.GetActor()), req.GetReason())
	}
	return &rollcallv1.DeleteRoleResponse{Revision: f.revision, ClusterId: "3f9a"}, nil
}

func (f *fake) ListRoles(context.Context, *rollcallv1.ListRolesRequest) (*rollcallv1.ListRolesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &rollcallv1.ListRolesResponse{Revision: f.revision, ClusterId: "3f9a"}
	for _, name := range []string{access.Viewer, access.Reporter, access.Operator, access.Admin} {
		verbs, _ := access.BuiltIn(name)
		resp.Roles = append(resp.Roles, &rollcallv1.AccessRole{Name: name, Verbs: verbs.Names(), BuiltIn: true})
	}
	for _, name := range slices.Sorted(maps.Keys(f.access.roles)) {
		resp.Roles = append(resp.Roles, f.access.roles[name])
	}
	return resp, f.unread
}

func (f *fake) PutGrants(ctx context.Context, req *rollcallv1.PutGrantsRequest) (*rollcallv1.PutGrantsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.asks(ctx, req); err != nil {
		return nil, err
	}
	if err := mismatch(req.IfRevision, f.access.grants[req.GetIdentity()].GetRevision()); err != nil {
		return nil, err
	}
	g := &rollcallv1.IdentityGrants{
		Identity: req.GetIdentity(), Grants: req.GetGrants(), Denied: req.GetDenied(), Reason: req.GetReason(), Actor: f.by(req.GetActor()), Time: timestamppb.New(reported),
	}
	if !req.GetValidateOnly() {
		f.revision++
		f.give(g)
	}
	return &rollcallv1.PutGrantsResponse{Grants: g, Changed: true, Revision: f.revision, ClusterId: "3f9a"}, nil
}

// give sets grants at the revision of now.
func (f *fake) give(g *rollcallv1.IdentityGrants) {
	g.Revision = f.revision
	if len(g.GetGrants()) == 0 && !g.GetDenied() {
		delete(f.access.grants, g.GetIdentity())
		f.accessChanged(&rollcallv1.AccessChange{Deleted: true, Grants: &rollcallv1.IdentityGrants{Identity: g.GetIdentity()}}, g.GetActor(), g.GetReason())
		return
	}
	f.access.grants[g.GetIdentity()] = g
	f.accessChanged(&rollcallv1.AccessChange{Grants: g}, g.GetActor(), g.GetReason())
}

func (f *fake) ListGrants(ctx context.Context, req *rollcallv1.ListGrantsRequest) (*rollcallv1.ListGrantsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls(ctx)
	resp := &rollcallv1.ListGrantsResponse{Revision: f.revision, ClusterId: "3f9a"}
	for _, name := range slices.Sorted(maps.Keys(f.access.grants)) {
		switch {
		case req.GetIdentity() != "" && req.GetIdentity() != name, name <= req.GetPageToken():
		case len(resp.Grants) == 1:
			resp.NextPageToken = resp.GetGrants()[0].GetIdentity()
		default:
			resp.Grants = append(resp.Grants, f.access.grants[name])
		}
	}
	return resp, f.unread
}

// tellFiltered says of all answers that they leave something out, if the fake is told to.
func (f *fake) tellFiltered(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.access.filtered {
		grpc.SetHeader(ctx, metadata.Pairs(filteredKey, "true"))
	}
}

func (f *fake) unaryFilter(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	f.tellFiltered(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	f.seen.Store(strings.Join(md.Get("authorization"), " "))
	return handle(ctx, req)
}

func (f *fake) streamFilter(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	f.tellFiltered(s.Context())
	return handle(srv, s)
}
