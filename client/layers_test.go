package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestLayersAskForWhatTheyAreTold: every option reaches the node.
func TestLayersAskForWhatTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		ctx, revision := t.Context(), int64(4)
		o := client.WriteOptions{Reason: "why", Actor: "who", RequestID: "id", DryRun: true, IfRevision: &revision}
		override, removal := o, o
		override.BreakGlass = []string{"a", "b"}
		removal.AllowMissing = true
		clear := removal
		clear.BreakGlass = override.BreakGlass
		for method, tt := range map[string]struct {
			do   func() error
			want proto.Message
		}{
			"SetOverride": {func() error { _, err := c.SetOverride(ctx, "a/*", unknown, override); return err }, &rollcallv1.SetOverrideRequest{
				Pattern: "a/*", Status: unknown.Enum(), Reason: "why", Actor: "who", RequestId: "id", IfRevision: &revision, ValidateOnly: true, BreakGlass: []string{"a", "b"},
			}},
			"ClearOverride": {func() error { _, err := c.ClearOverride(ctx, "a/*", clear); return err }, &rollcallv1.ClearOverrideRequest{
				Pattern: "a/*", Reason: "why", Actor: "who", RequestId: "id", IfRevision: &revision, AllowMissing: true, ValidateOnly: true, BreakGlass: []string{"a", "b"},
			}},
			"SetRule": {func() error {
				_, err := c.SetRule(ctx, client.Rule{Name: "r", Pattern: "a.*", MinServing: 2, MinPercent: 50, EnforceReports: true}, o)
				return err
			}, &rollcallv1.SetRuleRequest{
				Name: "r", Pattern: "a.*", MinServing: proto.Int64(2), MinPercent: proto.Int32(50), EnforceReports: true,
				Reason: "why", Actor: "who", RequestId: "id", IfRevision: &revision, ValidateOnly: true,
			}},
			"RemoveRule": {func() error { _, err := c.RemoveRule(ctx, "r", removal); return err }, &rollcallv1.RemoveRuleRequest{
				Name: "r", Reason: "why", Actor: "who", RequestId: "id", IfRevision: &revision, AllowMissing: true, ValidateOnly: true,
			}},
		} {
			_ = tt.do() // the fake may refuse the revision
			if got := f.nodes[0].seen(method)[0].request.(proto.Message); !proto.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		}
	})
}

func TestHowLongAnOverrideLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		for i, tt := range []struct {
			ttl     time.Duration
			want    *durationpb.Duration
			forever bool
		}{
			{0, nil, false},
			{client.Forever, nil, true},
			{90 * time.Second, durationpb.New(90 * time.Second), false},
			{-time.Second, durationpb.New(-time.Second), false}, // for the node to refuse
		} {
			if _, err := c.Shutdown(t.Context(), client.WriteOptions{TTL: tt.ttl}); err != nil {
				t.Fatal(err)
			}
			req := f.nodes[0].seen("SetOverride")[i].request.(*rollcallv1.SetOverrideRequest)
			if !proto.Equal(req.GetTtl(), tt.want) || req.GetForever() != tt.forever || req.GetPattern() != "**" || req.GetStatus() != notServing {
				t.Errorf("TTL %v asks for %v", tt.ttl, req)
			}
		}
	})
}

// TestAbsurdBoundsAreTheNodesToRefuse: no bound wraps around into one that is allowed.
func TestAbsurdBoundsAreTheNodesToRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		for i, percent := range []int{1<<32 + 50, -(1<<32 - 50), 101, -1} {
			if _, err := c.SetRule(t.Context(), client.Rule{Name: "r", Pattern: "*", MinPercent: percent}, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := f.nodes[0].seen("SetRule")[i].request.(*rollcallv1.SetRuleRequest).GetMinPercent(); 1 <= got && got <= 100 {
				t.Errorf("%d percent becomes %d", percent, got)
			}
		}
	})
}

// TestLayersAreRetriedAsOtherWrites: with the same request, until an answer says what became of it.
func TestLayersAreRetriedAsOtherWrites(t *testing.T) {
	changes := map[string]func(ctx context.Context, c *client.Client) error{
		"SetOverride": func(ctx context.Context, c *client.Client) error {
			_, err := c.SetOverride(ctx, "*", notServing, client.WriteOptions{})
			return err
		},
		"ClearOverride": func(ctx context.Context, c *client.Client) error {
			_, err := c.ClearOverride(ctx, "**", client.WriteOptions{})
			return err
		},
		"SetRule": func(ctx context.Context, c *client.Client) error {
			_, err := c.SetRule(ctx, client.Rule{Name: "r", Pattern: "*", MinServing: 1}, client.WriteOptions{})
			return err
		},
		"RemoveRule": func(ctx context.Context, c *client.Client) error {
			_, err := c.RemoveRule(ctx, "old", client.WriteOptions{})
			return err
		},
	}
	for method, change := range changes {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				f.override("**", notServing)
				f.do(func() { f.layers.rules = map[string]*rollcallv1.Rule{"old": {Name: "old", Pattern: "*"}} })
				before := len(f.events)
				// The first node does the change, and its answer is lost.
				f.nodes[0].onAnswer = func(context.Context, int) error {
					f.nodes[0].breakConnections()
					return refusal(codes.Unavailable, "", nil)
				}
				if err := change(within(t, 5*time.Second), f.client(t)); err != nil {
					t.Fatal(err)
				}
				calls := append(f.nodes[0].seen(method), f.nodes[1].seen(method)...)
				if len(calls) != 2 || !proto.Equal(calls[0].request.(proto.Message), calls[1].request.(proto.Message)) {
					t.Errorf("tries: %v", calls)
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if len(f.events) != before+1 {
					t.Errorf("%d events", len(f.events)-before)
				}
			})
		})
	}
}

func TestErrorsOfLayersNameTheirSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		_, err := c.ClearOverride(t.Context(), "shop/*", client.WriteOptions{})
		if e := failure(t, err); e.Pattern != "shop/*" || e.Service != "" || !strings.HasPrefix(e.Error(), "clear override shop/*: ") || e.Code != codes.NotFound || e.Written != client.WrittenNo {
			t.Errorf("%+v: %v", e, e)
		}
		_, err = c.RemoveRule(t.Context(), "pay min", client.WriteOptions{})
		if e := failure(t, err); e.Rule != "pay min" || !strings.HasPrefix(e.Error(), `remove rule "pay min": `) {
			t.Errorf("%+v: %v", e, e)
		}
		revision := f.override("shop/*", notServing)
		wrong := revision - 1
		_, err = c.SetOverride(t.Context(), "shop/*", serving, client.WriteOptions{IfRevision: &wrong})
		if e := failure(t, err); e.CurrentRevision != revision || e.Reason != "REVISION_MISMATCH" {
			t.Errorf("%+v", e)
		}
		if broken := client.BrokenRules(err); broken != nil {
			t.Errorf("an error of another kind has rules %v", broken)
		}
		if broken := client.BrokenRules(nil); broken != nil {
			t.Errorf("no error has rules %v", broken)
		}
	})
}

func TestBrokenRulesOfAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		f.write(event{"a/1", serving, ""}, event{"a/2", serving, ""})
		for name, p := range map[string]string{"one": "a/*", "two": "*", "other": "b/*"} {
			if _, err := c.SetRule(t.Context(), client.Rule{Name: name, Pattern: p, MinServing: 1}, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c.SetOverride(t.Context(), "a/*", notServing, client.WriteOptions{})
		e := failure(t, fmt.Errorf("draining: %w", err))
		var names []string
		for _, r := range client.BrokenRules(fmt.Errorf("draining: %w", err)) {
			names = append(names, r.GetRule())
			if r.GetNeeded() != 1 || r.GetServing() != 0 || r.GetTotal() != 2 {
				t.Errorf("%v", r)
			}
		}
		if e.Reason != client.ReasonRuleBroken || e.Written != client.WrittenNo || !slices.Equal(names, []string{"one", "two"}) {
			t.Errorf("%+v breaks %q", e, names)
		}
	})
}

func TestListOverridesGoesOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprint("s/", i))
			f.override(want[i], notServing)
		}
		var got []string
		var asOf int64
		for o, err := range c.ListOverrides(t.Context(), client.ListOverridesOptions{PageSize: 2, AsOf: &asOf}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, o.GetPattern()); len(got) == 2 {
				f.nodes[0].kill()
			}
		}
		if !slices.Equal(got, want) || asOf != 5 || len(f.nodes[1].seen("ListOverrides")) != 2 {
			t.Errorf("got %q as of %d", got, asOf)
		}
		if second := f.nodes[1].seen("ListOverrides")[0]; second.minRevision != 5 {
			t.Errorf("the second page may be as of %d", second.minRevision)
		}
	})
}

// TestWatchesShowOverrides: they come and go without a new report.
func TestWatchesShowOverrides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		f.write(event{"a", serving, ""})
		var updates []client.Status
		for u, err := range c.Watch(within(t, time.Minute), "a") {
			if err != nil {
				t.Fatal(err)
			}
			if u.Revision != 1 || u.Status != u.Record.GetStatus() {
				t.Errorf("%v", u)
			}
			switch updates = append(updates, u.Status); len(updates) {
			case 1:
				f.override("*", notServing)
			case 2:
				f.nodes[0].kill() // what follows comes from another node
				f.clear("*")
			}
			if len(updates) == 3 {
				break
			}
		}
		if !slices.Equal(updates, []client.Status{serving, notServing, serving}) {
			t.Errorf("updates %v", updates)
		}
	})
}

func TestWatchServicesGivesWhatOverridesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c := f.client(t)
		f.write(event{"a/1", serving, ""}, event{"b", serving, ""})
		steps := []func(){
			func() { f.override("*", notServing) },      // both
			func() { f.override("a/*", serving) },       // a/1
			func() { f.nodes[0].kill() },                // nothing, by another node
			func() { f.clear("*") },                     // both: what is shadowed changes too
			func() { f.clear("a/*") },                   // a/1, whose status stays
			func() { f.write(event{"b", unknown, ""}) }, // b
		}
		var got []string
		for u, err := range c.WatchServices(within(t, time.Minute)) {
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range u.Services {
				got = append(got, fmt.Sprintf("%s %v %s", s.GetService(), s.GetStatus(), s.GetOverride().GetPattern()))
			}
			if !u.Synced {
				continue
			}
			got = append(got, "-")
			if len(steps) == 0 {
				break
			}
			step := steps[0]
			steps = steps[1:]
			step()
			if len(steps) == 3 { // the other node has nothing to give
				step, steps = steps[0], steps[1:]
				synctest.Wait()
				step()
			}
		}
		want := []string{
			"a/1 SERVING ", "b SERVING ", "-",
			"a/1 NOT_SERVING *", "b NOT_SERVING *", "-",
			"a/1 SERVING a/*", "-",
			"a/1 SERVING a/*", "b SERVING ", "-",
			"a/1 SERVING ", "-",
			"b UNKNOWN ", "-",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}
