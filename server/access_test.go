package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestAccessBecomesCommands: each request is a command of its kind, and its answer says what became of it.
func TestAccessBecomesCommands(t *testing.T) {
	n := single(t, func(c *Config) { c.LoopbackOnly = true })
	ctx := patient(t)
	sum := accesstoken.New().SHA256()
	grants := []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay"}}}
	logGrants := []*logv1.Grant{{Role: "reporter", Patterns: []string{"shop/*", "pay"}}}
	check := func(kind logv1.Kind, p payload) {
		t.Helper()
		want := &logv1.Command{Actor: &logv1.Actor{Name: "ann"}, Reason: "why", RequestId: "id", Kind: recordCommand(kind, p)}
		if got := n.lastCommand(); !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	equal := func(got, want proto.Message, err error) {
		t.Helper()
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("got  %v, %v\nwant %v", got, err, want)
		}
	}

	token, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{
		Name: "ci", Grants: grants, Ttl: durationpb.New(time.Hour), Description: "CI", SecretSha256: sum[:], Reason: "why", Actor: "ann", RequestId: "id",
	})
	equal(token, &rollcallv1.CreateTokenResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Token: &rollcallv1.Token{
		Name: "ci", Id: accesstoken.ID(sum), Description: "CI", Grants: grants, Revision: 8, Time: convert.Timestamp(5), ExpireTime: convert.Timestamp(int64(time.Hour)),
	}}, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Create{Create: &logv1.CreateToken{
		Name: "ci", Grants: logGrants, Ttl: int64(time.Hour), Description: "CI", SecretSha256: sum[:],
	}}})

	revoked, err := n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Name: "ci", AllowMissing: true, Reason: "why", Actor: "ann", RequestId: "id"})
	equal(revoked, &rollcallv1.RevokeTokenResponse{Revision: 9, ClusterId: "3f9a"}, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Name: "ci", AllowMissing: true}}})
	_, err = n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Id: accesstoken.ID(sum), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(nil, nil, err)
	check(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Id: accesstoken.ID(sum)}}})

	role, err := n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: "night", Verbs: []string{"override", "read", "read"}, IfRevision: proto.Int64(0), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(role, &rollcallv1.PutRoleResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Role: &rollcallv1.AccessRole{Name: "night", Verbs: []string{"read", "override"}, Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Put{Put: &logv1.PutRole{Name: "night", Verbs: uint32(access.Read | access.Override), IfRevision: proto.Int64(0)}}})
	deleted, err := n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{Name: "night", IfRevision: proto.Int64(8), AllowMissing: true, Reason: "why", Actor: "ann", RequestId: "id"})
	equal(deleted, &rollcallv1.DeleteRoleResponse{Revision: 9, ClusterId: "3f9a"}, err)
	check(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Delete{Delete: &logv1.DeleteRole{Name: "night", IfRevision: proto.Int64(8), AllowMissing: true}}})

	put, err := n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web", Grants: grants, Denied: true, IfRevision: proto.Int64(3), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web", Grants: grants, Denied: true, Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "cert:web", Grants: logGrants, Denied: true, IfRevision: proto.Int64(3)})
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web"})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web"}}, err)
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:none"})
	equal(put, &rollcallv1.PutGrantsResponse{Revision: 9, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:none"}}, err)

	auth, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: "viewer", IfRevision: proto.Int64(0), Reason: "why", Actor: "ann", RequestId: "id"})
	equal(auth, &rollcallv1.SetAuthResponse{Changed: true, Revision: 9, ClusterId: "3f9a", Auth: &rollcallv1.Auth{Enforced: true, Anonymous: "viewer", Revision: 8, Time: convert.Timestamp(5)}}, err)
	check(logv1.Kind_KIND_AUTH, &logv1.SetAuth{Enforced: true, Anonymous: "viewer", IfRevision: proto.Int64(0)})

	// What does not change says so, and a dry run has neither revision nor time.
	same, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{Name: "same", Grants: grants, SecretSha256: sum[:]})
	if err != nil || same.GetChanged() || same.GetToken().GetRevision() != 8 || len(same.GetToken().GetGrants()) != 0 {
		t.Errorf("the same token once more: %v, %v", same, err)
	}
	proposed := n.agreement.count()
	dry, err := n.accessClient().CreateToken(ctx, &rollcallv1.CreateTokenRequest{Name: "ci", Grants: grants, SecretSha256: sum[:], Ttl: durationpb.New(time.Hour), ValidateOnly: true})
	equal(dry, &rollcallv1.CreateTokenResponse{Changed: true, ClusterId: "3f9a", Token: &rollcallv1.Token{Name: "ci", Id: accesstoken.ID(sum), Grants: grants, ExpireTime: convert.Timestamp(int64(time.Hour))}}, err)
	role, err = n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: "night", Verbs: []string{"read"}, ValidateOnly: true})
	equal(role, &rollcallv1.PutRoleResponse{Changed: true, ClusterId: "3f9a", Role: &rollcallv1.AccessRole{Name: "night", Verbs: []string{"read"}}}, err)
	put, err = n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:web", Denied: true, ValidateOnly: true})
	equal(put, &rollcallv1.PutGrantsResponse{Changed: true, ClusterId: "3f9a", Grants: &rollcallv1.IdentityGrants{Identity: "cert:web", Denied: true}}, err)
	auth, err = n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Enforced: true, ValidateOnly: true})
	equal(auth, &rollcallv1.SetAuthResponse{Changed: true, ClusterId: "3f9a", Auth: &rollcallv1.Auth{Enforced: true}}, err)
	if got := n.agreement.count(); got != proposed {
		t.Errorf("dry runs proposed %d commands", got-proposed)
	}
}

