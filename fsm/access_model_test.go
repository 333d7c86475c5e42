package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// naive is who may do what, as plainly as it can be said.
type naive struct {
	now       int64
	roles     map[string]access.Verbs
	tokens    map[string]naiveToken
	given     map[string][]*logv1.Grant
	denied    map[string]bool
	enforced  bool
	anonymous string
}

type naiveToken struct {
	secret string
	end    int64
}

func (n *naive) copy() *naive {
	c := *n
	c.roles, c.tokens, c.given, c.denied = maps.Clone(n.roles), maps.Clone(n.tokens), maps.Clone(n.given), maps.Clone(n.denied)
	return &c
}

func (n *naive) verbs(role string) access.Verbs {
	if v, ok := access.BuiltIn(role); ok {
		return v
	}
	return n.roles[role]
}

func (n *naive) known(role string) bool {
	_, builtIn := access.BuiltIn(role)
	return builtIn || n.roles[role] != 0
}

// granted says whether an identity may do one thing, as far as roles and grants say.
func (n *naive) granted(identity string, verb access.Verbs, over string) bool {
	if n.denied[identity] {
		return false
	}
	if n.anonymous != "" && n.verbs(n.anonymous)&verb != 0 {
		return true
	}
	for _, g := range n.given[identity] {
		for _, p := range g.GetPatterns() {
			if n.verbs(g.GetRole())&verb != 0 && pattern.Contains(p, over) {
				return true
			}
		}
	}
	return false
}

// valid says whether the credential of a caller is one.
func (n *naive) valid(who string) bool {
	name, ok := cutToken(who)
	if !ok {
		return true
	}
	t, ok := n.tokens[name]
	return ok && t.secret == name && (t.end == 0 || n.now < t.end)
}

// may says whether a caller may do all of verbs over a pattern.
func (n *naive) may(who string, verbs access.Verbs, over string) bool {
	if !n.valid(who) {
		return false
	}
	if who == "static" || !n.enforced {
		return true
	}
	for v := access.Verbs(1); v < access.All; v <<= 1 {
		if verbs&v != 0 && !n.granted(who, v, over) {
			return false
		}
	}
	return true
}

func (n *naive) some(who string, verb access.Verbs) bool {
	for _, over := range append(slices.Clone(modelPatterns), modelServices...) {
		if n.may(who, verb, over) {
			return true
		}
	}
	return false
}

// give says whether a caller may change what an identity was granted.
func (n *naive) give(who, identity string, grants []*logv1.Grant) bool {
	if !n.some(who, access.Auth) {
		return false
	}
	for _, g := range slices.Concat(grants, n.given[identity]) {
		for _, p := range g.GetPatterns() {
			if !n.may(who, n.verbs(g.GetRole())|access.Auth, p) {
				return false
			}
		}
	}
	return true
}

// inUse says whether anybody has a role.
func (n *naive) inUse(role string) bool {
	for _, grants := range n.given {
		if slices.ContainsFunc(grants, func(g *logv1.Grant) bool { return g.GetRole() == role }) {
			return true
		}
	}
	return n.anonymous == role
}

// put has an identity have grants.
func (n *naive) put(identity string, grants []*logv1.Grant, denied bool) {
	n.given[identity], n.denied[identity] = grants, denied
}

// lockedOut says whether the caller of a change could undo it before, and could not afterwards.
func (n *naive) lockedOut(who string, after *naive) bool {
	if who == "static" || !after.enforced {
		return false
	}
	for _, verbs := range []access.Verbs{access.Auth, access.All} {
		if n.may(who, verbs, pattern.All) && !after.may(who, verbs, pattern.All) {
			return true
		}
	}
	return false
}

var (
	modelIdentities = []string{"", "cert:a", "cert:b", "token:t", "token:u"}
	modelPatterns   = []string{"*", "a", "a/*", "a/b/*", "b.*"}
	modelServices   = []string{"a", "a/b", "a/b/c", "b.c"}
	modelRoles      = []string{"viewer", "reporter", "admin", "mine", "yours"}
)

