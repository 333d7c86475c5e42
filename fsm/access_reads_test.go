package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func revokeID(id, name string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Id: id, Name: name}}})
}

func lasting(name string, ttl time.Duration) *logv1.Command {
	return createToken(&logv1.CreateToken{Name: name, SecretSha256: secret(name), Ttl: int64(ttl)})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestReadingAccess: what the entry node asks of the fold.
func TestReadingAccess(t *testing.T) {
	h := newHarness(t)
	if a := h.Access(); a.Enforced() || a.Generation() != 0 || a.Tokens() != 0 || !h.ReadsOpen() || a.Permissions("cert:a").Some(access.Read) {
		t.Errorf("a new registry: %+v", a)
	}
	step := func(what string, cmd *logv1.Command, changes, open bool) {
		t.Helper()
		changed, before := h.AccessChanged(), h.Access()
		if r := h.do(t, 1, cmd)[0]; r.GetRefusal() != nil {
			t.Fatalf("%s: %v", what, r)
		}
		after := h.Access()
		if closed(changed) != changes || (before.Generation() != after.Generation()) != changes || h.ReadsOpen() != open {
			t.Errorf("%s: told %v, generation %d to %d, everybody reads everything: %v", what, closed(changed), before.Generation(), after.Generation(), h.ReadsOpen())
		}
		if closed(h.AccessChanged()) {
			t.Errorf("%s: the next change is told already", what)
		}
	}
	step("a service", write(change("a", serving)), false, true)
	step("a role", putRole("mine", access.Read|access.Override), true, true)
	step("the same role", putRole("mine", access.Read|access.Override), false, true)
	step("a token", tokenWith("ci", grantOver("reporter", "shop/*"), grantOver("mine", "b")), true, true)
	step("grants", putGrants("cert:a", grantOver("viewer", "*")), true, true)
	step("denied", recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "cert:a", Grants: []*logv1.Grant{grantOver("viewer", "*")}, Denied: true}), true, true)
	step("prepared", by("static", setAuth(false, "")), true, true)
	step("enforced, anonymous reads", by("static", setAuth(true, "viewer")), true, true)
	step("enforced, anonymous overrides", by("static", setAuth(true, "mine")), true, true)
	step("the role of anonymous callers reads no more", by("static", putRole("mine", access.Override)), true, false)
	step("enforced for all", by("static", setAuth(true, "")), true, false)

	a := h.Access()
	name, token := a.Token(TokenID(secret("ci")))
	if name != "ci" || string(token.GetSecretSha256()) != string(secret("ci")) || a.Tokens() != 1 {
		t.Errorf("token %q %v", name, token)
	}
	if name, token := a.Token("0000000000000000"); name != "" || token != nil {
		t.Errorf("no token is %q %v", name, token)
	}
	if p := a.Permissions("token:ci"); !p.Allows(access.Report, "shop/x") || !p.Allows(access.Override, "b") || p.Allows(access.Override, "shop/x") {
		t.Errorf("%+v", p)
	}
	if !a.Denied("cert:a") || a.Denied("token:ci") || a.Permissions("cert:a").Some(access.Read) || a.Anonymous().Some(access.All) || !a.Enforced() {
		t.Error("denied, or anonymous callers, are others than set")
	}
	for _, test := range []struct {
		identity string
		verb     access.Verbs
		over     string
		want     Ground
		ok       bool
	}{
		{"token:ci", access.Report, "shop/a/*", Ground{"reporter", "shop/*", false}, true},
		{"token:ci", access.Override, "b", Ground{"mine", "b", false}, true},
		{"token:ci", access.Report, "*", Ground{}, false},
		{"cert:a", access.Read, "b", Ground{}, false},
		{"cert:none", access.Read, "b", Ground{}, false},
	} {
		if g, ok := a.Ground(test.identity, test.verb, test.over); g != test.want || ok != test.ok {
			t.Errorf("%s %v %s: %+v %v", test.identity, test.verb.Names(), test.over, g, ok)
		}
	}
	h.do(t, 1, by("static", setAuth(true, "viewer")))
	if g, ok := h.Access().Ground("token:ci", access.Read, pattern.All); !ok || g != (Ground{"viewer", "*", true}) {
		t.Errorf("what everybody may: %+v %v", g, ok)
	}
	newest := h.Access()
	h.do(t, 1, by("static", revokeToken("ci")), by("static", lasting("ci", time.Hour)))
	if name, token := newest.Token(TokenID(secret("ci"))); name != "ci" || token.GetExpireTime() != 0 || a.Anonymous().Some(access.Read) {
		t.Errorf("an older cut has changed: %q %v", name, token)
	}
	h.do(t, 1, by("static", revokeToken("ci")))
	if name, _ := newest.Token(TokenID(secret("ci"))); name != "ci" {
		t.Error("an older cut has lost a token")
	}
	h.do(t, 1, by("static", tokenWith("ci")))

	// What was made from the file is the same.
	again, err := New(Config{RegistryFile: h.registryFile})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if name, _ := again.Access().Token(TokenID(secret("ci"))); name != "ci" || !again.Access().Enforced() || again.Access().Generation() == 0 || !again.ReadsOpen() {
		t.Error("after a start it is another")
	}
}

