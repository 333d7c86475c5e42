package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// drains take pay/a or pay/b out of service, each in another way. undo brings it back.
var drains = []struct {
	how      string
	do, undo func(ctx context.Context, cl *client.Client, service string) error
}{
	{"an override", func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.SetOverride(ctx, service, notServing, client.WriteOptions{})
		return err
	}, func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.ClearOverride(ctx, service, client.WriteOptions{})
		return err
	}},
	{"a report", func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.Set(ctx, service, notServing, client.WriteOptions{})
		return err
	}, func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.Set(ctx, service, serving, client.WriteOptions{})
		return err
	}},
	{"a delete", func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.Delete(ctx, service, client.WriteOptions{})
		return err
	}, func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.Set(ctx, service, serving, client.WriteOptions{})
		return err
	}},
	{"a batch", func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.SetBatch(ctx, []client.Change{{Service: service, Status: unknown}, {Service: "other/" + service, Status: serving}}, client.WriteOptions{})
		return err
	}, func(ctx context.Context, cl *client.Client, service string) error {
		_, err := cl.SetBatch(ctx, []client.Change{{Service: service, Status: serving}}, client.WriteOptions{})
		return err
	}},
}

// TestVirtualRacingDrains: of two who drain at once through two nodes, under "at least one", exactly one is
// refused, a thousand times.
func TestVirtualRacingDrains(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		c.rule(c.clientFor(t), client.Rule{Name: "pay-min", Pattern: "pay/*", MinServing: 1})
		services := []string{"pay/a", "pay/b"}
		for _, s := range services {
			c.set(c.clientFor(t), s, serving)
		}
		var through []*client.Client
		for _, n := range c.nodes {
			cl := c.client(n)
			defer cl.Close()
			through = append(through, cl)
		}
		for round := range 1_000 {
			var errs [2]error
			var drain [2]int
			var racing sync.WaitGroup
			for i, service := range services {
				drain[i] = (round + i*(round/4)) % len(drains)
				cl := through[(round+i)%3]
				racing.Go(func() { errs[i] = drains[drain[i]].do(context.Background(), cl, service) })
			}
			racing.Wait()
			refused := slices.IndexFunc(errs[:], func(err error) bool { return err != nil })
			if refused < 0 || errs[1-refused] != nil {
				t.Fatalf("round %d, %s and %s: %v and %v", round, drains[drain[0]].how, drains[drain[1]].how, errs[0], errs[1])
			}
			e := errorOf(t, errs[refused])
			broken := client.BrokenRules(e)
			if e.Code != codes.FailedPrecondition || e.Reason != client.ReasonRuleBroken || e.Written != client.WrittenNo || len(broken) != 1 ||
				broken[0].GetRule() != "pay-min" || broken[0].GetNeeded() != 1 || broken[0].GetServing() != 0 {
				t.Fatalf("round %d: %+v breaks %v", round, e, broken)
			}
			if err := drains[drain[1-refused]].undo(context.Background(), through[round%3], services[1-refused]); err != nil {
				t.Fatal(err)
			}
		}
		c.shows("afterwards", map[string]client.Status{"pay/a": serving, "pay/b": serving})
		if rules := c.nodes[0].rules(); rules[0].GetServing() != 2 || rules[0].GetTotal() != 2 {
			t.Errorf("the rule counts %v", rules)
		}
		c.agree()
	})
}

