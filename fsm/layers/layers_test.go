package layers

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

var (
	genName    = rapid.StringMatching(`a[ab./]{0,6}`)
	genPattern = rapid.OneOf(rapid.SampledFrom([]string{"*", "**"}), rapid.Custom(func(t *rapid.T) string {
		return genName.Draw(t, "base") + rapid.SampledFrom([]string{"", "/*", "/*", ".*"}).Draw(t, "suffix")
	}))
)

// TestLayersFindWhatCovers compares the index, after any changes, with a search over all overrides.
func TestLayersFindWhatCovers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var l *Layers
		all := map[string]*Override{}
		kept := map[*Layers]map[string]*Override{nil: {}}
		for i := range rapid.IntRange(0, 40).Draw(rt, "changes") {
			p := genPattern.Draw(rt, "pattern")
			if rapid.IntRange(0, 3).Draw(rt, "what") == 0 {
				l = l.Without(p)
				delete(all, p)
			} else {
				o := &logv1.Override{Status: logv1.Status(i % 3), StatusTime: int64(i)}
				if rapid.Bool().Draw(rt, "ended") {
					o.EndedTime, o.EndedRevision = int64(i+5), 1
				}
				all[p] = NewOverride(p, o)
				l = l.With(all[p])
			}
			kept[l] = maps.Clone(all)
		}
		for l, all := range kept { // those of before have not changed
			check(rt, l, all)
		}
		check(rt, New(slices.Collect(maps.Values(all))), all)
		if !l.Same(New(slices.Collect(maps.Values(all)))) {
			rt.Error("made at once it is another")
		}
	})
}

func check(rt *rapid.T, l *Layers, all map[string]*Override) {
	var live, prefixes int
	inner := map[string][]string{} // the patterns of the live ones within one, at any depth
	for p, o := range all {
		if o.Ended() {
			continue
		}
		live++
		if prefix, many := pattern.Prefix(p); many && prefix != "" {
			prefixes++
		}
		for q, other := range all {
			if p != q && q != pattern.Switch && !other.Ended() && pattern.Contains(p, q) && !(p == pattern.Switch && q == pattern.All) {
				inner[p] = append(inner[p], q)
			}
		}
	}
	if l.Live() != live || l.Ended() != len(all)-live || l.LivePrefixes() != prefixes {
		rt.Fatalf("%d live, %d ended, %d prefixes", l.Live(), l.Ended(), l.LivePrefixes())
	}
	scanned := 0
	l.Scan(func(o *Override) bool { scanned++; return all[o.Pattern] == o })
	if scanned != live {
		rt.Fatalf("scanned %d of %d", scanned, live)
	}
	name := genName.Draw(rt, "name")
	var covering []string
	var ended []*Override
	for p, o := range all {
		if pattern.Covers(p, name) && !o.Ended() {
			covering = append(covering, p)
		} else if pattern.Covers(p, name) {
			ended = append(ended, o)
		}
	}
	slices.SortFunc(covering, func(a, b string) int {
		if pattern.Over(a, b) {
			return -1
		}
		return 1
	})
	var got []string
	l.Each(name, func(o *Override) bool {
		got = append(got, o.Pattern)
		return true
	})
	if !slices.Equal(got, covering) {
		rt.Fatalf("%s is covered by %v, want %v", name, got, covering)
	}
	status, since := Status(1), int64(3)
	decides := l.Decides(name)
	if (decides != nil) != (len(covering) > 0) || decides != nil && decides.Pattern != covering[0] {
		rt.Fatalf("%v decides over %s, want %v", decides, name, covering)
	}
	if decides != nil {
		status, since = decides.Says(), decides.GetStatusTime()
	}
	for _, o := range ended {
		if decides == nil || pattern.Over(o.Pattern, decides.Pattern) {
			since = max(since, o.GetEndedTime())
		}
	}
	if s, at := l.Effective(name, 1, 3); s != status || at != since {
		rt.Fatalf("%s is %v since %d, want %v since %d", name, s, at, status, since)
	}
	for p := range inner {
		var within, maximal []string
		l.Within(p, func(o *Override) { within = append(within, o.Pattern) })
		l.Inner(p, func(o *Override) { maximal = append(maximal, o.Pattern) })
		slices.Sort(within)
		want := slices.Sorted(slices.Values(inner[p]))
		if p != pattern.Switch && !slices.Equal(within, want) {
			rt.Fatalf("within %s are %v, want %v", p, within, want)
		}
		want = slices.DeleteFunc(want, func(q string) bool {
			return slices.ContainsFunc(inner[p], func(r string) bool { return r != q && pattern.Contains(r, q) })
		})
		slices.Sort(maximal)
		if p != pattern.Switch && !slices.Equal(maximal, want) {
			rt.Fatalf("just within %s are %v, want %v", p, maximal, want)
		}
	}
	p := genPattern.Draw(rt, "covered")
	var best string
	for q, o := range all {
		if !o.Ended() && (q == pattern.Switch || pattern.Contains(q, p) && p != pattern.Switch) && (best == "" || pattern.Over(q, best)) {
			best = q
		}
	}
	if o := l.Covering(p); p != pattern.Switch && (o == nil) != (best == "") || o != nil && p != pattern.Switch && o.Pattern != best {
		rt.Fatalf("%v covers all of %s, want %q", o, p, best)
	}
	if o := l.Find(p); (o != nil) != (all[p] != nil && !all[p].Ended()) {
		rt.Fatalf("found %v of %s", o, p)
	}
}

// TestOwnNamesHaveNoLayers: what a node answers for itself is under no override.
func TestOwnNamesHaveNoLayers(t *testing.T) {
	l := New([]*Override{NewOverride("*", &logv1.Override{Status: 2}), NewOverride("**", &logv1.Override{Status: 2})})
	for _, name := range []string{"", "rollcall.live", "rollcall.reads"} {
		if o := l.Decides(name); o != nil {
			t.Errorf("%s decides over %q", o.Pattern, name)
		}
		if s, since := l.Effective(name, 1, 7); s != 1 || since != 7 {
			t.Errorf("%q is %v since %d", name, s, since)
		}
	}
}

func TestShow(t *testing.T) {
	l := New([]*Override{NewOverride("shop/*", &logv1.Override{Status: 2, StatusTime: 9, Reason: "r"}), NewOverride("*", &logv1.Override{Status: 1, StatusTime: 5})})
	s := &convert.Service{Name: "shop/cart", Effective: 1, Reported: 1, StatusTime: 3}
	l.Show(s)
	p := s.Public()
	if p.GetStatus() != 2 || p.GetStatusTime().AsTime().UnixNano() != 9 || p.GetReport().GetStatus() != 1 ||
		p.GetOverride().GetPattern() != "shop/*" || len(p.GetShadowed()) != 1 || p.GetShadowed()[0].GetPattern() != "*" {
		t.Errorf("%v", p)
	}
}

func BenchmarkWith(b *testing.B) {
	var all []*Override
	for i := range 9_000 {
		all = append(all, NewOverride(fmt.Sprint("team/service-", i), &logv1.Override{Status: 1}))
	}
	for i := range 999 {
		all = append(all, NewOverride(fmt.Sprintf("team-%d/*", i), &logv1.Override{Status: 1}))
	}
	for _, p := range []string{"team/another", "another/*", "*"} {
		b.Run(p, func(b *testing.B) {
			l, o := New(all), NewOverride(p, &logv1.Override{Status: 2})
			for b.Loop() {
				l.With(o)
			}
		})
	}
}
