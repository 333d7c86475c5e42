package fsm

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func secret(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func createToken(c *logv1.CreateToken) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Create{Create: c}})
}

func tokenWith(name string, grants ...*logv1.Grant) *logv1.Command {
	return createToken(&logv1.CreateToken{Name: name, SecretSha256: secret(name), Grants: grants})
}

func revokeToken(name string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{Command: &logv1.TokenCommand_Revoke{Revoke: &logv1.RevokeToken{Name: name}}})
}

func putRole(name string, verbs access.Verbs) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Put{Put: &logv1.PutRole{Name: name, Verbs: uint32(verbs)}}})
}

func deleteRole(name string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_ROLE, &logv1.RoleCommand{Command: &logv1.RoleCommand_Delete{Delete: &logv1.DeleteRole{Name: name}}})
}

func putGrants(identity string, grants ...*logv1.Grant) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: identity, Grants: grants})
}

func deny(identity string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: identity, Denied: true})
}

func setAuth(enforced bool, anonymous string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_AUTH, &logv1.SetAuth{Enforced: enforced, Anonymous: anonymous})
}

func grantOver(role string, patterns ...string) *logv1.Grant {
	return &logv1.Grant{Role: role, Patterns: patterns}
}

// by has an identity be the caller of a command; "static" is an administrator of the node's configuration, "" nobody.
func by(identity string, cmd *logv1.Command) *logv1.Command {
	cmd = proto.CloneOf(cmd)
	switch {
	case identity == "":
	case identity == "static":
		cmd.Actor = &logv1.Actor{Name: "static:n1", Verified: true, StaticAdmin: true}
	default:
		cmd.Actor = &logv1.Actor{Name: identity, Verified: true}
		if name, ok := cutToken(identity); ok {
			cmd.Actor.Credential = TokenID(secret(name))
		}
	}
	return cmd
}

func cutToken(identity string) (string, bool) {
	if len(identity) > 6 && identity[:6] == limits.TokenIdentity {
		return identity[6:], true
	}
	return "", false
}

