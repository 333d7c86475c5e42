package client_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// Every option of the calls of Access reaches the node.
func TestAccessCallsAskForWhatTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx := t.Context()
		five := int64(5)
		plain := client.WriteOptions{Reason: "why", Actor: "who", RequestID: "id", DryRun: true}
		conditional, removal := plain, plain
		conditional.IfRevision, removal.AllowMissing = &five, true
		both := conditional
		both.AllowMissing = true
		grants := []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*"}}}
		secret := accesstoken.New()
		sum := secret.SHA256()
		for _, test := range []struct {
			method string
			do     func() error
			want   proto.Message
		}{
			{"WhoAmI", func() error { _, err := c.WhoAmI(ctx); return err }, &rollcallv1.WhoAmIRequest{}},
			{"CheckAccess", func() error {
				_, err := c.CheckAccess(ctx, client.AccessQuestion{Verb: "report", Service: "shop/cart", Identity: "token:ci"})
				return err
			}, &rollcallv1.CheckAccessRequest{Verb: "report", Service: "shop/cart", Identity: "token:ci"}},
			{"GetAuth", func() error { _, err := c.GetAuth(ctx); return err }, &rollcallv1.GetAuthRequest{}},
			{"SetAuth", func() error {
				_, err := c.SetAuth(ctx, client.AuthSetting{Enforced: true, Anonymous: "viewer"}, conditional)
				return err
			}, &rollcallv1.SetAuthRequest{
				Enforced: true, Anonymous: "viewer", Reason: "why", Actor: "who", RequestId: "id", IfRevision: &five, ValidateOnly: true,
			}},
			{"CreateToken", func() error {
				_, _, err := c.CreateToken(ctx, client.NewToken{Name: "ci", Grants: grants, TTL: time.Hour, Description: "of the pipeline", Secret: secret}, plain)
				return err
			}, &rollcallv1.CreateTokenRequest{
				Name: "ci", Grants: grants, Ttl: durationpb.New(time.Hour), Description: "of the pipeline", SecretSha256: sum[:],
				Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
			}},
			{"RevokeToken", func() error { _, err := c.RevokeToken(ctx, "ci", removal); return err }, &rollcallv1.RevokeTokenRequest{
				Name: "ci", Reason: "why", Actor: "who", RequestId: "id", AllowMissing: true, ValidateOnly: true,
			}},
			{"RevokeToken", func() error { _, err := c.RevokeTokenID(ctx, secret.ID(), plain); return err }, &rollcallv1.RevokeTokenRequest{
				Id: secret.ID(), Reason: "why", Actor: "who", RequestId: "id", ValidateOnly: true,
			}},
			{"PutRole", func() error {
				_, err := c.PutRole(ctx, "deployer", []string{"read", "report"}, conditional)
				return err
			}, &rollcallv1.PutRoleRequest{
				Name: "deployer", Verbs: []string{"read", "report"}, Reason: "why", Actor: "who", RequestId: "id", IfRevision: &five, ValidateOnly: true,
			}},
			{"DeleteRole", func() error { _, err := c.DeleteRole(ctx, "deployer", both); return err }, &rollcallv1.DeleteRoleRequest{
				Name: "deployer", Reason: "why", Actor: "who", RequestId: "id", IfRevision: &five, AllowMissing: true, ValidateOnly: true,
			}},
			{"ListRoles", func() error { _, err := c.ListRoles(ctx); return err }, &rollcallv1.ListRolesRequest{}},
			{"PutGrants", func() error {
				_, err := c.PutGrants(ctx, client.IdentityGrants{Identity: "cert:ops", Grants: grants, Denied: true}, conditional)
				return err
			}, &rollcallv1.PutGrantsRequest{
				Identity: "cert:ops", Grants: grants, Denied: true, Reason: "why", Actor: "who", RequestId: "id", IfRevision: &five, ValidateOnly: true,
			}},
			{"ListTokens", func() error { return last(c.ListTokens(ctx, client.ListTokensOptions{PageSize: 3})) }, &rollcallv1.ListTokensRequest{PageSize: 3}},
			{"ListGrants", func() error {
				return last(c.ListGrants(ctx, client.ListGrantsOptions{PageSize: 3, Identity: "cert:ops"}))
			}, &rollcallv1.ListGrantsRequest{PageSize: 3, Identity: "cert:ops"}},
		} {
			if err := test.do(); err != nil {
				t.Errorf("%s: %v", test.method, err)
			}
			seen := f.nodes[0].seen(test.method)
			if got := seen[len(seen)-1].request.(proto.Message); !proto.Equal(got, test.want) {
				t.Errorf("%s:\ngot  %v\nwant %v", test.method, got, test.want)
			}
		}
		if c.Cluster() != "3f9a" {
			t.Errorf("cluster %q", c.Cluster())
		}
	})
}