func TestRefusedRequestsOfAccess(t *testing.T) {
	n := single(t, func(c *Config) { c.LoopbackOnly = true })
	ctx := patient(t)
	sum := bytes.Repeat([]byte{1}, 32)
	grant := func(role string, patterns ...string) []*rollcallv1.Grant {
		return []*rollcallv1.Grant{{Role: role, Patterns: patterns}}
	}
	token := func(name string, change func(r *rollcallv1.CreateTokenRequest)) func() error {
		return func() error {
			r := &rollcallv1.CreateTokenRequest{Name: name, SecretSha256: sum}
			if change != nil {
				change(r)
			}
			_, err := n.accessClient().CreateToken(ctx, r)
			return err
		}
	}
	revoke := func(name, id string) func() error {
		return func() error {
			_, err := n.accessClient().RevokeToken(ctx, &rollcallv1.RevokeTokenRequest{Name: name, Id: id})
			return err
		}
	}
	role := func(name string, verbs ...string) func() error {
		return func() error {
			_, err := n.accessClient().PutRole(ctx, &rollcallv1.PutRoleRequest{Name: name, Verbs: verbs})
			return err
		}
	}
	grants := func(identity string, given []*rollcallv1.Grant) func() error {
		return func() error {
			_, err := n.accessClient().PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: identity, Grants: given})
			return err
		}
	}
	check := func(verb, service, identity string) func() error {
		return func() error {
			_, err := n.accessClient().CheckAccess(ctx, &rollcallv1.CheckAccessRequest{Verb: verb, Service: service, Identity: identity})
			return err
		}
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("s%d", i)
	}
	for name, tt := range map[string]struct {
		call func() error
		want string
	}{
		"token without a name":            {token("", nil), "name is empty"},
		"token with a space":              {token("a b", nil), "name "},
		"token with a long name":          {token(strings.Repeat("x", 65), nil), "name is 65 bytes long"},
		"token without a hash":            {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = nil }), "secret_sha256 has 0 bytes"},
		"token with half a hash":          {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = sum[:16] }), "secret_sha256 has 16 bytes"},
		"token with its text as hash":     {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.SecretSha256 = []byte(accesstoken.New().Text()) }), "secret_sha256 has 64 bytes"},
		"token for no time":               {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(0) }), "ttl is 0s; 1s to 87600h (10 years) is allowed"},
		"token for a negative time":       {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(-time.Hour) }), "ttl is -1h"},
		"token for eleven years":          {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = durationpb.New(11 * 365 * 24 * time.Hour) }), "ttl is"},
		"token for no duration":           {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Ttl = &durationpb.Duration{Nanos: -1, Seconds: 5} }), "ttl is no duration"},
		"token with a long description":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Description = strings.Repeat("x", 257) }), "description is 257 bytes long"},
		"token with two lines":            {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Description = "a\nb" }), "description"},
		"token with a pattern like shop*": {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer", "shop*") }), "grants[0].patterns[0]"},
		"token with a grant of nothing":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer") }), "grants[0].patterns is empty"},
		"token with a grant of no role":   {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("", "*") }), "grants[0].role is empty"},
		"token with too many patterns":    {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Grants = grant("viewer", many...) }), "grants have 1001 patterns"},
		"token with too many grants": {token("ci", func(r *rollcallv1.CreateTokenRequest) {
			for range 1001 {
				r.Grants = append(r.Grants, &rollcallv1.Grant{})
			}
		}), "grants have 1001 patterns"},
		"token with a long reason":     {token("ci", func(r *rollcallv1.CreateTokenRequest) { r.Reason = strings.Repeat("x", 2000) }), "reason is 2000 bytes"},
		"revoke of nothing":            {revoke("", ""), "name and id are both missing"},
		"revoke by both":               {revoke("ci", "0123456789abcdef"), "id is given together with name"},
		"revoke by a short id":         {revoke("", "0123"), "id is \"0123\""},
		"revoke by an upper case id":   {revoke("", "0123456789ABCDEF"), "id is"},
		"revoke by a whole token":      {revoke("", accesstoken.New().Text()), "id is"},
		"revoke of a bad name":         {revoke("a b", ""), "name"},
		"built-in role":                {role("viewer", "read"), "a role of rollcall itself"},
		"role without a name":          {role("", "read"), "name is empty"},
		"role without verbs":           {role("night"), "verbs is empty"},
		"role with an unknown verb":    {role("night", "read", "write"), "verbs[1] is \"write\", which is no verb; the verbs are read, report, override"},
		"role with an upper case verb": {role("night", "Read"), "verbs[0] is \"Read\""},
		"role with very many verbs":    {role("night", strings.Split(strings.Repeat("read ", 1000), " ")...), "verbs has 1001 entries"},
		"grants of nobody":             {grants("", nil), "identity"},
		"grants of a name alone":       {grants("web", nil), "identity"},
		"grants of anonymous callers":  {grants("anonymous", nil), "identity"},
		"grants of a node":             {grants("node:n1", nil), "identity"},
		"grants of a static one":       {grants("static:root", nil), "identity"},
		"grants of a long name":        {grants("cert:"+strings.Repeat("x", 300), nil), "identity is 305 bytes long"},
		"grants of a bad pattern":      {grants("cert:web", grant("viewer", "a", "*b")), "grants[0].patterns[1]"},
		"no verb":                      {check("", "a", ""), "verb is \"\", which is no verb"},
		"an unknown verb":              {check("write", "a", ""), "verb is \"write\""},
		"a bad service":                {check("read", "a\x00b", ""), "service"},
		"a bad pattern":                {check("read", "shop*", ""), "service"},
		"a bad identity":               {check("read", "a", "web"), "identity"},
		"a long identity":              {check("read", "a", "static:"+strings.Repeat("x", 300)), "identity is 307 bytes long"},
		"deleting a built-in role": {func() error {
			_, err := n.accessClient().DeleteRole(ctx, &rollcallv1.DeleteRoleRequest{Name: "admin"})
			return err
		}, "a role of rollcall itself"},
		"a negative revision": {func() error {
			_, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{IfRevision: proto.Int64(-1)})
			return err
		}, "if_revision is -1"},
		"an anonymous role that is none": {func() error {
			_, err := n.accessClient().SetAuth(ctx, &rollcallv1.SetAuthRequest{Anonymous: "a b"})
			return err
		}, "anonymous"},
		"a page of -1": {func() error {
			_, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{PageSize: -1})
			return err
		}, "page_size is -1"},
		"a page token of another list": {func() error {
			_, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{PageToken: grantsPages.encode("3f9a", "cert:a")})
			return err
		}, "page_token is not one that ListTokens returned"},
		"a page token that is none": {func() error {
			_, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{PageToken: strings.Repeat("A", 5000)})
			return err
		}, "page_token is not one that ListGrants returned"},
		"a page token and an identity": {func() error {
			_, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{PageToken: grantsPages.encode("3f9a", "cert:a"), Identity: "cert:a"})
			return err
		}, "page_token is given together with identity"},
	} {
		t.Run(name, func(t *testing.T) {
			written := rpcerror.WrittenNo
			switch {
			case strings.HasPrefix(name, "a page"), strings.HasPrefix(tt.want, "verb is"), strings.HasPrefix(tt.want, "service"), strings.HasPrefix(name, "a bad identity"), strings.HasPrefix(name, "a long identity"):
				written = "" // of a read
			}
			checkError(t, tt.call(), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, written, nil, tt.want})
		})
	}
	if got := n.agreement.count(); got != 0 {
		t.Errorf("%d commands were proposed", got)
	}
}