func TestAuthorization(t *testing.T) {
	const hour = int64(3600e9)
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
	now := hour
	step := func(what string, cmd *logv1.Command, want logv1.Refusal_Reason) {
		t.Helper()
		preview := h.Preview(cmd, now).Proto()
		got := h.do(t, now, cmd)[0]
		if got.GetRefusal().GetReason() != want {
			t.Errorf("%s: %v, want %v", what, got.GetRefusal(), want)
		}
		if preview.GetRefusal().GetReason() != want {
			t.Errorf("%s: the preview says %v, want %v", what, preview.GetRefusal(), want)
		}
	}
	const (
		ok       = logv1.Refusal_REASON_UNSPECIFIED
		no       = logv1.Refusal_REASON_DENIED
		invalid  = logv1.Refusal_REASON_INVALID
		notFound = logv1.Refusal_REASON_NOT_FOUND
		escalate = logv1.Refusal_REASON_ESCALATION
		lockout  = logv1.Refusal_REASON_AUTH_LOCKOUT
		revoked  = logv1.Refusal_REASON_TOKEN_REVOKED
		expired  = logv1.Refusal_REASON_TOKEN_EXPIRED
		inUse    = logv1.Refusal_REASON_ROLE_IN_USE
	)
	serving := logv1.Status_STATUS_SERVING
	root, ops, ci := "cert:root", "cert:ops", "token:ci"

	step("before it is enforced anybody writes", by("", write(change("shop/cart", serving))), ok)
	step("and gives grants", by("", putGrants(root, grantOver("admin", "*"))), ok)
	step("who could not undo it enforces nothing", by("cert:other", setAuth(true, "viewer")), lockout)
	step("nor does nobody", by("", setAuth(true, "viewer")), lockout)
	step("a role that does not exist", by(root, setAuth(true, "watcher")), notFound)
	step("enforced", by(root, setAuth(true, "viewer")), ok)

	step("nobody writes", by("", write(change("shop/cart", serving))), no)
	step("an unverified name is nobody", &logv1.Command{Actor: &logv1.Actor{Name: root}, Kind: write(change("a", serving)).Kind}, no)
	step("root writes", by(root, write(change("shop/cart", serving))), ok)
	step("a static administrator writes", by("static", write(change("pay", serving))), ok)
	step("an unverified one is nobody", &logv1.Command{Actor: &logv1.Actor{Name: "static:n1", StaticAdmin: true}, Kind: write(change("a", serving)).Kind}, no)
	step("and locks nobody in", &logv1.Command{Actor: &logv1.Actor{Name: "static:n1", StaticAdmin: true}, Kind: setAuth(false, "").Kind}, no)
	step("nodes go on", &logv1.Command{Actor: &logv1.Actor{Name: "node n1", Verified: true}, Kind: &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: 1}}}, ok)

	step("a token", by(root, tokenWith("ci", grantOver("reporter", "shop/*"))), ok)
	step("the same once more", by(root, tokenWith("ci", grantOver("reporter", "shop/*"))), ok)
	step("another of its name", by(root, createToken(&logv1.CreateToken{Name: "ci", SecretSha256: secret("x")})), invalid)
	step("it reports", by(ci, write(change("shop/cart", serving))), ok)
	step("all or nothing", by(ci, write(change("shop/cart", serving), change("shopify", serving))), no)
	step("no override", by(ci, over("shop/cart", serving)), no)
	step("no rule", by(ci, atLeast("r", "shop/*", 1)), no)
	step("no grants", by(ci, putGrants("cert:x", grantOver("reporter", "shop/*"))), no)
	step("a lease", by(ci, grantOf(leaseID(1))), ok)
	step("reports under it", by(root, write(leased("pay/a", serving, leaseID(1)))), ok)
	step("its owner ends it, whatever is attached", by(ci, revoke(leaseID(1))), ok)
	step("a lease of another", by(root, grantOf(leaseID(2))), ok)
	step("is not ended", by(ci, revoke(leaseID(2))), no)
	step("nor attached to", by(ci, write(leased("shop/a", serving, leaseID(2)))), no)
	step("a static administrator ends it", by("static", revoke(leaseID(2))), ok)
	step("another secret", func() *logv1.Command {
		cmd := by(ci, write(change("shop/cart", serving)))
		cmd.Actor.Credential = TokenID(secret("old"))
		return cmd
	}(), revoked)

	step("an operator of the shop", by(root, putGrants(ops, grantOver("operator", "shop/*"))), ok)
	step("overrides the shop", by(ops, over("shop/*", serving)), ok)
	step("not everything", by(ops, over("*", serving)), no)
	step("nor clears it", by(ops, clearOver("*")), no)
	step("a rule of the shop", by(ops, atLeast("r", "shop/*", 1)), ok)
	step("does not move it elsewhere", by(ops, atLeast("r", "pay/*", 1)), no)
	step("root does", by(root, atLeast("r", "pay/*", 1)), ok)
	step("and then it is not of the shop", by(ops, removeRule("r")), no)
	step("adds no member", by(ops, addMember(joiner("n1", "d1"))), no)
	step("nor removes one", by(ops, removeMember("n1")), no)
	step("nor replaces one", by(ops, replaceMember(joiner("n1", "d1"))), no)
	step("nor promotes one", by(ops, logv1.PromoteMemberCommand("n1")), no)
	step("a keeper of the cluster", by(root, putRole("keeper", access.Cluster)), ok)
	step("is made", by(root, putGrants("cert:keeper", grantOver("keeper", "*"))), ok)
	step("he does", by("cert:keeper", addMember(joiner("n1", "d1"))), ok)
	step("and is told what is wrong", by("cert:keeper", removeMember("n9")), notFound)
	step("root does, too", by(root, addMember(joiner("n2", "d2"))), ok)
	step("nobody does not", by("", removeMember("n2")), no)
	step("breaking a rule takes the verb rules", by(ci, because(write(change("shop/cart", serving)), "now", "r")), no)
	step("who has it may", by(ops, because(write(change("shop/cart", serving)), "now", "r")), ok)

	step("a role", by(root, putRole("granter", access.Auth|access.Read|access.Report)), ok)
	step("no built-in role is changed", by(root, putRole("viewer", access.All)), invalid)
	step("unknown verbs", by(root, putRole("x", 1<<20)), invalid)
	step("no verbs", by(root, putRole("x", 0)), invalid)
	step("an administrator of the shop", by(root, putGrants("cert:shop", grantOver("granter", "shop/*"))), ok)
	step("gives what he has", by("cert:shop", tokenWith("s1", grantOver("reporter", "shop/a/*"))), ok)
	step("not more services", by("cert:shop", tokenWith("s2", grantOver("reporter", "*"))), escalate)
	step("not more verbs", by("cert:shop", tokenWith("s2", grantOver("operator", "shop/*"))), escalate)
	step("takes nobody's else", by("cert:shop", putGrants(ops)), escalate)
	step("revokes his own", by("cert:shop", revokeToken("s1")), ok)
	step("denies nobody", by("cert:shop", deny(ops)), no)
	step("changes no role", by("cert:shop", putRole("granter", access.All)), no)
	step("nor whether it is enforced", by("cert:shop", setAuth(false, "")), no)

	step("deny wins", by(root, deny("cert:shop")), ok)
	step("over what everybody may", by("cert:shop", write(change("shop/cart", serving))), no)
	step("nobody locks himself out by denying", by(root, deny(root)), lockout)
	step("by taking", by(root, putGrants(root, grantOver("viewer", "*"))), lockout)
	step("a static administrator may", by("static", putGrants(root)), ok)
	step("and gives it back", by("static", putGrants(root, grantOver("admin", "**"))), ok)

	step("who has auth alone", by(root, putGrants("cert:auth", grantOver("granter", "*"))), ok)
	step("does not give everybody everything", by("cert:auth", setAuth(false, "")), escalate)
	step("but says what anonymous callers are", by("cert:auth", setAuth(true, "reporter")), ok)
	step("as they were", by(root, setAuth(true, "viewer")), ok)

	step("a role that somebody has is not deleted", by(root, deleteRole("granter")), inUse)
	step("it is taken from him", by(root, putGrants("cert:auth")), ok)
	step("and then everybody has it", by(root, setAuth(true, "granter")), ok)
	step("nor one that everybody has", by(root, deleteRole("granter")), inUse)
	step("as they were", by(root, setAuth(true, "viewer")), ok)
	step("a role that is deleted", by(root, deleteRole("granter")), ok)
	step("can be given to nobody", by(root, putGrants("cert:y", grantOver("granter", "*"))), notFound)
	step("a token with an end", by(root, createToken(&logv1.CreateToken{Name: "short", SecretSha256: secret("short"), Ttl: hour, Grants: []*logv1.Grant{grantOver("reporter", "*")}})), ok)
	step("it works", by("token:short", write(change("x", serving))), ok)
	now += hour
	step("until its end", by("token:short", write(change("x", serving))), expired)
	step("revoked", by(root, revokeToken("ci")), ok)
	step("is revoked", by(ci, write(change("shop/cart", serving))), revoked)
	step("twice", by(root, revokeToken("ci")), notFound)
	step("it has no grants left", by(root, tokenWith("ci")), ok)
	step("so the next of its name has none", by(ci, write(change("shop/cart", serving))), no)
	step("not enforced any more", by(root, setAuth(false, "")), ok)
	step("anybody writes", by("", write(change("shop/cart", serving))), ok)
	step("but no token that expired", by("token:short", write(change("x", serving))), expired)
	step("nor one that is none", by("token:nobody", write(change("x", serving))), revoked)
	step("a certificate with a common name", by("", putGrants("cert:Alice Smith", grantOver("viewer", "*"))), ok)

	for name, cmd := range map[string]*logv1.Command{
		"identity of a node":   putGrants("node:n1", grantOver("viewer", "*")),
		"no identity":          putGrants("", grantOver("viewer", "*")),
		"anonymous":            putGrants("anonymous", grantOver("viewer", "*")),
		"a space at the end":   putGrants("cert:a ", grantOver("viewer", "*")),
		"a space in a token":   putGrants("token:a b", grantOver("viewer", "*")),
		"no name":              putGrants("cert:", grantOver("viewer", "*")),
		"a pattern":            putGrants("cert:a", grantOver("viewer", "shop*")),
		"no pattern":           putGrants("cert:a", grantOver("viewer")),
		"ttl 1ns":              createToken(&logv1.CreateToken{Name: "a", SecretSha256: secret("a"), Ttl: 1}),
		"ttl 11 years":         createToken(&logv1.CreateToken{Name: "a", SecretSha256: secret("a"), Ttl: 11 * 365 * 24 * hour}),
		"ttl negative":         createToken(&logv1.CreateToken{Name: "a", SecretSha256: secret("a"), Ttl: -1}),
		"a short hash":         createToken(&logv1.CreateToken{Name: "a", SecretSha256: []byte("x")}),
		"a name with a colon*": createToken(&logv1.CreateToken{Name: "a*", SecretSha256: secret("a")}),
		"garbage":              recordCommand(logv1.Kind_KIND_TOKEN, &logv1.TokenCommand{}),
	} {
		step(name, cmd, invalid)
	}
}