// Options that mean nothing to a call are refused before anything is sent.
func TestAccessCallsRefuseOptionsThatMeanNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx := t.Context()
		five := int64(5)
		for name, test := range map[string]struct {
			do      func(o client.WriteOptions) error
			allowed []string
		}{
			"set auth":        {func(o client.WriteOptions) error { _, err := c.SetAuth(ctx, client.AuthSetting{}, o); return err }, []string{"IfRevision"}},
			"create token":    {func(o client.WriteOptions) error { _, _, err := c.CreateToken(ctx, client.NewToken{}, o); return err }, nil},
			"revoke token":    {func(o client.WriteOptions) error { _, err := c.RevokeToken(ctx, "a", o); return err }, []string{"AllowMissing"}},
			"revoke token id": {func(o client.WriteOptions) error { _, err := c.RevokeTokenID(ctx, "a", o); return err }, []string{"AllowMissing"}},
			"put role":        {func(o client.WriteOptions) error { _, err := c.PutRole(ctx, "a", nil, o); return err }, []string{"IfRevision"}},
			"delete role":     {func(o client.WriteOptions) error { _, err := c.DeleteRole(ctx, "a", o); return err }, []string{"IfRevision", "AllowMissing"}},
			"put grants":      {func(o client.WriteOptions) error { _, err := c.PutGrants(ctx, client.IdentityGrants{}, o); return err }, []string{"IfRevision"}},
		} {
			for option, o := range map[string]client.WriteOptions{
				"IfRevision":   {IfRevision: &five},
				"AllowMissing": {AllowMissing: true},
				"BreakGlass":   {BreakGlass: []string{"*"}},
				"LeaseID":      {LeaseID: "a"},
				"TTL":          {TTL: time.Hour},
			} {
				before := len(f.allUsed())
				err := test.do(o)
				if slices.Contains(test.allowed, option) {
					if err != nil {
						t.Errorf("%s with %s: %v", name, option, err)
					}
					continue
				}
				if e := failure(t, err); e.Code != codes.InvalidArgument || !strings.Contains(e.Message, "WriteOptions."+option) || len(f.allUsed()) != before {
					t.Errorf("%s with %s: %v", name, option, err)
				}
			}
		}
	})
}

// Only a hash of a new token leaves the process, and each call makes another one.
func TestCreateToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		made := map[string]bool{}
		for range 3 {
			token, resp, err := c.CreateToken(t.Context(), client.NewToken{Name: "ci"}, client.WriteOptions{})
			if err != nil || resp.GetToken().GetName() != "ci" {
				t.Fatalf("%v, %v", resp, err)
			}
			if _, err := accesstoken.Parse(token.Text()); err != nil || made[token.Text()] {
				t.Errorf("%v", err)
			}
			made[token.Text()] = true
			seen := f.nodes[0].seen("CreateToken")
			req := seen[len(seen)-1].request.(*rollcallv1.CreateTokenRequest)
			sum := token.SHA256()
			raw, err := proto.Marshal(req)
			if err != nil || !bytes.Equal(req.GetSecretSha256(), sum[:]) || bytes.Contains(raw, []byte(token.Text()[21:])) || req.Ttl != nil {
				t.Errorf("%v: %v", req, err)
			}
		}
		if token, resp, err := c.CreateToken(t.Context(), client.NewToken{Name: "ci"}, client.WriteOptions{DryRun: true}); token.Text() != "" || resp == nil || err != nil {
			t.Errorf("a dry run: %v, %v", resp, err)
		}
	})
}