// TestAccessEqualsANaiveOne has random callers change who may do what, and time pass: each change is taken or refused as
// the naive one says, and afterwards reads and writes are allowed as it says; from memory and from the registry file.
func TestAccessEqualsANaiveOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
		n := &naive{now: 1, roles: map[string]access.Verbs{}, tokens: map[string]naiveToken{}, given: map[string][]*logv1.Grant{}, denied: map[string]bool{}}
		genGrants := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *logv1.Grant {
			return grantOver(rapid.SampledFrom(modelRoles).Draw(t, "role"), rapid.SliceOfNDistinct(rapid.SampledFrom(modelPatterns), 1, 2, rapid.ID).Draw(t, "over")...)
		}), 0, 2)
		genWho := rapid.SampledFrom(append([]string{"static", "static"}, modelIdentities...))
		knownAll := func(grants []*logv1.Grant) bool {
			return !slices.ContainsFunc(grants, func(g *logv1.Grant) bool { return !n.known(g.GetRole()) })
		}
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			n.now += rapid.Int64Range(0, 2).Draw(r, "later") * 1e9
			who := genWho.Draw(r, "who")
			after := n.copy()
			var cmd *logv1.Command
			ok := n.valid(who)
			switch rapid.IntRange(0, 6).Draw(r, "what") {
			case 0:
				role, verbs := rapid.SampledFrom(modelRoles[3:]).Draw(r, "role"), access.Verbs(rapid.Uint32Range(1, uint32(access.All)).Draw(r, "verbs"))
				cmd = putRole(role, verbs)
				ok = n.may(who, access.Auth|verbs|n.roles[role], pattern.All)
				after.roles[role] = verbs
			case 1:
				role := rapid.SampledFrom(modelRoles[3:]).Draw(r, "role")
				cmd = deleteRole(role)
				ok = n.may(who, access.Auth|n.roles[role], pattern.All) && n.known(role) && !n.inUse(role)
				delete(after.roles, role)
			case 2:
				name := rapid.SampledFrom([]string{"t", "u"}).Draw(r, "token")
				old := rapid.IntRange(0, 3).Draw(r, "another secret") == 0
				ttl, grants := rapid.Int64Range(0, 3).Draw(r, "ttl")*1e9, genGrants.Draw(r, "grants")
				made := naiveToken{secret: name}
				if old {
					made.secret = name + "-old"
				}
				if ttl > 0 {
					made.end = n.now + ttl
				}
				cmd = createToken(&logv1.CreateToken{Name: name, SecretSha256: secret(made.secret), Ttl: ttl, Grants: grants})
				before, exists := n.tokens[name]
				gone := exists && before.end != 0 && n.now >= before.end
				ok = ok && knownAll(grants) && n.give(who, "token:"+name, grants) && (!exists || gone || before.secret == made.secret)
				if !exists || before.secret != made.secret {
					after.tokens[name] = made
					after.put("token:"+name, grants, n.denied["token:"+name])
				}
			case 3:
				name := rapid.SampledFrom([]string{"t", "u"}).Draw(r, "token")
				cmd = revokeToken(name)
				_, exists := n.tokens[name]
				ok = ok && n.give(who, "token:"+name, nil) && exists
				delete(after.tokens, name)
				after.put("token:"+name, nil, n.denied["token:"+name])
			case 4, 5:
				identity, grants := rapid.SampledFrom(modelIdentities[1:]).Draw(r, "identity"), genGrants.Draw(r, "grants")
				denied := rapid.IntRange(0, 3).Draw(r, "denied") == 0
				cmd = recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{Identity: identity, Grants: grants, Denied: denied})
				ok = ok && knownAll(grants) && n.give(who, identity, grants) && (denied == n.denied[identity] || n.may(who, access.Auth, pattern.All))
				after.put(identity, grants, denied)
			case 6:
				enforced, role := rapid.IntRange(0, 3).Draw(r, "enforced") > 0, rapid.SampledFrom(append([]string{""}, modelRoles...)).Draw(r, "anonymous")
				cmd = setAuth(enforced, role)
				given := n.verbs(role)
				if n.enforced && !enforced {
					given = access.All
				}
				ok = ok && (role == "" || n.known(role)) && n.may(who, access.Auth|given, pattern.All)
				after.enforced, after.anonymous = enforced, role
			}
			ok = ok && !n.lockedOut(who, after)
			preview := h.Preview(by(who, cmd), n.now).Proto().GetRefusal()
			result := h.do(t, n.now, by(who, cmd))[0]
			if got := result.GetRefusal(); (got == nil) != ok || !proto.Equal(got, preview) {
				r.Fatalf("%q: %v\n%v, the preview says %v, allowed is %v", who, cmd, got, preview, ok)
			}
			if ok {
				n = after
			}
			n.compare(r, h.FSM)
		}
		again, err := New(Config{RegistryFile: h.registryFile})
		if err != nil {
			r.Fatal(err)
		}
		defer again.Close()
		n.compare(r, again)
	})
}

