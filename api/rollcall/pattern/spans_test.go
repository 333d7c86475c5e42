package pattern

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSpans(t *testing.T) {
	s := Cover("shop/*", "pay", "shop/cart", "a.*")
	if want := (Spans{{"a.", "a/"}, {"pay", "pay\x00"}, {"shop/", "shop0"}}); !slices.Equal(s, want) {
		t.Errorf("%q", s)
	}
	if s.Whole() || !Everything.Whole() || !Cover("a", "*").Whole() || !Cover("**").Whole() || Cover().Whole() || Cover() != nil {
		t.Error("what is whole")
	}
	for _, p := range []string{"shop/cart", "shop/*", "*", "**", "pay", "shop/cart/*"} {
		if !s.Meets(p) {
			t.Errorf("does not meet %s", p)
		}
	}
	for _, p := range []string{"pay/*", "shop", "shop.*", "pa"} {
		if s.Meets(p) || s.Contains(p) {
			t.Errorf("meets %s", p)
		}
	}
	if s.Contains("*") || !s.Contains("shop/cart/*") || !s.Contains("pay") {
		t.Error("what is contained")
	}
	if got := s.And(Spans{Beginning("shop/c")}); !slices.Equal(got, Spans{{"shop/c", "shop/d"}}) {
		t.Errorf("%q", got)
	}
}

// Spans say of a name what the patterns and prefixes say that they are made of.
func TestSpansAreWhatTheyAreMadeOf(t *testing.T) {
	patterns := rapid.SliceOfN(rapid.OneOf(genPattern, rapid.SampledFrom([]string{"*", "**"}), genText), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		ps, prefixes := patterns.Draw(t, "patterns"), rapid.SliceOfN(genText, 0, 3).Draw(t, "prefixes")
		name, other := genText.Draw(t, "name"), patterns.Draw(t, "other")
		s, b := Cover(ps...), Beginnings(prefixes...)
		covered := slices.ContainsFunc(ps, func(p string) bool { return Covers(p, name) })
		if s.Has(name) != covered {
			t.Errorf("%q has %q: %v", ps, name, !covered)
		}
		begins := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if b.Has(name) != begins || s.And(b).Has(name) != (begins && covered) || b.And(s).Has(name) != (begins && covered) {
			t.Errorf("%q and %q have %q: %v %v", ps, prefixes, name, b.Has(name), s.And(b).Has(name))
		}
		for _, one := range slices.Concat(s, b, s.And(b)) {
			if !one.Single() && one != Beginning(one.From) {
				t.Errorf("neither a prefix nor a name: %q", one)
			}
		}
		if !slices.IsSortedFunc(s, func(a, b Span) int { return strings.Compare(a.To, b.From) }) {
			t.Errorf("not in order, or not apart: %q", s)
		}
		for _, p := range other {
			meets := slices.ContainsFunc(ps, func(q string) bool { return Contains(p, q) || Contains(q, p) })
			if s.Meets(p) != meets {
				t.Errorf("%q meets %q: %v", ps, p, !meets)
			}
			if slices.ContainsFunc(ps, func(q string) bool { return Contains(q, p) }) != s.Contains(p) {
				t.Errorf("%q contains %q: %v", ps, p, s.Contains(p))
			}
		}
	})
}