// TestAccessIsEnforcedOverTLSOnly: elsewhere tokens would be read on the way. It can be switched off everywhere.
func TestAccessIsEnforcedOverTLSOnly(t *testing.T) {
	n := single(t)
	for _, dry := range []bool{false, true} {
		_, err := n.accessClient().SetAuth(patient(t), &rollcallv1.SetAuthRequest{Enforced: true, ValidateOnly: dry})
		checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonTLSRequired, rpcerror.WrittenNo, nil, "--tls permissive or required"})
	}
	if _, err := n.accessClient().SetAuth(patient(t), &rollcallv1.SetAuthRequest{Anonymous: "viewer"}); err != nil {
		t.Errorf("not enforced: %v", err)
	}
}

// TestRefusalsOfTheFold: what the fold says of access reaches the caller.
func TestRefusalsOfTheFold(t *testing.T) {
	for _, tt := range []struct {
		refusal *logv1.Refusal
		want    want
	}{
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_DENIED, Given: "token:ci", Limit: int64(access.Report), Kind: logv1.Kind_KIND_SERVICE, Key: "a", Held: "a"},
			want{codes.PermissionDenied, rpcerror.ReasonDenied, rpcerror.WrittenNo, map[string]string{"identity": "token:ci", "verb": "report", "name": "a"}, "token:ci"}},
		{&logv1.Refusal{Reason: logv1.Refusal_REASON_TOKEN_REVOKED, Given: "token:ci"},
			want{codes.Unauthenticated, rpcerror.ReasonTokenRevoked, rpcerror.WrittenNo, map[string]string{"identity": "token:ci"}, "token:ci"}},
	} {
		n := single(t)
		n.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
			return &logv1.Result{Refusal: tt.refusal}, nil
		})
		_, err := n.admin().SetServingStatus(patient(t), setRequest("a", serving))
		checkError(t, err, tt.want)
		stream := n.openWriteStream(t, patient(t))
		sendWrites(t, stream, streamedSet(1, "a", serving))
		res, err := stream.Recv()
		if got := n.Denials()["report"]; (tt.want.reason == rpcerror.ReasonDenied) != (got == 2) {
			t.Errorf("%s: %d denials are counted", tt.want.reason, got)
		}
		if err != nil || codes.Code(res.GetResults()[0].GetError().GetCode()) != tt.want.code {
			t.Errorf("streamed: %v, %v", res, err)
		}
		_ = stream.CloseSend()
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// TestListsOfAccessAreFiltered: who has the verb auth over a part is told that it is not shown all.
func TestListsOfAccessAreFiltered(t *testing.T) {
	n := single(t)
	boss, clerk := accesstoken.New(), accesstoken.New()
	n.addToken("boss", boss, 0)
	n.addToken("clerk", clerk, 0)
	n.addToken("shop", accesstoken.New(), 0)
	n.access.change(func(r *fakeRights) {
		r.enforced = true
		r.grants["token:boss"] = access.New(access.Grant{Verbs: access.All, Pattern: "*"})
		r.grants["token:clerk"] = access.New(access.Grant{Verbs: access.Auth, Pattern: "shop/*"})
		r.grants["cert:shop"] = access.New(access.Grant{Verbs: access.Read, Pattern: "shop/*"})
	})
	for _, tt := range []struct {
		who                          string
		token                        accesstoken.Token
		tokens, grants, boss, itself int
		filtered                     bool
	}{
		{"boss", boss, 3, 3, 1, 1, false},
		{"clerk", clerk, 1, 1, 0, 1, true},
	} {
		ctx := with(patient(t), tt.token)
		var header metadata.MD
		check := func(what string, got, want int, err error, filtered bool) {
			t.Helper()
			if said := len(header.Get(authz.MetadataFiltered)) > 0; err != nil || got != want || said != filtered {
				t.Errorf("%s, to %s: %d, %v, filtered %v; want %d, filtered %v", what, tt.who, got, err, said, want, filtered)
			}
			header = nil
		}
		tokens, err := n.accessClient().ListTokens(ctx, &rollcallv1.ListTokensRequest{}, grpc.Header(&header))
		check("tokens", len(tokens.GetTokens()), tt.tokens, err, tt.filtered)
		grants := func(what, identity string, want int, filtered bool) {
			t.Helper()
			list, err := n.accessClient().ListGrants(ctx, &rollcallv1.ListGrantsRequest{Identity: identity}, grpc.Header(&header))
			check(what, len(list.GetGrants()), want, err, filtered)
		}
		grants("grants", "", tt.grants, tt.filtered)
		grants("the grants of one", "token:boss", tt.boss, tt.filtered)
		grants("its own grants", "token:"+tt.who, tt.itself, false)
		_, err = n.accessClient().ListRoles(ctx, &rollcallv1.ListRolesRequest{}, grpc.Header(&header))
		check("roles", 0, 0, err, false)
	}
}
