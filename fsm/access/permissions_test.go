package access

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

func TestVerbs(t *testing.T) {
	names := All.Names()
	if len(names) != 8 {
		t.Fatalf("%v", names)
	}
	sum := Verbs(0)
	for _, name := range names {
		v, ok := Verb(name)
		if !ok || !slices.Equal(v.Names(), []string{name}) {
			t.Errorf("%s: %v %v", name, v.Names(), ok)
		}
		sum |= v
	}
	if sum != All {
		t.Errorf("%v", sum.Names())
	}
	if _, ok := Verb("write"); ok {
		t.Error("write is a verb")
	}
}

func TestWhatPermissionsAllow(t *testing.T) {
	p := New(Grant{Read | Report, "shop/*"}, Grant{Read, "*"}, Grant{Override, "shop/cart"})
	for _, test := range []struct {
		verb    Verbs
		service string
		want    bool
	}{
		{Read, "shop/cart", true}, {Read, "pay", true}, {Read, "", true}, {Read, "rollcall.live", true},
		{Report, "shop/cart", true}, {Report, "shopify", false}, {Report, "pay", false}, {Report, "", false},
		{Override, "shop/cart", true}, {Override, "shop/cart/1", false},
		{Status, "shop/cart", false},
	} {
		if got := p.Allows(test.verb, test.service); got != test.want {
			t.Errorf("%v over %q: %v", test.verb.Names(), test.service, got)
		}
	}
	for _, test := range []struct {
		verbs Verbs
		over  string
		want  bool
	}{
		{Read, "*", true}, {Read, "**", true}, {Report, "*", false}, {Report, "shop/*", true}, {Report, "shop/a/*", true},
		{Read | Report, "shop/*", true}, {Read | Report | Override, "shop/cart", true}, {Read | Override, "shop/*", false}, {0, "x", true},
	} {
		if got := p.Covers(test.verbs, test.over); got != test.want {
			t.Errorf("%v over %q: %v", test.verbs.Names(), test.over, got)
		}
	}
	if (Permissions{}).Allows(Read, "") || (Permissions{}).Covers(Read, "a") || !Everything().Whole(All) {
		t.Error("nothing allows something, or everything not everything")
	}
}

// Who covers a pattern is allowed the verb over all that it covers; and who is allowed less does not contain more.
func TestCoveringIsSound(t *testing.T) {
	names := []string{"a", "a/b", "a/b/c", "a.b", "b", "b/c", "b.c.d"}
	patterns := []string{"*", "**", "a", "a/b", "a/*", "a/b/*", "a.*", "b/*", "b.*", "b.c.*", "b"}
	grants := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Grant {
		return Grant{Verbs(rapid.Uint32Range(0, uint32(All)).Draw(t, "verbs")), rapid.SampledFrom(patterns).Draw(t, "pattern")}
	}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		p, q := New(grants.Draw(t, "p")...), New(grants.Draw(t, "q")...)
		over := rapid.SampledFrom(patterns).Draw(t, "over")
		verb := Verbs(1) << rapid.IntRange(0, 7).Draw(t, "verb")
		for _, name := range names {
			if pattern.Covers(over, name) && p.Covers(verb, over) && !p.Allows(verb, name) {
				t.Fatalf("covers %v over %q, but not over %q", verb.Names(), over, name)
			}
			if p.Contains(q) && q.Allows(verb, name) && !p.Allows(verb, name) {
				t.Fatalf("contains what it does not allow: %v over %q", verb.Names(), name)
			}
			if both := p.And(q); both.Allows(verb, name) != (p.Allows(verb, name) || q.Allows(verb, name)) {
				t.Fatalf("both: %v over %q", verb.Names(), name)
			}
		}
		if !p.Contains(p) || !Everything().Contains(p) {
			t.Fatal("does not contain itself")
		}
		// Many grants are indexed, few are not.
		indexed := p
		for indexed.index == nil && p.Len() > 0 {
			indexed = indexed.And(p)
		}
		for _, name := range slices.Concat(names, patterns, []string{"", "rollcall.live", "a/b/c/d/e", "a."}) {
			if p.Covers(verb, name) != indexed.Covers(verb, name) || p.Allows(verb, name) != indexed.Allows(verb, name) {
				t.Fatalf("%v over %q: %v, with an index %v", verb.Names(), name, p.Covers(verb, name), indexed.Covers(verb, name))
			}
		}
	})
}