// TestListsOfAccess: pages by key, of one cut each.
func TestListsOfAccess(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, putRole("zeta", access.Read), putRole("alpha", access.Report))
	for _, name := range []string{"c", "a", "b"} {
		h.do(t, 1, tokenWith(name, grantOver("viewer", "*")))
	}
	h.do(t, 1, putGrants("cert:x", grantOver("alpha", "a")), tokenWith("d"))
	var names []string
	for after, more := "", true; more; {
		list, m, _, revision := h.ListTokens("", after, 2)
		for _, token := range list {
			names = append(names, token.GetName())
			if (len(token.GetGrants()) == 1) != (token.GetName() != "d") || len(token.GetId()) != 16 || revision != h.Revision() {
				t.Errorf("%v at %d", token, revision)
			}
		}
		after, more = names[len(names)-1], m
	}
	if !slices.Equal(names, []string{"a", "b", "c", "d"}) {
		t.Errorf("tokens %v", names)
	}
	var identities []string
	for after, more := "", true; more; {
		list, m, _, _ := h.ListGrants("", after, 3)
		for _, g := range list {
			identities = append(identities, g.GetIdentity())
		}
		after, more = identities[len(identities)-1], m
	}
	if !slices.Equal(identities, []string{"cert:x", "token:a", "token:b", "token:c"}) {
		t.Errorf("grants %v", identities)
	}
	roles, _ := h.ListRoles()
	var all []string
	for _, r := range roles {
		all = append(all, r.GetName())
	}
	if !slices.Equal(all, []string{"viewer", "reporter", "operator", "admin", "alpha", "zeta"}) {
		t.Errorf("roles %v", all)
	}
	if g, revision := h.GetGrants("cert:x"); g.GetGrants()[0].GetRole() != "alpha" || revision != h.Revision() {
		t.Errorf("%v", g)
	}
	if g, _ := h.GetGrants("cert:none"); g != nil {
		t.Errorf("%v", g)
	}
	if a, _ := h.GetAuth(); a == nil || a.GetEnforced() || a.GetRevision() != 0 {
		t.Errorf("%v", a)
	}
}

