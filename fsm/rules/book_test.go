package rules

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// registry is services in a map, and how often they were looked at one by one.
type registry struct {
	services map[string]Status
	scanned  int
}

func (r *registry) names(from, to string) []string {
	var names []string
	for name := range r.services {
		if name >= from && (to == "" || name < to) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

func (r *registry) Total(from, to string) int64 { return int64(len(r.names(from, to))) }

func (r *registry) Reported(name string) (Status, bool) {
	s, ok := r.services[name]
	return s, ok
}

func (r *registry) Scan(from, to string, visit func(string, Status)) {
	for _, name := range r.names(from, to) {
		r.scanned++
		visit(name, r.services[name])
	}
}

// count is what a pattern should count.
func (r *registry) count(p string, over *layers.Layers) (c Count) {
	for name, s := range r.services {
		if !pattern.Covers(p, name) {
			continue
		}
		c.Total++
		if s == isServing {
			c.Reported++
		}
		if s, _ := over.Effective(name, s, 0); s == isServing {
			c.Serving++
		}
	}
	return c
}

var (
	genName    = rapid.StringMatching(`a[b./]{0,5}`)
	genPattern = rapid.OneOf(rapid.Just("*"), rapid.Custom(func(t *rapid.T) string {
		return genName.Draw(t, "base") + rapid.SampledFrom([]string{"", "/*", "/*", ".*"}).Draw(t, "suffix")
	}))
	genOver = rapid.OneOf(rapid.Just("**"), genPattern, genPattern, genPattern)
)

// TestCountsEqualARecount after any changes of services, overrides and rules.
func TestCountsEqualARecount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &registry{services: map[string]Status{}}
		var over *layers.Layers
		var b *Book
		rules := map[string]Rule{}
		all := func() []Rule { return slices.Collect(maps.Values(rules)) }
		views := map[*Book][]Count{}
		var pending []string // overrides that changed since the book was tidy
		for i := range rapid.IntRange(1, 40).Draw(rt, "changes") {
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0:
				name := fmt.Sprint("r", rapid.IntRange(0, 4).Draw(rt, "rule"))
				if delete(rules, name); rapid.IntRange(0, 3).Draw(rt, "set") > 0 {
					rules[name] = Rule{name, &logv1.Rule{Pattern: genPattern.Draw(rt, "pattern"), MinServing: 1}}
				}
				b = Build(b, all(), over, r)
			case 1, 2, 3:
				p := genOver.Draw(rt, "override")
				o := layers.NewOverride(p, &logv1.Override{Status: logv1.Status(rapid.IntRange(0, 2).Draw(rt, "shown"))})
				after := over.With(o)
				if rapid.IntRange(0, 2).Draw(rt, "end") == 0 {
					after = over.With(layers.NewOverride(p, &logv1.Override{EndedRevision: 1}))
				}
				b, over = b.Override(over, after, p, r), after
				if pending = append(pending, p); rapid.IntRange(0, 3).Draw(rt, "tidy") > 0 {
					b, pending = b.Tidy(pending, over, r), nil
				}
			default:
				var changes Changes
				for range rapid.IntRange(1, 30).Draw(rt, "services") {
					name := genName.Draw(rt, "name")
					before := r.count(name, over)
					if delete(r.services, name); rapid.IntRange(0, 3).Draw(rt, "set") > 0 {
						r.services[name] = Status(rapid.IntRange(0, 2).Draw(rt, "status"))
					}
					after := r.count(name, over)
					changes.Add(b, name, Count{after.Total - before.Total, after.Reported - before.Reported, after.Serving - before.Serving})
				}
				if b != nil {
					b.Apply(&changes)
				}
			}
			for _, rule := range rules {
				if got, want := b.Count(rule.GetPattern()), r.count(rule.GetPattern(), over); got != want {
					rt.Fatalf("after change %d %s counts %+v, want %+v", i, rule.GetPattern(), got, want)
				}
			}
			if tidy := b.Tidy(pending, over, r); !tidy.Same(Build(nil, all(), over, r)) {
				rt.Fatalf("after change %d it is not the book that is made anew", i)
			}
			if b != nil && rapid.Bool().Draw(rt, "view") {
				v := b.Snapshot()
				for i := range v.slots {
					views[v] = append(views[v], *v.count(int32(i)))
				}
			}
		}
		for v, counts := range views {
			for i, want := range counts {
				if *v.count(int32(i)) != want {
					rt.Fatal("a view has changed")
				}
			}
		}
	})
}

// TestOverridesDoNotScan: what covers a whole rule, ends, or is inside of one and counted, looks at no service.
func TestOverridesDoNotScan(t *testing.T) {
	r := &registry{services: map[string]Status{}}
	for i := range 1000 {
		r.services[fmt.Sprintf("a/%d/%d", i%10, i)] = isServing
	}
	b := Build(nil, []Rule{{"r1", &logv1.Rule{Pattern: "a/*", MinServing: 1}}, {"r2", &logv1.Rule{Pattern: "a/7/*", MinServing: 1}}}, nil, r)
	var over *layers.Layers
	for _, test := range []struct {
		pattern string
		scanned int
		serving int64 // of a/*
	}{
		{"**", 0, 0}, {"-**", 0, 1000}, {"*", 0, 0}, {"-*", 0, 1000}, {"a/*", 0, 0}, {"-a/*", 0, 1000}, {"a/7/*", 0, 900},
		{"a/3/*", 100, 800}, {"a/3/*", 0, 800}, {"*", 0, 0}, {"-a/3/*", 0, 0}, {"-*", 0, 900}, {"-a/7/*", 0, 1000}, {"a/7/7", 0, 999}, {"-a/7/7", 0, 1000},
	} {
		r.scanned = 0
		p, o := test.pattern, &logv1.Override{Status: logv1.Status_STATUS_NOT_SERVING}
		if p[0] == '-' {
			p, o = p[1:], &logv1.Override{EndedRevision: 1}
		}
		after := over.With(layers.NewOverride(p, o))
		b, over = b.Override(over, after, p, r), after
		if got := b.Count("a/*").Serving; r.scanned != test.scanned || got != test.serving {
			t.Errorf("%s: %d scanned, %d are serving; want %d, %d", test.pattern, r.scanned, got, test.scanned, test.serving)
		}
	}
}

func TestNeeded(t *testing.T) {
	for _, test := range []struct{ least, percent, total, want int64 }{
		{1, 0, 0, 1}, {3, 0, 2, 3}, {0, 50, 0, 0}, {0, 50, 1, 1}, {0, 50, 2, 1}, {0, 50, 3, 2}, {0, 100, 7, 7}, {0, 1, 1, 1}, {2, 34, 10, 4}, {5, 34, 10, 5}, {0, 33, 100, 33},
	} {
		r := Rule{"r", &logv1.Rule{MinServing: test.least, MinPercent: uint32(test.percent)}}
		if got := r.Needed(test.total); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}