// TestVirtualRules: all broken rules in one error; only what makes it worse is refused; who breaks a rule names
// it and says why, and that stays in the history.
func TestVirtualRules(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		ctx, cl := c.patiently(), c.clientFor(t)
		for i := range 4 {
			c.set(cl, fmt.Sprint("cell/a/", i), serving)
			c.set(cl, fmt.Sprint("cell/b/", i), notServing)
		}
		set := c.rule(cl, client.Rule{Name: "half", Pattern: "*", MinPercent: 50})
		if r := set.GetRule(); set.GetChanged() != true || r.GetServing() != 0 || r.GetNeeded() != 0 { // 4 of 8 hold it: nothing is said
			t.Errorf("%v", set)
		}
		c.rule(cl, client.Rule{Name: "a-three", Pattern: "cell/a/*", MinServing: 3})
		born := c.rule(cl, client.Rule{Name: "b-one", Pattern: "cell/b/*", MinServing: 1})
		if r := born.GetRule(); r.GetNeeded() != 1 || r.GetServing() != 0 || r.GetTotal() != 4 {
			t.Errorf("a rule that is broken from the first: %v", r)
		}
		breaks := func(err error, want ...string) {
			t.Helper()
			var got []string
			for _, r := range client.BrokenRules(err) {
				got = append(got, r.GetRule())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v: breaks %q, want %q", err, got, want)
			}
		}
		_, err := cl.SetOverride(ctx, "cell/a/*", notServing, client.WriteOptions{})
		breaks(err, "a-three", "half") // b-one is broken, and does not get worse
		_, err = cl.SetOverride(ctx, "cell/a/*", notServing, client.WriteOptions{DryRun: true})
		breaks(err, "a-three", "half")
		_, err = cl.SetBatch(ctx, []client.Change{{Service: "cell/a/0", Status: notServing}, {Service: "cell/a/1", Status: notServing}}, client.WriteOptions{DryRun: true})
		breaks(err, "a-three", "half")
		_, err = cl.Delete(ctx, "cell/a/0", client.WriteOptions{DryRun: true})
		if err != nil { // 3 of 7 serve then
			breaks(err, "half")
		} else {
			t.Error("a delete that breaks a rule is tried without an error")
		}
		// One atomic batch moves the traffic from one cell to the other.
		var move []client.Change
		for i := range 2 {
			move = append(move, client.Change{Service: fmt.Sprint("cell/b/", i), Status: serving})
		}
		move = append(move, client.Change{Service: "cell/a/0", Status: notServing})
		if _, err := cl.SetBatch(ctx, move, client.WriteOptions{}); err != nil {
			t.Errorf("a batch that moves: %v", err)
		}
		_, err = cl.Set(ctx, "cell/a/1", notServing, client.WriteOptions{})
		breaks(err, "a-three")

		// Break-glass.
		o := client.WriteOptions{Reason: "fire", BreakGlass: []string{"a-three", "nobody"}}
		_, err = cl.Set(ctx, "cell/a/1", notServing, o)
		if e := errorOf(t, err); e.Code != codes.NotFound || !strings.Contains(e.Message, `rule "nobody"`) {
			t.Errorf("%v", err)
		}
		o.BreakGlass = []string{"half"}
		_, err = cl.Set(ctx, "cell/a/1", notServing, o)
		breaks(err, "a-three")
		o.BreakGlass = []string{"a-three"}
		tried, err := cl.SetOverride(ctx, "cell/a/1", notServing, client.WriteOptions{Reason: "fire", BreakGlass: o.BreakGlass, DryRun: true})
		if err != nil || len(tried.GetBrokenRules()) != 1 || tried.GetAffectedTotal() != 1 || tried.GetAffected()[0].GetService() != "cell/a/1" || tried.GetRevision() != 0 {
			t.Errorf("%v %v", tried, err)
		}
		done, err := cl.Set(ctx, "cell/a/1", notServing, o)
		if err != nil || len(done.GetBrokenRules()) != 1 || done.GetBrokenRules()[0].GetServing() != 2 || done.GetBrokenRules()[0].GetNeeded() != 3 {
			t.Fatal(done, err)
		}
		all := client.WriteOptions{Reason: "fire", BreakGlass: []string{"*"}}
		if _, err := cl.SetOverride(ctx, "*", notServing, all); err != nil {
			t.Error(err)
		}
		if _, err := cl.ClearOverride(ctx, "*", client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		var told []*rollcallv1.Event
		for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{}) {
			must(t, err)
			if len(e.GetBreakGlass()) > 0 {
				told = append(told, e)
			}
		}
		if len(told) != 2 || told[0].GetRevision() != done.GetRevision() || told[0].GetReason() != "fire" || told[0].GetBrokenRules()[0].GetRule() != "a-three" ||
			told[1].GetType() != rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET || told[1].GetPattern() != "*" || len(told[1].GetBrokenRules()) != 3 {
			t.Errorf("the history tells %v", told)
		}

		// A rule that is removed binds nothing.
		for _, name := range []string{"a-three", "half", "b-one"} {
			if _, err := cl.RemoveRule(ctx, name, client.WriteOptions{}); err != nil {
				t.Error(err)
			}
		}
		if _, err := cl.Shutdown(ctx, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		if rules := c.nodes[2].rules(); len(rules) > 0 && c.caughtUp() > 0 && len(c.nodes[2].rules()) > 0 {
			t.Errorf("left: %v", rules)
		}
		c.agree()
	})
}