// TestLeasesOfOthers: a lease belongs to the identity that granted it. One that was granted by nobody belongs to all
// who report.
func TestLeasesOfOthers(t *testing.T) {
	const serving, sql, web, all = logv1.Status_STATUS_SERVING, "cert:sql", "cert:web", "cert:all"
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
	step := func(what string, want logv1.Refusal_Reason, caller string, cmd *logv1.Command) *logv1.Refusal {
		t.Helper()
		preview := h.Preview(by(caller, cmd), 1).Proto().GetRefusal()
		got := h.do(t, 1, by(caller, cmd))[0].GetRefusal()
		if got.GetReason() != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		if !proto.Equal(preview, got) {
			t.Errorf("%s: the preview says %v, the fold %v", what, preview, got)
		}
		return got
	}
	const ok, no = logv1.Refusal_REASON_UNSPECIFIED, logv1.Refusal_REASON_DENIED
	denied := func(what, id, caller string, cmd *logv1.Command) {
		t.Helper()
		r := step(what, no, caller, cmd)
		if r.GetKind() != logv1.Kind_KIND_LEASE || r.GetKey() != id || r.GetGiven() != caller ||
			access.Verbs(r.GetLimit()) != access.Report || r.GetHeld() != pattern.All {
			t.Errorf("%s: %v, want lease %s, and report over everything", what, r, id)
		}
	}
	step("granted by nobody", ok, "", grantOf(leaseID(3)))
	step("attached by nobody", ok, "", write(leased("sql/old", serving, leaseID(3))))
	step("another by nobody", ok, "", grantOf(leaseID(4)))
	step("a lease of an identity, before it is enforced", ok, sql, grantOf(leaseID(5)))
	step("is used by all", ok, web, write(leased("web/early", serving, leaseID(5))))
	step("sql", ok, "", putGrants(sql, grantOver("reporter", "sql/*")))
	step("its equal", ok, "", putGrants("cert:sql-2", grantOver("reporter", "sql/*")))
	step("another", ok, "", putGrants(web, grantOver("reporter", "web/*")))
	step("who reports everything", ok, "", putGrants(all, grantOver("reporter", "*")))
	step("enforced", ok, "static", setAuth(true, "viewer"))

	denied("not any more", leaseID(5), web, write(leased("web/early", serving, leaseID(5))))
	step("its owner revokes it with reports of others", ok, sql, revoke(leaseID(5)))

	step("a lease", ok, sql, grantOf(leaseID(1)))
	denied("a new lease is not revoked by another", leaseID(1), web, revoke(leaseID(1)))
	denied("nor attached to", leaseID(1), web, write(leased("web/a", serving, leaseID(1))))
	step("its own", ok, sql, write(leased("sql/a", serving, leaseID(1))))
	denied("another attaches nothing to it", leaseID(1), web, write(leased("web/a", serving, leaseID(1))))
	denied("nor in a batch", leaseID(1), web, write(change("web/a", serving), leased("web/b", serving, leaseID(1))))
	denied("nor does who may report the same", leaseID(1), "cert:sql-2", write(leased("sql/b", serving, leaseID(1))))
	denied("who does not revoke it either", leaseID(1), "cert:sql-2", revoke(leaseID(1)))
	for who, want := range map[string]bool{"": false, web: false, "cert:sql-2": false, sql: true, all: true, "static": true} {
		if got := h.Authorized(by(who, write(leased("sql/a", serving, leaseID(1))))); got != want {
			t.Errorf("%q may write under the lease: %v", who, got)
		}
	}
	step("but takes the report over", ok, "cert:sql-2", grantOf(leaseID(6)))
	step("to a lease of its own", ok, "cert:sql-2", write(leased("sql/a", serving, leaseID(6))))
	step("an anonymous caller with the name of the owner", no, "", &logv1.Command{Actor: &logv1.Actor{Name: sql}, Kind: revoke(leaseID(1)).Kind})
	step("who reports everything attaches to it", ok, all, write(leased("web/y", serving, leaseID(1))))
	step("and an administrator", ok, "static", write(leased("web/x", serving, leaseID(1))))
	step("who granted it revokes it all the same", ok, sql, revoke(leaseID(1)))
	step("who reports everything revokes another", ok, all, revoke(leaseID(6)))

	step("nobody's is used by who reports anything", ok, web, write(leased("web/a", serving, leaseID(4))))
	step("and revoked, if he may report what is attached", ok, web, revoke(leaseID(4)))
	denied("else it is not", leaseID(3), web, revoke(leaseID(3)))
	step("not by who reports nothing", no, "", revoke(leaseID(3)))
	step("sql may", ok, sql, revoke(leaseID(3)))
	step("no lease", logv1.Refusal_REASON_NOT_FOUND, web, write(leased("web/a", serving, leaseID(9))))

	step("one more", ok, web, grantOf(leaseID(7)))
	step("whose owner is denied", ok, "static", deny(web))
	step("does not revoke it", no, web, revoke(leaseID(7)))
	step("a token", ok, "static", tokenWith("ci", grantOver("reporter", "ci/*")))
	step("its lease", ok, "token:ci", grantOf(leaseID(8)))
	step("revoked", ok, "static", revokeToken("ci"))
	step("made anew", ok, "static", createToken(&logv1.CreateToken{Name: "ci", SecretSha256: secret("new"), Grants: []*logv1.Grant{grantOver("reporter", "ci/*")}}))
	renewed := by("token:ci", write(leased("ci/a", serving, leaseID(8))))
	renewed.Actor.Credential = TokenID(secret("new"))
	if r := h.do(t, 1, renewed)[0]; r.GetRefusal() != nil {
		t.Errorf("another token of the same name: %v", r)
	}
}

