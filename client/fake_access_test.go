package client_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// access is what a fakeCluster knows of its callers. It is guarded by fakeCluster.mu.
type access struct {
	enforced bool              // calls need a token
	refused  map[string]string // reason why a token is refused, by its text
	denied   map[string]bool   // tokens that may not do anything
	changed  int               // streams that are filtered end when it grows
	filtered bool              // answers show less than there is
	forbids  string            // a service that nobody may report
	open     map[string]int    // streams, by method
	used     []string          // "METHOD ID": the calls, and the token that came with each; "-": none

	tokens []*rollcallv1.Token
	grants []*rollcallv1.IdentityGrants
}

// refusal says why the fake refuses a caller; nil if it does not. f.mu is held.
func (a *access) refusal(text string) error {
	switch {
	case !a.enforced:
		return nil
	case text == "":
		return refusal(codes.Unauthenticated, client.ReasonNoCredentials, map[string]string{"written": "no"})
	case a.refused[text] != "":
		return refusal(codes.Unauthenticated, a.refused[text], map[string]string{"written": "no"})
	case a.denied[text]:
		return refusal(codes.PermissionDenied, client.ReasonDenied, map[string]string{"written": "no", "identity": "token:ci", "verb": "report", "name": "shop/cart"})
	}
	return nil
}

// enterAs notes a call's token. It returns the token's text.
func (n *fakeNode) enterAs(ctx context.Context, method string) (string, error) {
	text := ""
	if v := metadata.ValueFromIncomingContext(ctx, "authorization"); len(v) > 0 {
		text = strings.TrimPrefix(v[0], "Bearer ")
	}
	id := "-"
	if token, err := accesstoken.Parse(text); err == nil {
		id = token.ID()
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	a := &n.cluster.access
	a.used = append(a.used, method[strings.LastIndex(method, "/")+1:]+" "+id)
	return text, a.refusal(text)
}

func (n *fakeNode) authenticateCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if _, err := n.enterAs(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	filtered := n.cluster.access.filtered
	n.cluster.mu.Unlock()
	if filtered {
		_ = grpc.SetHeader(ctx, metadata.Pairs("rollcall-filtered", "true"))
	}
	return handle(ctx, req)
}

// authenticateStream ends the stream when its caller is refused, or when what the caller may read has changed.
func (n *fakeNode) authenticateStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	text, err := n.enterAs(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	n.cluster.mu.Lock()
	a := &n.cluster.access
	before, filtered := a.changed, a.filtered
	n.cluster.mu.Unlock()
	if filtered {
		_ = stream.SetHeader(metadata.Pairs("rollcall-filtered", "true"))
	}
	f, method := n.cluster, info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	f.openStreams(method, 1)
	defer f.openStreams(method, -1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n.cluster.mu.Lock()
			refused, changed := a.refusal(text), n.cluster.changed
			if refused == nil && filtered && a.changed != before {
				refused = refusal(codes.Unavailable, client.ReasonAccessChanged, nil)
			}
			n.cluster.mu.Unlock()
			if refused != nil {
				cancel(refused)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	err = handle(srv, &authenticatedStream{stream, ctx})
	if cause := context.Cause(ctx); cause != nil && stream.Context().Err() == nil {
		err = cause
	}
	cancel(nil)
	<-done
	return err
}

// openStreams counts the open streams of a method, and returns how many there are.
func (f *fakeCluster) openStreams(method string, more int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.access.open == nil {
		f.access.open = map[string]int{}
	}
	f.access.open[method] += more
	return f.access.open[method]
}

type authenticatedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *authenticatedStream) Context() context.Context { return s.ctx }

// used are the calls of a method, as access.used has them.
func (f *fakeCluster) used(method string) (found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.access.used {
		if strings.HasPrefix(u, method+" ") {
			found = append(found, u)
		}
	}
	return found
}

// allUsed are all calls, as access.used has them.
func (f *fakeCluster) allUsed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.access.used)
}

// startGuarded is startBuffered of nodes that need a token, and take all but those that are refused.
func startGuarded(t *testing.T, count int) *fakeCluster {
	t.Helper()
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("127.0.0.1:%d", i+1))
	}
	f := newCluster(names...)
	f.access = access{enforced: true, refused: map[string]string{}, denied: map[string]bool{}}
	for _, n := range f.nodes {
		n.start()
	}
	t.Cleanup(f.stop)
	return f
}

// refuse has a token refused from now on; reason "": not any more.
func (f *fakeCluster) refuse(token accesstoken.Token, reason string) {
	f.do(func() { f.access.refused[token.Text()] = reason })
}

// tokenFile is a file of a token that tests exchange.
type tokenFile struct {
	t    *testing.T
	path string
}

func newTokenFile(t *testing.T) (tokenFile, accesstoken.Token) {
	t.Helper()
	f := tokenFile{t, filepath.Join(t.TempDir(), "token")}
	return f, f.exchange()
}

// exchange puts another token into the file.
func (f tokenFile) exchange() accesstoken.Token {
	f.t.Helper()
	token := accesstoken.New()
	f.write(token.Text()+"\n", 0o600)
	return token
}

