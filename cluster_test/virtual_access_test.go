package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

// guarded is a cluster whose nodes have an administrator of their own.
type guarded struct {
	*virtual
	root accesstoken.Token
}

func withAccess(t *testing.T, test func(t *testing.T, c *guarded)) {
	t.Helper()
	root := accesstoken.New()
	file := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(file, []byte(root.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	withLayers(t, func(cfg *node.Config) {
		cfg.AdminTokenFile = file
		likeInProduction(cfg)
	}, func(t *testing.T, c *virtual) {
		test(t, &guarded{c, root})
	})
}

// as is a call with a token.
func (c *guarded) as(t accesstoken.Token) context.Context {
	return metadata.AppendToOutgoingContext(c.patiently(), "authorization", "Bearer "+t.Text())
}

func (n *virtualNode) access() rollcallv1.AccessClient { return rollcallv1.NewAccessClient(n.dial()) }

// create makes a token with a role over patterns.
func (c *guarded) create(by context.Context, n *virtualNode, name, role string, patterns ...string) accesstoken.Token {
	c.t.Helper()
	token := accesstoken.New()
	sum := token.SHA256()
	_, err := n.access().CreateToken(by, &rollcallv1.CreateTokenRequest{
		Name: name, SecretSha256: sum[:], Grants: []*rollcallv1.Grant{{Role: role, Patterns: patterns}},
	})
	if err != nil {
		c.t.Fatalf("create %s: %v", name, err)
	}
	return token
}

func (c *guarded) enforce(by context.Context, n *virtualNode, anonymous string) {
	c.t.Helper()
	if _, err := n.access().SetAuth(by, &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: anonymous}); err != nil {
		c.t.Fatalf("enforce access: %v", err)
	}
}

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func (c *guarded) refused(what string, err error, code codes.Code, reason string) {
	c.t.Helper()
	if status.Code(err) != code || reasonOf(err) != reason {
		c.t.Errorf("%s: %v (%s), want %v (%s)", what, err, reasonOf(err), code, reason)
	}
}

func set(service string) *rollcallv1.SetServingStatusRequest {
	return &rollcallv1.SetServingStatusRequest{Service: service, Status: serving.Enum(), Actor: "ann"}
}

// TestVirtualARevokedTokenWritesNothing: while it writes through all nodes, one call at a time and by streams, and
// whether or not access is enforced. Its last event comes before the revoke's revision, and it is told so everywhere.
func TestVirtualARevokedTokenWritesNothing(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, enforced := range []bool{false, true} {
		t.Run(fmt.Sprintf("enforced %v", enforced), func(t *testing.T) {
			withAccess(t, func(t *testing.T, c *guarded) {
				leader := c.leader()
				token := c.create(c.as(c.root), leader, "ci", "reporter", "svc/*")
				if enforced {
					c.enforce(c.as(c.root), leader, "viewer")
				}
				ctx := metadata.AppendToOutgoingContext(c.ctx, "authorization", "Bearer "+token.Text())
				var written atomic.Int64
				var writers sync.WaitGroup
				ended := make(chan error, 2*len(c.nodes)) // one of each writer
				for i, n := range c.nodes {
					n.dial()
					writers.Go(func() {
						for k := 0; ; k++ {
							req := set(fmt.Sprintf("svc/%d", i))
							req.Reason = fmt.Sprint(k) // each changes something
							if _, err := n.admin().SetServingStatus(ctx, req); err != nil {
								ended <- fmt.Errorf("unary by %s: %w", n.cfg.Name, err)
								return
							}
							written.Add(1)
							time.Sleep(5 * time.Millisecond)
						}
					})
					writers.Go(func() {
						ended <- fmt.Errorf("stream by %s: %w", n.cfg.Name, c.writeByStream(ctx, n, fmt.Sprintf("svc/stream-%d", i), &written))
					})
				}
				time.Sleep(time.Second)
				before := written.Load()
				res, err := c.others(leader)[0].access().RevokeToken(c.as(c.root), &rollcallv1.RevokeTokenRequest{Name: "ci"})
				if err != nil {
					t.Fatal(err)
				}
				revoked := res.GetRevision()
				writers.Wait()
				close(ended)
				for err := range ended {
					if reason := reasonOf(errors.Unwrap(err)); reason != "TOKEN_REVOKED" {
						t.Errorf("a writer ended with %v (%s)", err, reason)
					}
				}
				count := 0
				for e, err := range c.clientFor(t).ListEvents(c.patiently(), client.ListEventsOptions{}) {
					if err != nil {
						t.Fatal(err)
					}
					if e.GetActor().GetName() != "token:ci" {
						continue
					}
					count++
					if e.GetRevision() >= revoked {
						t.Errorf("event %d is the token's, which was revoked at %d", e.GetRevision(), revoked)
					}
				}
				if before < 100 || count < int(before) {
					t.Errorf("%d writes were acknowledged before the revoke, and there are %d events: the test tests little", before, count)
				}
			})
		})
	}
}

// writeByStream writes until the stream ends or a write is refused.
func (c *guarded) writeByStream(ctx context.Context, n *virtualNode, service string, written *atomic.Int64) error {
	stream, err := n.admin().WriteStream(ctx)
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for k := uint64(1); ; k++ {
		req := set(service)
		req.Reason = fmt.Sprint(k)
		err := stream.Send(&rollcallv1.WriteStreamRequest{Writes: []*rollcallv1.StreamedWrite{{Id: k, Write: &rollcallv1.StreamedWrite_Set{Set: req}}}})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, r := range res.GetResults() {
			if e := r.GetError(); e != nil {
				return status.FromProto(e).Err()
			}
			written.Add(1)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestVirtualAccess walks through tokens, roles, grants and the setting, through all nodes of a real cluster.
func TestVirtualAccess(t *testing.T) {
	beside(t, ofVirtualTime)
	withAccess(t, func(t *testing.T, c *guarded) {
		leader := c.leader()
		followers := c.others(leader)
		anybody := c.patiently

		// While access is off everybody may do everything, and who proves to be somebody is the actor.
		ci := c.create(anybody(), leader, "ci", "reporter", "svc/*")
		for _, n := range c.nodes { // at once, on nodes that are behind, too
			res, err := n.admin().SetServingStatus(c.as(ci), set("svc/a"))
			if a := res.GetService().GetReport().GetActor(); err != nil || a.GetName() != "token:ci" || !a.GetVerified() || a.GetOnBehalfOf() != "ann" {
				t.Errorf("through %s: actor %v, %v", n.cfg.Name, a, err)
			}
		}
		_, err := followers[0].admin().SetServingStatus(c.as(accesstoken.New()), set("svc/a"))
		c.refused("an unknown token", err, codes.Unauthenticated, "TOKEN_UNKNOWN")

		// Who enables access stays an administrator.
		_, err = followers[0].access().SetAuth(anybody(), &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: "viewer"})
		c.refused("nobody enables access", err, codes.FailedPrecondition, "AUTH_LOCKOUT")
		_, err = followers[0].access().SetAuth(c.as(ci), &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: "viewer"})
		c.refused("a reporter enables access", err, codes.FailedPrecondition, "AUTH_LOCKOUT")
		boss := c.create(anybody(), followers[0], "boss", "admin", "*")
		c.enforce(c.as(boss), followers[1], "viewer")

		// Now the fold says who may write what, whichever node was asked.
		for _, n := range c.nodes {
			_, err := n.admin().SetServingStatus(anybody(), set("svc/a"))
			if status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.Unauthenticated {
				t.Errorf("anybody writes through %s: %v", n.cfg.Name, err)
			}
			if _, err := n.admin().SetServingStatus(c.as(ci), set("svc/b")); err != nil {
				t.Errorf("the reporter writes through %s: %v", n.cfg.Name, err)
			}
			_, err = n.admin().SetServingStatus(c.as(ci), set("pay"))
			c.refused("the reporter writes beyond its grant", err, codes.PermissionDenied, "DENIED")
			_, err = n.admin().SetOverride(c.as(ci), &rollcallv1.SetOverrideRequest{Pattern: "svc/a", Status: serving.Enum()})
			c.refused("the reporter overrides", err, codes.PermissionDenied, "DENIED")
			_, err = n.access().CreateToken(c.as(ci), &rollcallv1.CreateTokenRequest{Name: "x", SecretSha256: make([]byte, 32)})
			c.refused("the reporter makes a token", err, codes.PermissionDenied, "DENIED")
			_, err = n.access().ListTokens(c.as(ci), &rollcallv1.ListTokensRequest{})
			c.refused("the reporter lists tokens", err, codes.PermissionDenied, "DENIED")
			_, err = n.access().SetAuth(c.as(ci), &rollcallv1.SetAuthRequest{})
			c.refused("the reporter switches access off", err, codes.PermissionDenied, "DENIED")
		}

		// Who administers a part gives what he has, and no more.
		if _, err := leader.access().PutRole(c.as(boss), &rollcallv1.PutRoleRequest{Name: "team-lead", Verbs: []string{"read", "report", "auth"}}); err != nil {
			t.Fatal(err)
		}
		lead := c.create(c.as(boss), leader, "lead", "team-lead", "svc/*")
		c.create(c.as(lead), leader, "team", "reporter", "svc/x")
		sum := accesstoken.New().SHA256()
		for what, grant := range map[string]*rollcallv1.Grant{
			"beyond its patterns": {Role: "reporter", Patterns: []string{"*"}}, "beyond its verbs": {Role: "operator", Patterns: []string{"svc/x"}},
		} {
			_, err := followers[0].access().CreateToken(c.as(lead), &rollcallv1.CreateTokenRequest{Name: "more", SecretSha256: sum[:], Grants: []*rollcallv1.Grant{grant}})
			c.refused("the lead gives "+what, err, codes.PermissionDenied, "ESCALATION")
		}
		_, err = followers[0].access().RevokeToken(c.as(lead), &rollcallv1.RevokeTokenRequest{Name: "boss"})
		c.refused("the lead takes away what it has not", err, codes.PermissionDenied, "ESCALATION")

		// A request id belongs to who used it.
		once := set("svc/once")
		once.RequestId = "same"
		first, err := leader.admin().SetServingStatus(c.as(ci), once)
		if err != nil {
			t.Fatal(err)
		}
		again, err := followers[0].admin().SetServingStatus(c.as(ci), once)
		if err != nil || again.GetRevision() != first.GetRevision() {
			t.Errorf("the same request of the same caller: %v, %v; the first was %v", again, err, first)
		}
		other, err := followers[0].admin().SetServingStatus(c.as(lead), once)
		if err != nil || other.GetService().GetReport().GetActor().GetName() == "token:ci" && other.GetChanged() {
			t.Errorf("the same id of another caller: %v, %v", other, err)
		}

		// By its id, and once however often it is asked for.
		revoke := &rollcallv1.RevokeTokenRequest{Id: ci.ID(), RequestId: "revoke"}
		gone, err := followers[0].access().RevokeToken(c.as(boss), revoke)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			again, err := n.access().RevokeToken(c.as(boss), revoke)
			if err != nil || again.GetRevision() != gone.GetRevision() {
				t.Errorf("once more through %s: %v, %v; the first was %v", n.cfg.Name, again, err, gone)
			}
			_, err = n.admin().SetServingStatus(c.as(ci), set("svc/a"))
			c.refused("the revoked token", err, codes.Unauthenticated, "TOKEN_REVOKED")
		}
		_, err = leader.access().RevokeToken(c.as(boss), &rollcallv1.RevokeTokenRequest{Id: ci.ID()})
		c.refused("a token that is none", err, codes.NotFound, "NOT_FOUND")

		// Who is denied everything may nothing, granted or not.
		if _, err := leader.access().PutGrants(c.as(boss), &rollcallv1.PutGrantsRequest{
			Identity: "token:lead", Grants: []*rollcallv1.Grant{{Role: "team-lead", Patterns: []string{"svc/*"}}}, Denied: true,
		}); err != nil {
			t.Fatal(err)
		}
		_, err = followers[0].admin().SetServingStatus(c.as(lead), set("svc/a"))
		c.refused("who is denied everything", err, codes.PermissionDenied, "DENIED")

		// The last administrator cannot give that up, and one of a node's configuration comes back in.
		_, err = leader.access().RevokeToken(c.as(boss), &rollcallv1.RevokeTokenRequest{Name: "boss"})
		c.refused("the boss revokes itself", err, codes.FailedPrecondition, "AUTH_LOCKOUT")
		if _, err := leader.access().RevokeToken(c.as(c.root), &rollcallv1.RevokeTokenRequest{Name: "boss"}); err != nil {
			t.Errorf("an administrator of the configuration: %v", err)
		}
		if _, err := followers[1].access().SetAuth(c.as(c.root), &rollcallv1.SetAuthRequest{}); err != nil {
			t.Errorf("access off again: %v", err)
		}
		if _, err := followers[1].admin().SetServingStatus(anybody(), set("pay")); err != nil {
			t.Errorf("anybody writes again: %v", err)
		}
	})
}

// TestVirtualWhatAccessTells: the lists, who the caller is, and what it may do.
func TestVirtualWhatAccessTells(t *testing.T) {
	beside(t, ofVirtualTime)
	withAccess(t, func(t *testing.T, c *guarded) {
		n := c.leader()
		root := func() context.Context { return c.as(c.root) }
		var names []string
		tokens := map[string]accesstoken.Token{}
		for i := range 7 {
			name := fmt.Sprintf("t%d", i)
			names = append(names, name)
			tokens[name] = c.create(root(), n, name, "reporter", "svc/*", "pay")
		}
		who := func(ctx context.Context) *rollcallv1.WhoAmIResponse {
			t.Helper()
			res, err := n.access().WhoAmI(ctx, &rollcallv1.WhoAmIRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		grants := func(r *rollcallv1.WhoAmIResponse) string {
			var all []string
			for _, g := range r.GetGrants() {
				all = append(all, g.GetRole()+" "+strings.Join(g.GetPatterns(), ","))
			}
			return strings.Join(all, "; ")
		}
		if w := who(c.as(tokens["t1"])); w.GetIdentity() != "token:t1" || grants(w) != "admin *" || w.GetEnforced() || w.GetClusterId() == "" || w.GetRevision() == 0 {
			t.Errorf("while access is off: %v", w)
		}
		c.enforce(root(), n, "viewer")
		if w := who(c.as(tokens["t1"])); grants(w) != "reporter svc/*,pay; viewer *" || !w.GetEnforced() || w.GetHow() != "a token" || w.GetExpires() != nil {
			t.Errorf("a token: %v", w)
		}
		if w := who(c.patiently()); w.GetIdentity() != "anonymous" || grants(w) != "viewer *" || !strings.HasPrefix(w.GetHow(), "nothing") {
			t.Errorf("nobody: %v", w)
		}
		if w := who(root()); !strings.HasPrefix(w.GetIdentity(), "static:") || grants(w) != "admin *" {
			t.Errorf("an administrator of the configuration: %v", w)
		}

		for _, tt := range []struct {
			by                      context.Context
			verb, service, identity string
			allowed                 bool
			why                     string
		}{
			{c.as(tokens["t1"]), "report", "svc/a", "", true, "token:t1 has the role reporter over svc/*"},
			{c.as(tokens["t1"]), "report", "svc/*", "", true, "svc/*"},
			{c.as(tokens["t1"]), "report", "", "", false, "no grant of token:t1 allows to report"},
			{c.as(tokens["t1"]), "report", "other", "", false, "no grant of token:t1 allows to report other"},
			{c.as(tokens["t1"]), "read", "other", "", true, "everybody has the role viewer"},
			{c.as(tokens["t1"]), "status", "", "token:t1", true, "everybody has the role viewer"},
			{c.as(tokens["t1"]), "backup", "svc/a", "", false, "backup"},
			{c.as(tokens["t1"]), "read", "rollcall.live", "", true, "has the role"},
			{root(), "report", "svc/a", "token:t2", true, "token:t2 has the role reporter"},
			{root(), "report", "svc/a", "cert:web", false, "no grant of cert:web"},
			{root(), "auth", "*", "", true, "administrator of the configuration"},
			{root(), "report", "svc/a", "anonymous", false, "no grant of anonymous"},
			{c.patiently(), "report", "svc/a", "", false, "no grant of anonymous"},
		} {
			res, err := n.access().CheckAccess(tt.by, &rollcallv1.CheckAccessRequest{Verb: tt.verb, Service: tt.service, Identity: tt.identity})
			if err != nil || res.GetAllowed() != tt.allowed || !strings.Contains(res.GetWhy(), tt.why) || !res.GetEnforced() {
				t.Errorf("%s %s %s: %v, %v; want %v, %q", tt.verb, tt.service, tt.identity, res, err, tt.allowed, tt.why)
			}
		}
		_, err := n.access().CheckAccess(c.as(tokens["t1"]), &rollcallv1.CheckAccessRequest{Verb: "read", Identity: "token:t2"})
		c.refused("about another one", err, codes.PermissionDenied, "DENIED")

		var listed []string
		for page := ""; ; {
			res, err := n.access().ListTokens(root(), &rollcallv1.ListTokensRequest{PageSize: 3, PageToken: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range res.GetTokens() {
				listed = append(listed, token.GetName())
				if token.GetId() != tokens[token.GetName()].ID() || len(token.GetGrants()) != 1 || token.GetRevision() == 0 || !token.GetActor().GetVerified() {
					t.Errorf("%v", token)
				}
			}
			if page = res.GetNextPageToken(); page == "" {
				break
			}
		}
		if !slices.Equal(listed, names) {
			t.Errorf("listed %v, want %v", listed, names)
		}
		if _, err := n.access().PutRole(root(), &rollcallv1.PutRoleRequest{Name: "night", Verbs: []string{"override"}}); err != nil {
			t.Fatal(err)
		}
		roles, err := n.access().ListRoles(root(), &rollcallv1.ListRolesRequest{})
		var has []string
		for _, role := range roles.GetRoles() {
			has = append(has, fmt.Sprint(role.GetName(), " ", role.GetBuiltIn()))
		}
		if err != nil || !slices.Equal(has, []string{"viewer true", "reporter true", "operator true", "admin true", "night false"}) {
			t.Errorf("roles: %v, %v", has, err)
		}
		var identities []string
		for page := ""; ; {
			res, err := n.access().ListGrants(root(), &rollcallv1.ListGrantsRequest{PageSize: 2, PageToken: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range res.GetGrants() {
				identities = append(identities, strings.TrimPrefix(g.GetIdentity(), "token:"))
			}
			if page = res.GetNextPageToken(); page == "" {
				break
			}
		}
		if !slices.Equal(identities, names) {
			t.Errorf("identities with grants: %v, want %v", identities, names)
		}
		own, err := n.access().ListGrants(c.as(tokens["t3"]), &rollcallv1.ListGrantsRequest{Identity: "token:t3"})
		if err != nil || len(own.GetGrants()) != 1 || own.GetGrants()[0].GetIdentity() != "token:t3" {
			t.Errorf("its own grants: %v, %v", own, err)
		}
		auth, err := n.access().GetAuth(root(), &rollcallv1.GetAuthRequest{})
		if err != nil || !auth.GetAuth().GetEnforced() || auth.GetAuth().GetAnonymous() != "viewer" || auth.GetAuth().GetRevision() == 0 {
			t.Errorf("the setting: %v, %v", auth, err)
		}

		// What is the same once more changes nothing, and what is tried only changes nothing either.
		sum := tokens["t1"].SHA256()
		same, err := n.access().CreateToken(root(), &rollcallv1.CreateTokenRequest{Name: "t1", SecretSha256: sum[:]})
		if err != nil || same.GetChanged() || len(same.GetToken().GetGrants()) != 1 {
			t.Errorf("the same token: %v, %v", same, err)
		}
		other := accesstoken.New().SHA256()
		_, err = n.access().CreateToken(root(), &rollcallv1.CreateTokenRequest{Name: "t1", SecretSha256: other[:]})
		if status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.AlreadyExists {
			t.Errorf("another token of the name: %v", err)
		}
		at := n.status().GetRevision()
		dry, err := n.access().CreateToken(root(), &rollcallv1.CreateTokenRequest{Name: "dry", SecretSha256: other[:], ValidateOnly: true})
		if err != nil || !dry.GetChanged() || dry.GetToken().GetRevision() != 0 || dry.GetRevision() != 0 {
			t.Errorf("a dry run: %v, %v", dry, err)
		}
		if _, err := n.access().PutGrants(root(), &rollcallv1.PutGrantsRequest{Identity: "cert:none"}); err != nil {
			t.Errorf("to take nothing from nobody: %v", err)
		}
		if now := n.status().GetRevision(); now != at {
			t.Errorf("the revision is %d, and was %d", now, at)
		}
	})
}