// compare fails if f allows something else than n.
func (n *naive) compare(t *rapid.T, f *FSM) {
	a := f.Access()
	if a.Enforced() != n.enforced || f.ReadsOpen() != (!n.enforced || n.granted("", access.Read, pattern.All)) {
		t.Fatalf("enforced %v, everybody reads everything %v", a.Enforced(), f.ReadsOpen())
	}
	for _, identity := range modelIdentities {
		shown := identity
		if identity == "" {
			shown = "anonymous"
		}
		p := a.Permissions(shown)
		if a.Denied(shown) != n.denied[identity] {
			t.Fatalf("%q is denied: %v", identity, a.Denied(shown))
		}
		for v := access.Verbs(1); v < access.All; v <<= 1 {
			for _, over := range slices.Concat(modelPatterns, modelServices) {
				want := n.granted(identity, v, over)
				if p.Covers(v, over) != want {
					t.Fatalf("%q: %v over %s: %v", identity, v.Names(), over, !want)
				}
				if g, ok := a.Ground(shown, v, over); ok != want || ok && (n.verbs(g.Role)&v == 0 || !pattern.Contains(g.Pattern, over)) {
					t.Fatalf("%q: %v over %s: %v thanks to %+v", identity, v.Names(), over, ok, g)
				}
			}
		}
	}
	for _, who := range append([]string{"static"}, modelIdentities...) {
		for _, service := range modelServices {
			refusal := f.Preview(by(who, write(change(service, serving))), n.now).Proto().GetRefusal()
			if want := n.may(who, access.Report, service); (refusal == nil) != want {
				t.Fatalf("%q reports %s: %v, allowed is %v", who, service, refusal, want)
			}
		}
	}
	for name, token := range n.tokens {
		if got, record := a.Token(TokenID(secret(token.secret))); got != name || record.GetExpireTime() != token.end {
			t.Fatalf("token %s: %q %v", name, got, record)
		}
	}
	if a.Tokens() != len(n.tokens) {
		t.Fatalf("%d tokens, want %d", a.Tokens(), len(n.tokens))
	}
	if differs, err := f.view.Load().accessDiffers(func() error { return nil }); differs || err != nil {
		t.Fatal(fmt.Sprint("the index differs: ", differs, err))
	}
}

// genAccess makes commands about access, by callers who may do all of it, or nothing.
var genAccess = rapid.Custom(func(t *rapid.T) *logv1.Command {
	names := rapid.SampledFrom([]string{"t", "u"})
	genRole, genPatterns := rapid.SampledFrom(modelRoles), rapid.SliceOfNDistinct(rapid.SampledFrom(modelPatterns), 1, 2, rapid.ID)
	var cmd *logv1.Command
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		cmd = putRole(rapid.SampledFrom(modelRoles[3:]).Draw(t, "role"), access.Verbs(rapid.Uint32Range(1, uint32(access.All)).Draw(t, "verbs")))
	case 1:
		cmd = deleteRole(rapid.SampledFrom(modelRoles[3:]).Draw(t, "role"))
	case 2:
		name := names.Draw(t, "token")
		cmd = createToken(&logv1.CreateToken{
			Name: name, SecretSha256: secret(name + rapid.SampledFrom([]string{"", "2"}).Draw(t, "secret")),
			Ttl:    rapid.SampledFrom([]int64{0, 0, 1e9}).Draw(t, "ttl"),
			Grants: []*logv1.Grant{grantOver(genRole.Draw(t, "role"), genPatterns.Draw(t, "over")...)},
		})
	case 3:
		cmd = revokeToken(names.Draw(t, "token"))
	case 4:
		cmd = recordCommand(logv1.Kind_KIND_GRANTS, &logv1.PutGrants{
			Identity: rapid.SampledFrom(modelIdentities[1:]).Draw(t, "identity"), Denied: rapid.Bool().Draw(t, "denied"),
			Grants: []*logv1.Grant{grantOver(genRole.Draw(t, "role"), genPatterns.Draw(t, "over")...)},
		})
	case 5:
		cmd = setAuth(rapid.IntRange(0, 3).Draw(t, "enforced") == 0, rapid.SampledFrom([]string{"", "viewer", "admin", "mine"}).Draw(t, "anonymous"))
	}
	cmd = by(rapid.SampledFrom([]string{"static", "static", "cert:a", "token:t"}).Draw(t, "who"), cmd)
	cmd.RequestId = rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "request id")
	return cmd
})
