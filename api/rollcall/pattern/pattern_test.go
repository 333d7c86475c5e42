package pattern

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatPatternsCover(t *testing.T) {
	for _, test := range []struct {
		pattern string
		covers  string
		not     string
	}{
		{"shop/cart", "shop/cart", "shop/cart/1 shop shop/cart2"},
		{"shop/*", "shop/ shop/cart shop/cart/1", "shop shopify shop.eu shop-/x"},
		{"shop.*", "shop.eu shop.", "shop/eu shop shops.eu"},
		{"*", "a shop/cart rollcall rollcall/x", "rollcall.live rollcall.anything"},
		{"**", "a shop/cart", "rollcall.reads"},
	} {
		for _, name := range strings.Fields(test.covers) {
			if !Covers(test.pattern, name) {
				t.Errorf("%s does not cover %s", test.pattern, name)
			}
		}
		for _, name := range append(strings.Fields(test.not), "") {
			if Covers(test.pattern, name) {
				t.Errorf("%s covers %q", test.pattern, name)
			}
		}
	}
}

func TestWhichOneDecides(t *testing.T) {
	order := []string{"**", "a/b.c/d", "a/b.c/*", "a/b.*", "a/*", "*"}
	var each []string
	Each("a/b.c/d", func(p string) bool {
		each = append(each, p)
		return true
	})
	if !slices.Equal(each, order) {
		t.Errorf("%v, want %v", each, order)
	}
	for i, p := range order {
		for j, q := range order {
			if Over(p, q) != (i < j) {
				t.Errorf("%s over %s: %v", p, q, Over(p, q))
			}
		}
	}
	for _, own := range []string{"", "rollcall.live"} {
		Each(own, func(p string) bool {
			t.Errorf("%s covers %q", p, own)
			return false
		})
	}
}

func TestPatternsThatMeetAPrefix(t *testing.T) {
	for _, p := range []string{"shop/cart", "shop/*", "shop/cart/*", "*", "**", "shop/cart.*"} {
		if !Meets(p, "shop/c") {
			t.Errorf("%s does not meet shop/c", p)
		}
	}
	for _, p := range []string{"shop", "shop/", "pay/*", "shop/pay", "shop.*"} {
		if Meets(p, "shop/c") {
			t.Errorf("%s meets shop/c", p)
		}
	}
}

var (
	genText    = rapid.StringMatching(`[a./]{1,6}`)
	genPattern = rapid.Custom(func(t *rapid.T) string {
		return genText.Draw(t, "base") + rapid.SampledFrom([]string{"", "/*", ".*"}).Draw(t, "suffix")
	})
)

// TestPatternsAreNestedOrApart: ranges, Contains, Covers and Each say the same.
func TestPatternsAreNestedOrApart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := rapid.OneOf(genPattern, rapid.SampledFrom([]string{"*", "**"})).Draw(rt, "pattern")
		q := rapid.OneOf(genPattern, rapid.SampledFrom([]string{"*", "**"})).Draw(rt, "other")
		name := rapid.OneOf(genText, rapid.Just(strings.TrimRight(p, "*")), rapid.Just(strings.TrimRight(q, "*")+"a")).Draw(rt, "name")
		if name == "" {
			return
		}
		from, to := Range(p)
		if in := name >= from && (to == "" || name < to); in != Covers(p, name) {
			rt.Errorf("%s covers %s: %v, its range is %q to %q", p, name, Covers(p, name), from, to)
		}
		listed := false
		Each(name, func(each string) bool {
			listed = listed || each == p
			return true
		})
		if listed != Covers(p, name) {
			rt.Errorf("%s covers %s: %v, listed: %v", p, name, Covers(p, name), listed)
		}
		if Covers(p, name) && Covers(q, name) {
			if !Contains(p, q) && !Contains(q, p) {
				rt.Errorf("%s and %s both cover %s, and are not nested", p, q, name)
			}
			if p != q && Over(p, q) == Over(q, p) {
				rt.Errorf("of %s and %s none decides", p, q)
			}
		}
		if Contains(p, q) && Covers(q, name) && !Covers(p, name) {
			rt.Errorf("%s contains %s and does not cover %s", p, q, name)
		}
	})
}

func TestAfter(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a": "b", "a/": "a0", "a\xff": "b", "\xff\xff": ""} {
		if got := After(prefix); got != want {
			t.Errorf("after %q is %q, want %q", prefix, got, want)
		}
	}
}
