package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// TestBadOverridesAndRules are refused where they are applied, each with one clear refusal and no effect.
func TestBadOverridesAndRules(t *testing.T) {
	const day = int64(24 * time.Hour)
	h := newHarness(t)
	h.do(t, 1, write(change("shop/cart", serving)), over("shop/*", serving), atLeast("cart", "shop/*", 1))
	for name, test := range map[string]struct {
		cmd  *logv1.Command
		want string
	}{
		"shop*":          {over("shop*", serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN given:"shop*"`},
		"*/x":            {over("*/x", serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN given:"*/x"`},
		"***":            {over("***", serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN given:"***"`},
		"no pattern":     {over("", serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN`},
		"own":            {over("rollcall.*", serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_RESERVED given:"rollcall.*"`},
		"own name":       {over("rollcall.reads", notServing), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_RESERVED given:"rollcall.reads"`},
		"long":           {over(strings.Repeat("a", 257), serving), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_TOO_LONG value:257 limit:256`},
		"gone":           {over("a", gone), `reason:REASON_INVALID field:"status" problem:PROBLEM_UNKNOWN value:3`},
		"no status":      {over("a", 9), `reason:REASON_INVALID field:"command" problem:PROBLEM_UNKNOWN`}, // a newer binary's, as far as it knows
		"999 ms":         {overFor("a", serving, 999e6), `reason:REASON_INVALID field:"ttl" problem:PROBLEM_TOO_LOW value:999000000 limit:1000000000`},
		"31 days":        {overFor("a", serving, 31*day), `reason:REASON_INVALID field:"ttl" problem:PROBLEM_TOO_HIGH value:2678400000000000 limit:2592000000000000`},
		"before":         {overFor("a", serving, -1), `reason:REASON_INVALID field:"ttl" problem:PROBLEM_TOO_LOW value:-1 limit:1000000000`},
		"if":             {override(&logv1.SetOverride{Pattern: "a", Status: serving, IfRevision: proto.Int64(-1)}), `reason:REASON_INVALID field:"if_revision" problem:PROBLEM_TOO_LOW value:-1`},
		"another":        {override(&logv1.SetOverride{Pattern: "shop/*", Status: serving, IfRevision: proto.Int64(0)}), `reason:REASON_REVISION_MISMATCH kind:KIND_OVERRIDE key:"shop/*" current_revision:2`},
		"missing":        {clearOver("a"), `reason:REASON_NOT_FOUND kind:KIND_OVERRIDE key:"a"`},
		"clear a*":       {clearOver("a*"), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN given:"a*"`},
		"no command":     {recordCommand(logv1.Kind_KIND_OVERRIDE, &logv1.OverrideCommand{}), `reason:REASON_INVALID field:"command" problem:PROBLEM_UNKNOWN`},
		"rule of **":     {atLeast("r", "**", 1), `reason:REASON_INVALID field:"pattern" problem:PROBLEM_NOT_A_PATTERN given:"**"`},
		"rule name":      {atLeast("a,b", "a", 1), `reason:REASON_INVALID field:"name" problem:PROBLEM_FORBIDDEN_CHARACTER value:44 given:"a,b" offset:1`},
		"rule long":      {atLeast(strings.Repeat("r", 65), "a", 1), `reason:REASON_INVALID field:"name" problem:PROBLEM_TOO_LONG value:65 limit:64`},
		"no bound":       {atLeast("r", "a", 0), `reason:REASON_INVALID field:"min_serving" problem:PROBLEM_REQUIRED`},
		"101 percent":    {percent("r", "a", 101), `reason:REASON_INVALID field:"min_percent" problem:PROBLEM_TOO_HIGH value:101 limit:100`},
		"-1":             {atLeast("r", "a", -1), `reason:REASON_INVALID field:"min_serving" problem:PROBLEM_TOO_LOW value:-1 limit:1`},
		"no rule":        {removeRule("r"), `reason:REASON_NOT_FOUND kind:KIND_RULE key:"r"`},
		"no reason":      {because(over("a", serving), "", "cart"), `reason:REASON_INVALID field:"reason" problem:PROBLEM_REQUIRED`},
		"unknown":        {because(over("a", serving), "why", "cart", "none"), `reason:REASON_NOT_FOUND kind:KIND_RULE key:"none" field:"break_glass"`},
		"unknown, write": {because(write(change("a", serving)), "why", "none"), `reason:REASON_NOT_FOUND kind:KIND_RULE key:"none" field:"break_glass"`},
		"bad name":       {because(write(change("a", serving)), "why", "a b"), `reason:REASON_INVALID field:"break_glass" problem:PROBLEM_FORBIDDEN_CHARACTER value:32 given:"a b" offset:1`},
		"many names":     {because(write(change("a", serving)), "why", make([]string, 101)...), `reason:REASON_INVALID field:"break_glass" problem:PROBLEM_TOO_MANY value:101 limit:100`},
		"another term":   {expire(2), `reason:REASON_STALE value:2`},
		"breaks": {over("shop/cart", notServing),
			`reason:REASON_RULE_BROKEN broken:{rule:"cart" pattern:"shop/*" needed:1 total:1}`},
		"breaks by a write": {write(change("x", serving), change("shop/cart", gone), change("y", serving)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := h.state.revision
			r := h.do(t, 1, test.cmd)[0]
			if test.want == "" { // the override of shop/* says SERVING, but not of what does not exist
				test.want = `reason:REASON_RULE_BROKEN broken:{rule:"cart" pattern:"shop/*" needed:1}`
			}
			if got := fmt.Sprint(r.GetRefusal()); strings.Join(strings.Fields(got), " ") != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if h.state.revision != before || h.state.layers.Live() != 1 || h.state.book.Len() != 1 {
				t.Errorf("it had an effect")
			}
		})
	}
}

// TestTablesAreLimited: a full table refuses one more, and takes a change of what it holds.
func TestTablesAreLimited(t *testing.T) {
	h := newHarness(t)
	full := func(what string, n int, add func(i int) *logv1.Command, field string) {
		t.Helper()
		var cmds []*logv1.Command
		for i := range n {
			cmds = append(cmds, add(i))
		}
		for i, r := range h.do(t, 1, cmds...) {
			if r.Refusal != nil {
				t.Fatalf("%s %d: %v", what, i, r)
			}
		}
		r := h.do(t, 1, add(n))[0].GetRefusal()
		if r.GetReason() != logv1.Refusal_REASON_LIMIT || r.GetField() != field || r.GetLimit() == 0 {
			t.Errorf("one %s more: %v", what, r)
		}
		if r := h.do(t, 1, because(add(0), "again"))[0]; r.Refusal != nil {
			t.Errorf("one %s again: %v", what, r)
		}
	}
	full("prefix", limits.MaxPrefixOverrides, func(i int) *logv1.Command { return over(fmt.Sprintf("p%d/*", i), serving) }, "prefix_overrides")
	full("rule", limits.MaxRules, func(i int) *logv1.Command { return atLeast(fmt.Sprint("r", i), fmt.Sprint("s", i), 1) }, "rules")
	full("override", limits.MaxOverrides-limits.MaxPrefixOverrides, func(i int) *logv1.Command { return over(fmt.Sprint("e", i), serving) }, "overrides")
	if r := h.do(t, 1, over("*", serving), over("**", serving))[0]; r.GetRefusal().GetReason() != logv1.Refusal_REASON_LIMIT {
		t.Errorf("%v", r)
	}
	again := harnessOn(t, h.registryFile)
	if got, want := again.dump(), h.dump(); got != want {
		t.Error("a restart shows something else")
	}
}

// TestManyEndTogether: one command that ends many drops what is not kept once, and makes one new book. Else it
// would hold up the fold for seconds.
func TestManyEndTogether(t *testing.T) {
	const n = 100
	h := newHarness(t)
	var cmds []*logv1.Command
	for i := range n {
		cmds = append(cmds, write(change(fmt.Sprintf("s%d/a/b", i), serving)), atLeast(fmt.Sprint("r", i), fmt.Sprintf("s%d/*", i), 1))
	}
	for i := range limits.MaxEndedOverrides - n/2 {
		p := fmt.Sprint("e", i)
		cmds = append(cmds, over(p, serving), clearOver(p))
	}
	h.do(t, 1, cmds...)
	cmds = nil
	for i := range n {
		cmds = append(cmds, overFor(fmt.Sprintf("s%d/a/*", i), serving, 1e9))
	}
	var due []*logv1.ExpiredOverride
	for i, r := range h.do(t, 2, cmds...) {
		due = append(due, &logv1.ExpiredOverride{Pattern: fmt.Sprintf("s%d/a/*", i), Revision: r.Revision})
	}
	end := expire(h.state.term, due...)
	p := h.state.evaluate(end, 5e9)
	if len(p.layering().patterns) != n || len(p.layering().dropped) != limits.MaxEndedOverrides/10 {
		t.Errorf("%d end, %d are dropped", len(p.layering().patterns), len(p.layering().dropped))
	}
	if allocs := testing.AllocsPerRun(1, func() { h.state.evaluate(end, 5e9) }); allocs > 100*n {
		t.Errorf("%v allocations", allocs)
	}
	h.do(t, 5e9, end)
	if v := h.view.Load(); v.layers.Live() != 0 || v.layers.Ended() > limits.MaxEndedOverrides || v.book.Len() != n {
		t.Errorf("%d overrides, %d ended ones, %d patterns are counted", v.layers.Live(), v.layers.Ended(), v.book.Len())
	}
	if s, err := h.ScrubMemory(t.Context(), 1); err != nil || !s.Agrees() {
		t.Errorf("%+v, %v", s, err)
	}
	again := harnessOn(t, h.registryFile)
	if got, want := again.dump(), h.dump(); got != want {
		t.Error("a restart shows something else")
	}
}

// TestTooManyEndedOverrides: those that ended first go first, whatever the horizon, and a restart agrees.
func TestTooManyEndedOverrides(t *testing.T) {
	h := newHarness(t)
	for i := range limits.MaxEndedOverrides + 1 {
		p := fmt.Sprint("e", i)
		h.do(t, int64(i+1), over(p, serving), clearOver(p))
	}
	kept := limits.MaxEndedOverrides + 1 - limits.MaxEndedOverrides/10
	v := h.view.Load()
	if n := v.layers.Ended(); n != kept && n != kept+1 {
		t.Errorf("%d are kept, want %d", n, kept)
	}
	if v.record(overrideKind, "e0") != nil || v.record(overrideKind, fmt.Sprint("e", limits.MaxEndedOverrides)) == nil {
		t.Error("it has not dropped what ended first")
	}
	if s, err := h.ScrubMemory(t.Context(), 1); err != nil || !s.Agrees() {
		t.Errorf("%+v, %v", s, err)
	}
	again := harnessOn(t, h.registryFile)
	if got, want := again.dump(), h.dump(); got != want {
		t.Error("a restart shows something else")
	}
}

// TestShutdownAndResume: whatever is reported, overridden and deleted beneath, resume shows it as it is, and the
// names of the node's own are never touched.
func TestShutdownAndResume(t *testing.T) {
	h := newHarness(t)
	h.SetOwn("rollcall.reads", isServing)
	h.SetOwn("", isServing)
	h.do(t, 1, write(change("a", serving), change("b/c", notServing), change("b/d", serving), change("e", serving)), over("b/*", serving), over("*", notServing))
	h.do(t, 2, over("**", notServing))
	for _, name := range []string{"a", "b/c", "b/d", "e"} {
		if s, ok := h.Status(name); s != isNotServing || !ok {
			t.Errorf("%s is %v, %v", name, s, ok)
		}
	}
	for _, name := range []string{"", "rollcall.reads"} {
		if s, ok := h.Status(name); s != isServing || !ok {
			t.Errorf("%q is %v, %v", name, s, ok)
		}
	}
	if _, ok := h.Status("none"); ok {
		t.Error("an override made a service exist")
	}
	h.do(t, 3, write(change("a", notServing), change("e", gone), change("f", serving), change("b/c", serving)), clearOver("*"), over("b/d", notServing))
	if s, _ := h.Status("f"); s != isNotServing {
		t.Errorf("a service that is new under the shutdown is %v", s)
	}
	h.do(t, 4, clearOver("**"))
	want := newHarness(t)
	want.do(t, 1, write(change("a", notServing), change("f", serving), change("b/c", serving), change("b/d", serving)), over("b/*", serving), over("b/d", notServing))
	for _, name := range []string{"a", "b/c", "b/d", "e", "f"} {
		got, ok := h.Status(name)
		if w, exists := want.Status(name); exists && got != w || ok != exists {
			t.Errorf("after resume %s is %v, %v, want %v, %v", name, got, ok, w, exists)
		}
	}
	if r, _ := h.GetService("f"); r.GetStatusTime().AsTime().UnixNano() != 4 || r.GetOverride() != nil {
		t.Errorf("since the resume: %v", r)
	}
}

// TestRulesInOneCommand: swapping in a batch passes, all broken rules are in one refusal, a broken rule refuses
// only what makes it worse, and who breaks one stands in the history.
func TestRulesInOneCommand(t *testing.T) {
	h := newHarness(t)
	do := func(cmd *logv1.Command) *logv1.Result { t.Helper(); return h.do(t, 1, cmd)[0] }
	do(write(change("pay/a", serving), change("pay/b", notServing), change("pay/c", notServing)))
	if r := do(percent("third", "pay/*", 34)); r.GetBrokenRules()[0].GetNeeded() != 2 || r.GetBrokenRules()[0].GetServing() != 1 {
		t.Errorf("broken at birth: %v", r)
	}
	do(atLeast("one", "pay/*", 1))
	do(atLeast("a", "*", 1))
	if r := do(write(change("pay/a", notServing), change("pay/b", serving))); r.Refusal != nil {
		t.Errorf("a swap: %v", r)
	}
	r := do(write(change("pay/b", notServing)))
	if n := r.GetRefusal().GetBroken(); len(n) != 3 || n[0].Rule != "a" || n[1].Rule != "one" || n[2].Rule != "third" {
		t.Errorf("a drain: %v", r)
	}
	if r := do(write(change("pay/d", notServing))); r.Refusal != nil {
		t.Errorf("a new one that is not serving: %v", r)
	}
	if r := do(because(over("pay/*", notServing), "fire", "one", "third")); len(r.GetRefusal().GetBroken()) != 1 || r.GetRefusal().GetBroken()[0].Rule != "a" {
		t.Errorf("one rule not named: %v", r)
	}
	if r := do(because(over("pay/*", notServing), "fire", "*")); r.Refusal != nil || len(r.BrokenRules) != 3 {
		t.Errorf("all rules named: %v", r)
	}
	e := h.registryFile.events[len(h.registryFile.events)-1]
	if p := convert.Event(e); len(p.GetBrokenRules()) != 3 || p.GetBreakGlass()[0] != "*" || p.GetReason() != "fire" || p.GetMatchedCount() != 4 || p.GetPattern() != "pay/*" {
		t.Errorf("its event: %v", p)
	}
	// Broken as they are, they refuse nothing that does not make them worse.
	for _, cmd := range []*logv1.Command{write(change("pay/b", notServing)), write(change("pay/a", gone)), clearOver("pay/*"), over("pay/*", serving)} {
		if r := do(cmd); r.Refusal != nil {
			t.Errorf("%v: %v", cmd, r)
		}
	}
}

// TestRefusalsWithRulesAreRememberedAtTheirSize: another try gets the same refusal, and counts as much as it takes.
func TestRefusalsWithRulesAreRememberedAtTheirSize(t *testing.T) {
	h := withIDs(t, 10_000, int64(time.Hour))
	h.do(t, 1, write(change("a", serving)))
	for i := range 50 {
		h.do(t, 1, atLeast(fmt.Sprint("r", i), "a", 1))
	}
	before := h.state.requests.cost
	first := h.do(t, 1, withID("x", change("a", notServing)))[0]
	again := h.do(t, 1, withID("x", change("a", notServing)))[0]
	if len(first.GetRefusal().GetBroken()) != 50 || !again.Replayed || !proto.Equal(first.Refusal, again.Refusal) {
		t.Errorf("%v, then %v", first, again)
	}
	if n := h.state.requests.cost - before; n != 50 {
		t.Errorf("it counts as %d", n)
	}
	h.do(t, 2, over("a", notServing), because(over("a", notServing), "why", "*"))
	one := h.do(t, 3, withID("y", change("a", serving)))[0]
	two := h.do(t, 4, clearing(&logv1.ClearOverride{Pattern: "a"}), withID("y", change("a", serving)))[1]
	if two.Index = one.Index; !two.Replayed {
		t.Error("not replayed")
	}
	two.Replayed = false
	if !proto.Equal(one, two) || len(one.GetOverrides()) != 1 || convert.ServiceResults(two)[0].GetOverride().GetPattern() != "a" {
		t.Errorf("%v, then %v", one, two)
	}
}

// TestScrubComparesWhatFollows: the index of the overrides and the counts of the rules are not in the state hash, as
// they follow from the records. A scrub finds that they do not.
func TestScrubComparesWhatFollows(t *testing.T) {
	for name, damage := range map[string]func(*view){
		"":                   func(*view) {},
		"a count":            func(v *view) { v.book.Apply(countOne(v)) },
		"an override is not": func(v *view) { v.layers = v.layers.Without("a/*") },
		"an override ended":  func(v *view) { v.layers = v.layers.Without("b") },
	} {
		h := newHarness(t)
		h.do(t, 1, write(change("a/b", serving)), over("a/*", notServing), over("b", serving), clearOver("b"), atLeast("r", "a/*", 1))
		damage(h.view.Load())
		s, err := h.ScrubMemory(t.Context(), 1)
		if err != nil || s.Agrees() != (name == "") || s.Kept != s.Have || (s.Derived == "") != (name == "") {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
}

func countOne(v *view) *rules.Changes {
	var c rules.Changes
	c.Add(v.book, "a/b", rules.Count{Serving: 1})
	return &c
}