// TestRefusalsTellNoPatternOfARule: nor whether there is one, to who may change none.
func TestRefusalsTellNoPatternOfARule(t *testing.T) {
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
	h.do(t, 1, by("", atLeast("secret", "pay/hidden/*", 1)), by("", putGrants("cert:shop", grantOver("operator", "shop/*"))), by("static", setAuth(true, "")))
	refusal := func(who string, cmd *logv1.Command) *logv1.Refusal {
		t.Helper()
		got := h.do(t, 2, by(who, cmd))[0].GetRefusal()
		if got.GetReason() != logv1.Refusal_REASON_DENIED || strings.Contains(got.String(), "hidden") {
			t.Errorf("%q: %v", who, got)
		}
		return got
	}
	refusal("cert:shop", atLeast("secret", "shop/*", 1))
	refusal("cert:shop", removeRule("secret"))
	there, not := refusal("cert:x", atLeast("secret", "shop/*", 1)), refusal("cert:x", atLeast("none", "shop/*", 1))
	if there.Key = not.Key; !proto.Equal(there, not) {
		t.Errorf("%v if there is one, %v if not", there, not)
	}
}

func leaseID(n int) string { return fmt.Sprintf("%016x", n) }

// TestAuthorizationEqualsANaiveOne compares the fold with rules that are written down as plainly as they can be.
func TestAuthorizationEqualsANaiveOne(t *testing.T) {
	identities := []string{"", "cert:a", "cert:b", "token:t", "static"}
	patterns := []string{"*", "**", "a", "a/*", "a/b/*", "b", "b.*"}
	services := []string{"a", "a/b", "a/b/c", "b", "b.c"}
	roles := []string{access.Viewer, access.Reporter, access.Operator, access.Admin, "mine"}
	rapid.Check(t, func(r *rapid.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		type grants map[string][]access.Grant
		given, deniedOnes := grants{}, map[string]bool{}
		mine := access.Verbs(rapid.Uint32Range(1, uint32(access.All)).Draw(r, "mine"))
		verbs := func(role string) access.Verbs {
			if v, ok := access.BuiltIn(role); ok {
				return v
			}
			return mine
		}
		anonymous := rapid.SampledFrom(append(slices.Clone(roles), "")).Draw(r, "anonymous")
		h.do(t, 0, putRole("mine", mine), by("static", tokenWith("t")))
		for _, identity := range []string{"cert:a", "cert:b", "token:t"} {
			var list []*logv1.Grant
			for range rapid.IntRange(0, 3).Draw(r, "grants") {
				role, p := rapid.SampledFrom(roles).Draw(r, "role"), rapid.SampledFrom(patterns).Draw(r, "over")
				list = append(list, grantOver(role, p))
				given[identity] = append(given[identity], access.Grant{Verbs: verbs(role), Pattern: p})
			}
			cmd := recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: identity, Grants: list, Denied: rapid.Bool().Draw(r, "denied")})
			deniedOnes[identity] = decodeGrants(cmd).GetDenied()
			h.do(t, 0, cmd)
		}
		// Each identity has a lease with a report of any service attached.
		attached := map[string]string{}
		leaseOf := func(owner string) string { return leaseID(1 + slices.Index(identities, owner)) }
		for _, owner := range identities {
			attached[owner] = rapid.SampledFrom(services).Draw(r, "attached")
			cmd := grantOf(leaseOf(owner))
			cmd.Actor = by(owner, cmd).GetActor()
			h.do(t, 0, cmd, write(leased(attached[owner]+"/"+leaseOf(owner), logv1.Status_STATUS_SERVING, leaseOf(owner))))
		}
		if res := h.do(t, 0, by("static", setAuth(true, anonymous)))[0]; res.GetRefusal() != nil {
			r.Fatal(res)
		}
		// The naive one: verb by verb, service by service, over names that stand for all.
		may := func(identity string, verb access.Verbs, over string) bool {
			if identity == "static" {
				return true
			}
			if deniedOnes[identity] {
				return false
			}
			if anonymous != "" && verbs(anonymous)&verb != 0 {
				return true
			}
			for _, g := range given[identity] {
				if g.Verbs&verb != 0 && pattern.Contains(g.Pattern, over) {
					return true
				}
			}
			return false
		}
		for range 10 {
			who := rapid.SampledFrom(identities).Draw(r, "who")
			var cmd *logv1.Command
			var want bool
			owner := rapid.SampledFrom(identities).Draw(r, "owner")
			own := who == owner && who != "" || may(who, access.Report, "*")
			reports := may(who, access.Report, "*") || slices.ContainsFunc(patterns, func(p string) bool { return may(who, access.Report, p) })
			switch rapid.IntRange(0, 4).Draw(r, "what") {
			case 0:
				s := rapid.SampledFrom(services).Draw(r, "service")
				cmd, want = write(change(s, logv1.Status_STATUS_SERVING)), may(who, access.Report, s)
			case 1:
				p := rapid.SampledFrom(patterns).Draw(r, "pattern")
				cmd, want = over(p, logv1.Status_STATUS_SERVING), may(who, access.Override, p)
			case 2:
				role, p := rapid.SampledFrom(roles).Draw(r, "role"), rapid.SampledFrom(patterns).Draw(r, "pattern")
				cmd, want = putGrants("cert:new", grantOver(role, p)), true
				for v := access.Verbs(1); v < access.All; v <<= 1 {
					if (verbs(role)|access.Auth)&v != 0 && !may(who, v, p) {
						want = false
					}
				}
			case 3:
				s := rapid.SampledFrom(services).Draw(r, "service")
				cmd, want = write(leased(s, logv1.Status_STATUS_SERVING, leaseOf(owner))), may(who, access.Report, s) && (own || owner == "")
			case 4:
				cmd, want = revoke(leaseOf(owner)), reports && (own || owner == "" && may(who, access.Report, attached[owner]+"/"+leaseOf(owner)))
			}
			got := h.Preview(by(who, cmd), 0).Proto().GetRefusal()
			if (got == nil) != want {
				r.Fatalf("%q: %v: %v, want allowed %v", who, cmd, got, want)
			}
		}
	})
}