func (f tokenFile) write(text string, mode os.FileMode) {
	f.t.Helper()
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chmod(next, mode); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, f.path); err != nil {
		f.t.Fatal(err)
	}
}

// guardedClient carries the token of a file.
func (f *fakeCluster) guardedClient(t *testing.T, file tokenFile) *client.Client {
	t.Helper()
	cfg := f.config()
	cfg.TokenFile = file.path
	return newClient(t, cfg)
}

// The calls of Access. Changes go the way of all changes; what the fake answers is what it was asked.

func (n *fakeNode) WhoAmI(ctx context.Context, req *rollcallv1.WhoAmIRequest) (*rollcallv1.WhoAmIResponse, error) {
	if err := n.enter(ctx, "WhoAmI", req); err != nil {
		return nil, err
	}
	return &rollcallv1.WhoAmIResponse{Identity: "token:ci", How: "a token", ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) CheckAccess(ctx context.Context, req *rollcallv1.CheckAccessRequest) (*rollcallv1.CheckAccessResponse, error) {
	if err := n.enter(ctx, "CheckAccess", req); err != nil {
		return nil, err
	}
	return &rollcallv1.CheckAccessResponse{Allowed: true, Why: "a grant", ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) GetAuth(ctx context.Context, req *rollcallv1.GetAuthRequest) (*rollcallv1.GetAuthResponse, error) {
	if err := n.enter(ctx, "GetAuth", req); err != nil {
		return nil, err
	}
	return &rollcallv1.GetAuthResponse{Auth: &rollcallv1.Auth{Enforced: true}, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) SetAuth(ctx context.Context, req *rollcallv1.SetAuthRequest) (*rollcallv1.SetAuthResponse, error) {
	revision, err := n.change(ctx, "SetAuth", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.SetAuthResponse{Changed: true, Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) CreateToken(ctx context.Context, req *rollcallv1.CreateTokenRequest) (*rollcallv1.CreateTokenResponse, error) {
	revision, err := n.change(ctx, "CreateToken", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.CreateTokenResponse{Token: &rollcallv1.Token{Name: req.GetName()}, Changed: true, Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) RevokeToken(ctx context.Context, req *rollcallv1.RevokeTokenRequest) (*rollcallv1.RevokeTokenResponse, error) {
	revision, err := n.change(ctx, "RevokeToken", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.RevokeTokenResponse{Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) PutRole(ctx context.Context, req *rollcallv1.PutRoleRequest) (*rollcallv1.PutRoleResponse, error) {
	revision, err := n.change(ctx, "PutRole", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.PutRoleResponse{Changed: true, Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) DeleteRole(ctx context.Context, req *rollcallv1.DeleteRoleRequest) (*rollcallv1.DeleteRoleResponse, error) {
	revision, err := n.change(ctx, "DeleteRole", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.DeleteRoleResponse{Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) ListRoles(ctx context.Context, req *rollcallv1.ListRolesRequest) (*rollcallv1.ListRolesResponse, error) {
	if err := n.enter(ctx, "ListRoles", req); err != nil {
		return nil, err
	}
	return &rollcallv1.ListRolesResponse{Roles: []*rollcallv1.AccessRole{{Name: "viewer", BuiltIn: true}}, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) PutGrants(ctx context.Context, req *rollcallv1.PutGrantsRequest) (*rollcallv1.PutGrantsResponse, error) {
	revision, err := n.change(ctx, "PutGrants", req, req.GetValidateOnly(), nil, event{})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.PutGrantsResponse{Changed: true, Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) ListTokens(ctx context.Context, req *rollcallv1.ListTokensRequest) (*rollcallv1.ListTokensResponse, error) {
	if err := n.enter(ctx, "ListTokens", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	resp := &rollcallv1.ListTokensResponse{Revision: n.applied, ClusterId: n.cluster.id}
	resp.Tokens, resp.NextPageToken = pageOf(n.cluster.access.tokens, (*rollcallv1.Token).GetName, req)
	return resp, nil
}

func (n *fakeNode) ListGrants(ctx context.Context, req *rollcallv1.ListGrantsRequest) (*rollcallv1.ListGrantsResponse, error) {
	if err := n.enter(ctx, "ListGrants", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	resp := &rollcallv1.ListGrantsResponse{Revision: n.applied, ClusterId: n.cluster.id}
	resp.Grants, resp.NextPageToken = pageOf(n.cluster.access.grants, (*rollcallv1.IdentityGrants).GetIdentity, req)
	return resp, nil
}

// pageOf is a page of a list that is in the order of its names.
func pageOf[T any](all []T, name func(T) string, req interface {
	GetPageSize() int32
	GetPageToken() string
}) (page []T, next string) {
	from := slices.IndexFunc(all, func(x T) bool { return name(x) > req.GetPageToken() })
	if from < 0 {
		return nil, ""
	}
	page = all[from:]
	if size := int(req.GetPageSize()); size > 0 && len(page) > size {
		page = page[:size]
		next = name(page[size-1])
	}
	return page, next
}