// TestTokensOfOneID: a token is found by its id, so no two have one; and a revoke by id hits no other token of the name.
func TestTokensOfOneID(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, tokenWith("ci", grantOver("reporter", "*")))
	near := slices.Clone(secret("ci"))
	near[31] ^= 1
	for what, cmd := range map[string]*logv1.Command{
		"the same id":     createToken(&logv1.CreateToken{Name: "x", SecretSha256: near}),
		"the same secret": createToken(&logv1.CreateToken{Name: "x", SecretSha256: secret("ci")}),
	} {
		if r := h.do(t, 1, cmd)[0].GetRefusal(); r.GetField() != "secret_sha256" || r.GetProblem() != logv1.Refusal_PROBLEM_CONFLICT {
			t.Errorf("%s: %v", what, r)
		}
	}
	id := TokenID(secret("ci"))
	for what, test := range map[string]struct {
		cmd  *logv1.Command
		want logv1.Refusal_Reason
	}{
		"another name":     {revokeID(id, "x"), logv1.Refusal_REASON_NOT_FOUND},
		"another id":       {revokeID(TokenID(secret("x")), "ci"), logv1.Refusal_REASON_NOT_FOUND},
		"an unknown id":    {revokeID(TokenID(secret("x")), ""), logv1.Refusal_REASON_NOT_FOUND},
		"no id":            {revokeID("xyz", ""), logv1.Refusal_REASON_INVALID},
		"capital letters":  {revokeID(strings.ToUpper(id), ""), logv1.Refusal_REASON_INVALID},
		"neither":          {revokeID("", ""), logv1.Refusal_REASON_INVALID},
		"one that is none": {revokeID(id, "a b"), logv1.Refusal_REASON_INVALID},
	} {
		if r := h.do(t, 1, test.cmd)[0].GetRefusal(); r.GetReason() != test.want {
			t.Errorf("%s: %v", what, r)
		}
	}
	if r := h.do(t, 1, revokeID(id, ""))[0]; r.GetRefusal() != nil || h.Access().Tokens() != 0 {
		t.Errorf("%v, %d tokens", r, h.Access().Tokens())
	}
	if name, _ := h.Access().Token(id); name != "" {
		t.Errorf("the id is still known, of %s", name)
	}
	if g, _ := h.GetGrants("token:ci"); g != nil {
		t.Errorf("grants are left: %v", g)
	}
}

// TestDeniedStaysDenied: who may make tokens, but not deny, cannot end that an identity is denied.
func TestDeniedStaysDenied(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1, putRole("granter", access.Auth|access.Read|access.Report), putGrants("cert:shop", grantOver("granter", "shop/*")),
		tokenWith("ci", grantOver("reporter", "shop/*")), by("static", setAuth(true, "viewer")),
		by("static", recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "token:ci", Denied: true, Grants: []*logv1.Grant{grantOver("reporter", "shop/*")}})))
	for what, cmd := range map[string]*logv1.Command{
		"grants":    by("cert:shop", putGrants("token:ci", grantOver("reporter", "shop/*"))),
		"no grants": by("cert:shop", putGrants("token:ci")),
	} {
		if r := h.do(t, 1, cmd)[0].GetRefusal(); r.GetReason() != logv1.Refusal_REASON_DENIED {
			t.Errorf("%s: %v", what, r)
		}
	}
	for _, cmd := range []*logv1.Command{revokeToken("ci"), tokenWith("ci", grantOver("reporter", "shop/*")), revokeToken("ci"), tokenWith("ci")} {
		if r := h.do(t, 1, by("cert:shop", cmd))[0]; r.GetRefusal() != nil {
			t.Fatalf("%v", r)
		}
		if !h.Access().Denied("token:ci") {
			t.Fatalf("after %v it is not denied any more", cmd)
		}
	}
	if r := h.do(t, 1, by("token:ci", write(change("shop/a", serving))))[0].GetRefusal(); r.GetReason() != logv1.Refusal_REASON_DENIED || r.GetValue() != 1 {
		t.Errorf("%v", r)
	}
}