func decodeGrants(cmd *logv1.Command) *logv1.PutGrants {
	var c logv1.PutGrants
	if err := c.UnmarshalVT(cmd.GetRecord().GetPayload()); err != nil {
		panic(err)
	}
	return &c
}

// TestRequestIDsBelongToIdentities: the same id of another identity is another request, and who may do nothing drives
// nobody's answers out.
func TestRequestIDsBelongToIdentities(t *testing.T) {
	h := newHarness(t)
	named := func(identity string, c *logv1.Change) *logv1.Command { return by(identity, withID("x", c)) }
	h.do(t, 1, termStartWith(10, 1000), tokenWith("ci", grantOver("reporter", "*")), tokenWith("web"), putGrants("cert:ci", grantOver("reporter", "*")))
	first := h.do(t, 1, named("token:ci", change("a", serving)))[0]
	for _, other := range []string{"", "cert:ci", "static"} {
		if r := h.do(t, 1, named(other, change("b", serving)))[0]; r.GetReplayed() || r.GetRefusal() != nil {
			t.Errorf("%q: %v", other, r)
		}
	}
	if r := h.do(t, 1, named("token:ci", change("a", serving)))[0]; !r.GetReplayed() || r.GetRevision() != first.GetRevision() {
		t.Errorf("another try: %v, the first %v", r, first)
	}
	if r := h.do(t, 1, named("token:ci", change("b", serving)))[0]; r.GetRefusal().GetProblem() != logv1.Refusal_PROBLEM_REUSED {
		t.Errorf("another request of the same identity: %v", r)
	}
	h.do(t, 1, by("static", setAuth(true, "")))
	known := h.RequestIDs()
	for i := range 20 {
		for _, who := range []string{"", "token:web", "token:gone"} {
			if r := h.do(t, 1, by(who, withID(fmt.Sprintf("try-%d", i), change("a", serving))))[0]; r.GetRefusal() == nil {
				t.Errorf("%q: %v", who, r)
			}
		}
	}
	if got := h.RequestIDs(); got != known {
		t.Errorf("%d request ids are known, %d before", got, known)
	}
	denied := by("token:web", withID("later", change("a", serving)))
	h.do(t, 1, denied)
	h.do(t, 1, by("static", putGrants("token:web", grantOver("reporter", "*"))))
	if r := h.do(t, 1, denied)[0]; r.GetRefusal() != nil || r.GetReplayed() {
		t.Errorf("the same request, allowed now: %v", r)
	}
}
