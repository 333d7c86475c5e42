package authz

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func reader(identity string, grants ...access.Grant) *Reader {
	return NewReader(identity, 1, access.New(grants...), false)
}

func TestReader(t *testing.T) {
	r := reader("token:ci", access.Grant{Verbs: access.Read | access.Report, Pattern: "shop/*"}, access.Grant{Verbs: access.Report, Pattern: "pay"}, access.Grant{Verbs: access.Status, Pattern: "*"})
	for name, want := range map[string]bool{"shop/cart": true, "shop/": true, "pay": false, "shop": false, "shopify": false, "": true, "rollcall.live": true} {
		if r.Allows(name) != want || (r.DeniedRead(name) == nil) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	if r.Whole() || r.Nothing() || !r.May(access.Status) || r.May(access.Read) || r.May(access.Backup) || r.Denied(access.Status) != nil {
		t.Errorf("%+v", r)
	}
	if r.DeniedPrefixes() != nil || r.DeniedPrefixes("s", "shop/cart") != nil || r.DeniedPrefixes("") != nil {
		t.Error("a prefix of which something may be read is denied")
	}
	for what, f := range map[string]*rpcerror.Failure{
		"read shop.*": r.DeniedPrefixes("s", "shop."), "read pay": r.DeniedRead("pay"), "backup *": r.Denied(access.Backup), "read payx": r.DeniedPrefixes("payx"),
	} {
		if f == nil || f.Reason != rpcerror.ReasonDenied || f.Meta[rpcerror.MetaIdentity] != "token:ci" || f.Meta[rpcerror.MetaVerb]+" "+f.Meta[rpcerror.MetaName] != what {
			t.Errorf("%s: %+v", what, f)
		}
	}

	none := reader("anonymous")
	if !none.Nothing() || none.Allows("") || none.Allows("a") || none.Meets("*") || len(none.Within()) > 0 {
		t.Errorf("%+v", none)
	}
	for _, f := range []*rpcerror.Failure{none.DeniedRead("a"), none.DeniedPrefixes(), none.Denied(access.Status)} {
		if f == nil || f.Reason != rpcerror.ReasonNoCredentials {
			t.Errorf("anonymous is refused with %+v", f)
		}
	}
	some := reader("anonymous", access.Grant{Verbs: access.Status, Pattern: "*"})
	for _, f := range []*rpcerror.Failure{some.DeniedRead("a"), reader("cert:a").DeniedRead("a")} {
		if f == nil || f.Reason != rpcerror.ReasonDenied {
			t.Errorf("it is refused with %+v", f)
		}
	}
	denied := NewReader("cert:a", 1, access.Permissions{}, true)
	if f := denied.DeniedRead("a"); !strings.Contains(f.Message, "denied everything") {
		t.Errorf("%+v", f)
	}
	if e := Everybody(); !e.Whole() || !e.SeesAllEvents() || !e.May(access.All) || e.Leases() != nil {
		t.Errorf("%+v", e)
	}
}

func TestSameEvents(t *testing.T) {
	a, b := reader("cert:a", access.Grant{Verbs: access.Read, Pattern: "a/*"}), reader("cert:a", access.Grant{Verbs: access.Read, Pattern: "b"})
	more := reader("cert:a", access.Grant{Verbs: access.Read, Pattern: "a/*"}, access.Grant{Verbs: access.Auth, Pattern: "*"})
	if a.SameEvents(b) || a.SameEvents(b, "a") || a.SameEvents(more) || !a.SameEvents(more, "a") || !a.SameEvents(a) {
		t.Error("which events are the same")
	}
}

var (
	names    = []string{"a", "a/b", "a/b/c", "a.b", "b", "b/c", "b.c.d", "ab"}
	patterns = []string{"*", "**", "a", "a/b", "a/*", "a/b/*", "a.*", "b/*", "b.*", "b.c.*", "b", "ab"}
	grants   = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) access.Grant {
		return access.Grant{Verbs: access.Verbs(rapid.Uint32Range(0, uint32(access.All)).Draw(t, "verbs")), Pattern: rapid.SampledFrom(patterns).Draw(t, "pattern")}
	}), 0, 4)
)