// TestExpiredTokensAreForgotten: an expired token is kept for a while, makes room when there is none, and its name can be
// given again.
func TestExpiredTokensAreForgotten(t *testing.T) {
	hour := int64(time.Hour)
	week := 7 * 24 * hour
	h := newHarness(t)
	h.do(t, hour, lasting("short", time.Hour), putGrants("token:short", grantOver("viewer", "*")), tokenWith("long"))
	if r := h.do(t, 2*hour-1, createToken(&logv1.CreateToken{Name: "short", SecretSha256: secret("other")}))[0].GetRefusal(); r.GetProblem() != logv1.Refusal_PROBLEM_CONFLICT {
		t.Errorf("its name, before it expires: %v", r)
	}
	h.do(t, 2*hour+week-1, tokenWith("x"))
	if name, _ := h.Access().Token(TokenID(secret("short"))); name != "short" {
		t.Error("it is not kept for a week")
	}
	revision := h.Revision()
	h.do(t, 2*hour+week, by("cert:a", tokenWith("y")))
	if name, _ := h.Access().Token(TokenID(secret("short"))); name != "" || h.Access().Tokens() != 3 {
		t.Errorf("after a week it is there: %q, of %d", name, h.Access().Tokens())
	}
	if g, _ := h.GetGrants("token:short"); g != nil {
		t.Errorf("its grants are: %v", g)
	}
	gone := h.registryFile.events[len(h.registryFile.events)-2:]
	for _, e := range gone {
		if !e.GetDeletes() || e.GetActor().GetName() != "" || e.GetReason() != "the token expired" || e.GetRevision() <= revision {
			t.Errorf("event %v", e)
		}
	}
	h.do(t, 3*hour+week, lasting("short", time.Hour))
	if r := h.do(t, 4*hour+week, createToken(&logv1.CreateToken{Name: "short", SecretSha256: secret("again")}))[0]; r.GetRefusal() != nil {
		t.Errorf("the name of one that expired: %v", r)
	}
	if name, _ := h.Access().Token(TokenID(secret("short"))); name != "" {
		t.Error("the expired one is still found by its id")
	}
	if name, token := h.Access().Token(TokenID(secret("again"))); name != "short" || token.GetExpireTime() != 0 {
		t.Errorf("%q %v", name, token)
	}
	h.do(t, 5*hour+2*week, tokenWith("z"))
	if name, _ := h.Access().Token(TokenID(secret("again"))); name != "short" {
		t.Error("the end of the one before has taken it away")
	}
	h.do(t, 5*hour+2*week, lasting("late", time.Hour))
	if r := h.do(t, 7*hour+3*week, createToken(&logv1.CreateToken{Name: "late", SecretSha256: secret("later")}))[0]; r.GetRefusal() != nil {
		t.Errorf("the name of one that expired long ago: %v", r)
	}
	if name, _ := h.Access().Token(TokenID(secret("later"))); name != "late" {
		t.Error("the new one was forgotten with the one before")
	}
}

// TestFullOfTokens: expired tokens do not count when there is no room; live ones do.
func TestFullOfTokens(t *testing.T) {
	h := newHarness(t)
	hour := int64(time.Hour)
	var cmds []*logv1.Command
	for i := range limits.MaxTokens {
		ttl := time.Duration(0)
		if i < 2 {
			ttl = time.Hour
		}
		cmds = append(cmds, lasting(fmt.Sprintf("t%d", i), ttl))
	}
	h.do(t, hour, cmds...)
	if h.Access().Tokens() != limits.MaxTokens {
		t.Fatalf("%d tokens", h.Access().Tokens())
	}
	revision := h.Revision()
	if r := h.do(t, hour, tokenWith("more"))[0]; r.GetRefusal().GetReason() != logv1.Refusal_REASON_LIMIT || h.Revision() != revision {
		t.Errorf("one more: %v", r)
	}
	for i, full := range []bool{false, false, true} {
		r := h.do(t, 2*hour, tokenWith(fmt.Sprintf("new%d", i)))[0]
		if (r.GetRefusal().GetReason() == logv1.Refusal_REASON_LIMIT) != full || h.Access().Tokens() != limits.MaxTokens {
			t.Errorf("%d, after two have expired: %v, %d tokens", i, r.GetRefusal(), h.Access().Tokens())
		}
	}
	if differs, err := h.view.Load().accessDiffers(func() error { return nil }); differs || err != nil {
		t.Errorf("the index differs: %v %v", differs, err)
	}
}