// A token whose outcome is unknown is returned all the same: the call can be repeated, and makes the token once.
func TestCreateTokenOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		n := f.nodes[0]
		n.onAnswer = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		token, _, err := c.CreateToken(within(t, 5*time.Second), client.NewToken{Name: "ci"}, client.WriteOptions{})
		e := failure(t, err)
		if !client.IsUnknown(err) || token.Text() == "" || e.Access != "ci" || strings.Contains(fmt.Sprintf("%v %#v", err, err), token.Text()[21:]) {
			t.Fatalf("%v", err)
		}
		f.do(func() { n.onAnswer = nil })
		again, resp, err := c.CreateToken(t.Context(), client.NewToken{Name: "ci", Secret: token}, client.WriteOptions{RequestID: e.RequestID})
		if err != nil || again.Text() != token.Text() || resp.GetRevision() != 1 || len(f.events) != 1 {
			t.Errorf("%v, %v, %d events", resp, err, len(f.events))
		}
		hashes := map[string]bool{}
		for _, call := range n.seen("CreateToken") {
			hashes[string(call.request.(*rollcallv1.CreateTokenRequest).GetSecretSha256())] = true
		}
		if len(hashes) != 1 {
			t.Errorf("%d different secrets were sent", len(hashes))
		}
		n.onWrite = func(context.Context, int) error {
			return refusal(codes.PermissionDenied, client.ReasonEscalation, map[string]string{"written": "no", "identity": "token:x", "verb": "auth"})
		}
		token, _, err = c.CreateToken(t.Context(), client.NewToken{Name: "ci"}, client.WriteOptions{})
		if e := failure(t, err); token.Text() != "" || !client.IsDenied(err) || e.Identity != "token:x" || e.Verb != "auth" {
			t.Errorf("%v, %v", token, err)
		}
	})
}

// Lists of Access come page by page, each no older than the one before.
func TestAccessListsGoOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		f.write(event{}, event{}, event{})
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			f.access.tokens = append(f.access.tokens, &rollcallv1.Token{Name: name})
			f.access.grants = append(f.access.grants, &rollcallv1.IdentityGrants{Identity: "cert:" + name})
		}
		f.do(func() { f.lagging = true; f.nodes[1].applied = 2 })
		var names []string
		var asOf int64
		for token, err := range c.ListTokens(t.Context(), client.ListTokensOptions{PageSize: 2, AsOf: &asOf}) {
			if err != nil {
				t.Fatal(err)
			}
			if names = append(names, token.GetName()); len(names) == 2 {
				f.nodes[0].kill()
				time.AfterFunc(time.Second, func() { f.do(func() { f.nodes[1].applied = 3 }) })
			}
		}
		if asOf != 3 || strings.Join(names, "") != "abcde" {
			t.Errorf("%v as of %d", names, asOf)
		}
		names = nil
		for g, err := range c.ListGrants(t.Context(), client.ListGrantsOptions{PageSize: 2, AsOf: &asOf}) {
			if err != nil {
				t.Fatal(err)
			}
			if names = append(names, g.GetIdentity()); len(names) == 3 {
				break
			}
		}
		if strings.Join(names, " ") != "cert:a cert:b cert:c" || len(f.nodes[1].seen("ListGrants")) != 2 {
			t.Errorf("%v", names)
		}
		f.access.tokens = nil
		asOf = 0
		if err := last(c.ListTokens(t.Context(), client.ListTokensOptions{AsOf: &asOf})); err != nil || asOf != 3 {
			t.Errorf("none: %v, as of %d", err, asOf)
		}
	})
}