// A reader says what the permissions say that it is made of.
func TestReaderIsWhatItsPermissionsAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		may := access.New(grants.Draw(t, "grants")...)
		r := NewReader("cert:a", 1, may, false)
		over, prefix := rapid.SampledFrom(patterns).Draw(t, "over"), rapid.SampledFrom([]string{"", "a", "a/", "b.c", "x"}).Draw(t, "prefix")
		within, meets := r.Within(prefix), false
		for _, name := range append(slices.Clone(names), "", "rollcall.live") {
			allowed := may.Allows(access.Read, name)
			if r.Allows(name) != allowed {
				t.Errorf("%q: %v", name, !allowed)
			}
			if name != "" && name != "rollcall.live" && within.Has(name) != (allowed && strings.HasPrefix(name, prefix)) {
				t.Errorf("%q is within %q: %v", name, prefix, within.Has(name))
			}
			meets = meets || allowed && pattern.Covers(over, name)
		}
		if meets && !r.Meets(over) || r.Covers(over) != may.Covers(access.Read, over) || r.Whole() != may.Whole(access.Read) {
			t.Errorf("%s: meets %v, covers %v, whole %v", over, r.Meets(over), r.Covers(over), r.Whole())
		}
		for verb := access.Verbs(1); verb <= access.All; verb <<= 1 {
			if r.May(verb) != may.Whole(verb) {
				t.Errorf("may %v: %v", verb.Names(), r.May(verb))
			}
		}
		other := NewReader("cert:a", 2, access.New(grants.Draw(t, "others")...), false)
		same := r.over == other.over && r.some == other.some
		for _, name := range names {
			same = same && r.Allows(name) == other.Allows(name)
		}
		if r.same(other) && !same {
			t.Error("what is not the same is")
		}
	})
}

func TestReadersAreOfTheNewestGeneration(t *testing.T) {
	w := newWorld()
	a := New(w, w)
	anonymous, ci := &authn.Caller{Identity: "anonymous"}, &authn.Caller{Identity: "token:ci", Credential: "1"}
	root := &authn.Caller{Identity: "static:root", StaticAdmin: true}
	if !a.Open() || a.Enforced() || !a.Of(anonymous).Whole() || !a.Of(anonymous).May(access.All) {
		t.Error("access is off, and not everybody may do everything")
	}
	w.change(func() { w.enforced, w.anonymous = true, access.New(access.Grant{Verbs: access.Read, Pattern: "a/*"}) })
	if a.Open() || !a.Enforced() || a.Of(anonymous).Allows("b") || !a.Of(anonymous).Allows("a/b") || !a.Of(root).May(access.All) {
		t.Error("what anonymous callers may do")
	}
	if first := a.Of(ci); a.Of(ci) != first {
		t.Error("a reader is made again though nothing has changed")
	}
	w.change(func() { w.grants["token:ci"] = access.New(access.Grant{Verbs: access.Read, Pattern: "b"}) })
	if r := a.Of(ci); !r.Allows("b") || !r.Allows("a/c") || r.Allows("c") {
		t.Errorf("%+v", r)
	}
	w.change(func() { w.denied["token:ci"] = true })
	if r := a.Of(ci); !r.Nothing() || r.Allows("a/c") {
		t.Errorf("%+v", r)
	}
	if r, f := a.Reader(calling(t.Context(), ci)); f != nil || r != a.Of(ci) {
		t.Errorf("%v %v", r, f)
	}
	w.change(func() { w.revoked["1"] = true })
	if r, f := a.Reader(calling(t.Context(), ci)); f == nil || r != nil {
		t.Errorf("%v %v", r, f)
	}
}

// Certificates can name any number of identities.
func TestReadersAreBounded(t *testing.T) {
	w := newWorld()
	w.enforced = true
	a := New(w, w)
	for i := range 3 * maxCached {
		a.Of(&authn.Caller{Identity: "cert:" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune(i))})
	}
	held := 0
	if c := a.cache.Load(); c != nil {
		c.readers.Range(func(_, _ any) bool {
			held++
			return true
		})
	}
	if held > maxCached {
		t.Errorf("%d readers are held", held)
	}
}