// TestListsOfAccessShowWhatOneAdministers: who has the verb auth over some services is shown who was granted something
// over these alone.
func TestListsOfAccessShowWhatOneAdministers(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1,
		putRole("granter", access.Auth|access.Read),
		putGrants("cert:boss", grantOver("admin", "*")),
		putGrants("cert:shop", grantOver("granter", "shop/*", "pay/api")),
		putGrants("cert:shop-2", grantOver("admin", "shop/a/*")),
		putGrants("cert:wide", grantOver("viewer", "shop/*"), grantOver("viewer", "pay/*")),
		putGrants("cert:none"), deny("cert:denied"),
		recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: "cert:denied-2", Grants: []*logv1.Grant{grantOver("viewer", "shop/*")}, Denied: true}),
		tokenWith("a", grantOver("viewer", "*")), tokenWith("b", grantOver("viewer", "shop/*")), tokenWith("c"),
		tokenWith("d", grantOver("viewer", "pay/api"), grantOver("reporter", "shop/x")), tokenWith("e", grantOver("viewer", "shop/*", "web")),
		tokenWith("f", grantOver("viewer", "shop/*")))
	lists := func(caller string, limit int) (tokens, identities []string, filtered bool) {
		for after, more := "", true; more; {
			list, m, part, _ := h.ListTokens(caller, after, limit)
			if more = m; more && len(list) != limit {
				t.Fatalf("%q: a page of %d, and others follow", caller, len(list))
			}
			for _, one := range list {
				tokens, after = append(tokens, one.GetName()), one.GetName()
			}
			filtered = part
		}
		for after, more := "", true; more; {
			list, m, part, _ := h.ListGrants(caller, after, limit)
			if more = m; more && len(list) != limit || part != filtered {
				t.Fatalf("%q: a page of %d, and others follow; filtered %v", caller, len(list), part)
			}
			for _, one := range list {
				identities, after = append(identities, one.GetIdentity()), one.GetIdentity()
			}
		}
		return tokens, identities, filtered
	}
	everything := []string{"a", "b", "c", "d", "e", "f"}
	if tokens, identities, filtered := lists("cert:shop", 2); !slices.Equal(tokens, everything) || len(identities) != 11 || filtered {
		t.Errorf("while access is not enforced: %v, %v, filtered %v", tokens, identities, filtered)
	}
	h.do(t, 1, by("static", setAuth(true, "")))
	for limit := 1; limit < 8; limit++ {
		for _, caller := range []string{"", "cert:boss"} {
			if tokens, identities, filtered := lists(caller, limit); !slices.Equal(tokens, everything) || len(identities) != 11 || filtered {
				t.Errorf("%q: %v, %v, filtered %v", caller, tokens, identities, filtered)
			}
		}
		tokens, identities, filtered := lists("cert:shop", limit)
		if !slices.Equal(tokens, []string{"b", "d", "f"}) || !slices.Equal(identities, []string{"cert:shop", "cert:shop-2", "token:b", "token:d", "token:f"}) || !filtered {
			t.Errorf("of the shop, %d a page: %v, %v, filtered %v", limit, tokens, identities, filtered)
		}
		if tokens, identities, filtered := lists("cert:wide", limit); len(tokens)+len(identities) > 0 || !filtered {
			t.Errorf("who administers nothing: %v, %v, filtered %v", tokens, identities, filtered)
		}
	}
	for identity, want := range map[string]bool{"cert:shop-2": true, "token:d": true, "cert:wide": false, "cert:denied": false, "cert:denied-2": false, "cert:none": false, "cert:nobody": false} {
		if g, filtered, _ := h.ShownGrants("cert:shop", identity); (g != nil) != want || filtered == want {
			t.Errorf("%s: %v, filtered %v", identity, g, filtered)
		}
	}
	if g, filtered, _ := h.ShownGrants("cert:boss", "cert:nobody"); g != nil || filtered {
		t.Errorf("nobody, to who is shown all: %v, filtered %v", g, filtered)
	}
}
