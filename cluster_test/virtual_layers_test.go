package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

// withLayers runs test with a cluster that is ready and whose level allows overrides and rules.
func withLayers(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *virtual)) {
	t.Helper()
	inVirtualTime(t, configure, func(t *testing.T, c *virtual) {
		c.awaitLevel(logv1.Level)
		test(t, c)
	})
}

// patiently bounds one call on the virtual clock.
func (c *virtual) patiently() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *virtual) override(cl *client.Client, pattern string, s client.Status, o client.WriteOptions) *rollcallv1.SetOverrideResponse {
	c.t.Helper()
	resp, err := cl.SetOverride(c.patiently(), pattern, s, o)
	if err != nil {
		c.t.Fatalf("override %s: %v", pattern, err)
	}
	return resp
}

func (c *virtual) clearOverride(cl *client.Client, pattern string) *rollcallv1.ClearOverrideResponse {
	c.t.Helper()
	resp, err := cl.ClearOverride(c.patiently(), pattern, client.WriteOptions{})
	if err != nil {
		c.t.Fatalf("clear %s: %v", pattern, err)
	}
	return resp
}

func (c *virtual) rule(cl *client.Client, r client.Rule) *rollcallv1.SetRuleResponse {
	c.t.Helper()
	resp, err := cl.SetRule(c.patiently(), r, client.WriteOptions{})
	if err != nil {
		c.t.Fatalf("rule %s: %v", r.Name, err)
	}
	return resp
}

// overrides are what one node lists.
func (n *virtualNode) overrides() map[string]*rollcallv1.Override {
	n.c.t.Helper()
	cl := n.c.client(n)
	defer cl.Close()
	all := map[string]*rollcallv1.Override{}
	for o, err := range cl.ListOverrides(n.c.patiently(), client.ListOverridesOptions{PageSize: 2}) {
		if err != nil {
			n.c.t.Fatalf("overrides of %s: %v", n.cfg.Name, err)
		}
		all[o.GetPattern()] = o
	}
	return all
}

func (n *virtualNode) rules() []*rollcallv1.Rule {
	n.c.t.Helper()
	cl := n.c.client(n)
	defer cl.Close()
	resp, err := cl.ListRules(n.c.patiently())
	if err != nil {
		n.c.t.Fatalf("rules of %s: %v", n.cfg.Name, err)
	}
	return resp.GetRules()
}

// shows checks what every node shows, by Check, List, ListServices and GetService, once all have caught up.
func (c *virtual) shows(when string, want map[string]client.Status) {
	c.t.Helper()
	c.caughtUp()
	for _, n := range c.nodes {
		list, err := healthpb.NewHealthClient(n.dial()).List(c.patiently(), &healthpb.HealthListRequest{})
		if err != nil {
			c.t.Fatal(err)
		}
		records := n.services()
		cl := n.c.client(n)
		for service, s := range want {
			got, err := cl.Get(c.patiently(), service)
			if err != nil {
				c.t.Fatalf("%s: %s on %s: %v", when, service, n.cfg.Name, err)
			}
			for how, status := range map[string]client.Status{
				"Check": n.check(service), "List": list.GetStatuses()[service].GetStatus(),
				"ListServices": records[service].GetStatus(), "GetService": got.GetService().GetStatus(),
			} {
				if status != s {
					c.t.Errorf("%s: %s of %s on %s is %s, want %s", when, how, service, n.cfg.Name, status, s)
				}
			}
			if !proto.Equal(got.GetService(), records[service]) {
				c.t.Errorf("%s: two reads of %s on %s differ:\n%v\n%v", when, service, n.cfg.Name, got.GetService(), records[service])
			}
		}
		if n.check(rollcallv1.OwnReads) != serving || n.check(rollcallv1.OwnReady) != serving || n.check(rollcallv1.OwnLive) != serving {
			c.t.Errorf("%s: a name of %s's own is not SERVING", when, n.cfg.Name)
		}
		cl.Close()
	}
}

// TestVirtualOverridesThroughEveryNode: each kind of pattern, set through each node, shows on all; every layer
// is told; what ends shows what is beneath.
func TestVirtualOverridesThroughEveryNode(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		all := c.client()
		defer all.Close()
		reported := map[string]client.Status{"shop/cart": serving, "shop/cart/a": serving, "shop.cart": serving, "shopify": serving, "pay": notServing}
		for service, s := range reported {
			c.set(all, service, s)
		}
		with := func(changes map[string]client.Status) map[string]client.Status {
			m := maps.Clone(reported)
			maps.Copy(m, changes)
			return m
		}
		everywhere := func(s client.Status) map[string]client.Status {
			m := map[string]client.Status{}
			for service := range reported {
				m[service] = s
			}
			return m
		}
		for _, n := range c.nodes {
			cl := c.client(n)
			for _, tt := range []struct {
				pattern string
				want    map[string]client.Status
				matched int64
			}{
				{"shop/cart", with(map[string]client.Status{"shop/cart": notServing}), 1},
				{"shop/*", with(map[string]client.Status{"shop/cart": notServing, "shop/cart/a": notServing}), 2},
				{"shop.*", with(map[string]client.Status{"shop.cart": notServing}), 1},
				{"*", everywhere(notServing), 5},
				{"**", everywhere(notServing), 5},
				{"nobody/*", reported, 0},
			} {
				set := c.override(cl, tt.pattern, notServing, client.WriteOptions{Reason: "disk swap", Actor: "ann"})
				if o := set.GetOverride(); set.GetMatchedCount() != tt.matched || !set.GetChanged() || o.GetRevision() != set.GetRevision() ||
					o.GetExpireTime().AsTime().Sub(o.GetTime().AsTime()) != time.Hour || o.GetActor().GetName() != "ann" {
					t.Errorf("%s through %s: %v", tt.pattern, n.cfg.Name, set)
				}
				c.shows(tt.pattern+" through "+n.cfg.Name, tt.want)
				for _, m := range c.nodes {
					if got := m.overrides(); len(got) != 1 || !proto.Equal(got[tt.pattern], set.GetOverride()) {
						t.Errorf("%s lists %v, want %v", m.cfg.Name, got, set.GetOverride())
					}
				}
				again := c.override(cl, tt.pattern, notServing, client.WriteOptions{Reason: "disk swap", Actor: "bob", TTL: client.Forever})
				if again.GetOverride().GetExpireTime() != nil || !proto.Equal(again.GetOverride().GetStatusTime(), set.GetOverride().GetStatusTime()) {
					t.Errorf("set again, for ever: %v", again)
				}
				if cleared := c.clearOverride(cl, tt.pattern); cleared.GetMatchedCount() != tt.matched || cleared.GetOverride().GetPattern() != tt.pattern {
					t.Errorf("cleared: %v", cleared)
				}
				c.shows(tt.pattern+" cleared", reported)
			}
			_, err := cl.ClearOverride(c.patiently(), "*", client.WriteOptions{})
			if e := errorOf(t, err); e.Code != codes.NotFound {
				t.Errorf("%v", err)
			}
			cl.Close()
		}

		// The layers of one service, the one that decides first.
		for _, p := range []string{"*", "shop/*", "shop/cart/*", "shop/cart/a", "**"} {
			c.override(all, p, unknown, client.WriteOptions{Reason: p})
		}
		c.caughtUp()
		for _, n := range c.nodes {
			record := n.services()["shop/cart/a"]
			order := []string{record.GetOverride().GetPattern()}
			for _, o := range record.GetShadowed() {
				order = append(order, o.GetPattern())
			}
			if want := []string{"**", "shop/cart/a", "shop/cart/*", "shop/*", "*"}; !slices.Equal(order, want) || record.GetReport().GetStatus() != serving {
				t.Errorf("%s: layers %q, want %q", n.cfg.Name, order, want)
			}
		}
		c.agree()
	})
}

func errorOf(t *testing.T, err error) *client.Error {
	t.Helper()
	e, ok := err.(*client.Error)
	if !ok {
		t.Fatalf("got %v, want a *client.Error", err)
	}
	return e
}

// TestVirtualShutdownAndResume: resume brings back exactly the map beneath, with what was reported, deleted,
// made and overridden meanwhile.
func TestVirtualShutdownAndResume(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		cl := c.client(c.others(c.leader())...)
		defer cl.Close()
		for service, s := range map[string]client.Status{"a": serving, "b": notServing, "c": unknown, "gone": serving, "over": serving} {
			c.set(cl, service, s)
		}
		c.override(cl, "over", notServing, client.WriteOptions{})
		if resp, err := cl.Shutdown(c.patiently(), client.WriteOptions{Reason: "power test", TTL: client.Forever}); err != nil || resp.GetMatchedCount() != 5 {
			t.Fatal(resp, err)
		}
		c.shows("shut down", map[string]client.Status{"a": notServing, "b": notServing, "c": notServing, "gone": notServing, "over": notServing})
		c.set(cl, "b", serving)
		c.set(cl, "new", serving)
		c.override(cl, "c", serving, client.WriteOptions{})
		c.clearOverride(cl, "over")
		if _, err := cl.Delete(c.patiently(), "gone", client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.shows("changed meanwhile", map[string]client.Status{"a": notServing, "b": notServing, "c": notServing, "new": notServing, "over": notServing})
		for _, n := range c.nodes { // a restart forgets nothing of it
			n.restart()
		}
		c.shows("restarted", map[string]client.Status{"a": notServing, "b": notServing, "new": notServing})
		if _, err := cl.Resume(c.patiently(), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.shows("resumed", map[string]client.Status{"a": serving, "b": serving, "c": serving, "new": serving, "over": serving})
		if _, err := cl.Check(c.patiently(), "gone"); errorOf(t, err).Code != codes.NotFound {
			t.Errorf("what was deleted meanwhile: %v", err)
		}
		c.agree()
	})
}

// layered is a registry with overrides and rules, and what is to be seen of it.
func (c *virtual) layered(cl *client.Client) (shown map[string]client.Status) {
	c.t.Helper()
	for i := range 6 {
		c.set(cl, fmt.Sprint("pay/", i), serving)
	}
	c.set(cl, "shop", serving)
	c.rule(cl, client.Rule{Name: "pay-half", Pattern: "pay/*", MinPercent: 50})
	c.rule(cl, client.Rule{Name: "pay-min", Pattern: "pay/*", MinServing: 2})
	c.override(cl, "pay/0", notServing, client.WriteOptions{TTL: client.Forever, Reason: "disk"})
	c.override(cl, "pay/1", notServing, client.WriteOptions{TTL: 24 * time.Hour})
	c.override(cl, "shop", notServing, client.WriteOptions{})
	c.clearOverride(cl, "shop")
	return map[string]client.Status{"pay/0": notServing, "pay/1": notServing, "pay/2": serving, "shop": serving}
}

// wantLayered checks that all nodes hold what layered made, and that the rules still count.
func (c *virtual) wantLayered(when string, shown map[string]client.Status) {
	c.t.Helper()
	c.shows(when, shown)
	first := c.nodes[0].services()
	for _, n := range c.nodes {
		if got := n.overrides(); len(got) != 2 || got["pay/0"].GetReason() != "disk" || got["pay/0"].GetExpireTime() != nil || got["pay/1"].GetExpireTime() == nil {
			c.t.Errorf("%s: %s has the overrides %v", when, n.cfg.Name, got)
		}
		rules := n.rules()
		if len(rules) != 2 || rules[0].GetName() != "pay-half" || rules[0].GetNeeded() != 3 || rules[0].GetServing() != 4 || rules[0].GetTotal() != 6 ||
			rules[1].GetName() != "pay-min" || rules[1].GetNeeded() != 2 || rules[1].GetServing() != 4 {
			c.t.Errorf("%s: %s has the rules %v", when, n.cfg.Name, rules)
		}
		for name, record := range n.services() {
			if !proto.Equal(record, first[name]) {
				c.t.Errorf("%s: %s on %s is %v, and %v on %s", when, name, n.cfg.Name, record, first[name], c.nodes[0].cfg.Name)
			}
		}
		if n.mismatched() != 0 {
			c.t.Errorf("%s: state hashes of %s differ", when, n.cfg.Name)
		}
	}
	cl := c.client(c.others(c.leader())[0])
	defer cl.Close()
	_, err := cl.SetOverride(c.patiently(), "pay/*", notServing, client.WriteOptions{})
	var names []string
	for _, r := range client.BrokenRules(err) {
		names = append(names, r.GetRule())
	}
	if !slices.Equal(names, []string{"pay-half", "pay-min"}) {
		c.t.Errorf("%s: an override of all of pay/* is answered %v", when, err)
	}
}

// TestVirtualLayersLast: restarts of every node, a snapshot for a follower that was away, a backup.
func TestVirtualLayersLast(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
	}, func(t *testing.T, c *virtual) {
		leader := c.leader()
		away := c.others(leader)[0]
		c.set(c.clientFor(t), "before", serving)
		c.caughtUp()
		away.stop()
		cl := c.client(c.others(away)...)
		defer cl.Close()
		shown := c.layered(cl)
		for i := 0; i < 60 || len(snapshots(t, leader)) < 2; i++ {
			if i == 1000 {
				t.Fatal("the leader takes no snapshots")
			}
			c.set(cl, "before", []client.Status{serving, notServing}[i%2])
			time.Sleep(50 * time.Millisecond)
		}
		away.start()
		c.waitReady()
		c.wantLayered("a follower that needed a snapshot", shown)

		for _, n := range c.nodes {
			n.restart()
		}
		c.wantLayered("each node restarted", shown)
		for _, n := range c.nodes {
			n.stop()
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.wantLayered("all nodes restarted", shown)

		time.Sleep(5 * time.Second) // the registry file has it all
		own := c.client()
		backup := c.backup(own)
		own.Close()
		c.replace(backup)
		c.awaitLevel(logv1.Level)
		c.wantLayered("restored", shown)
		// What is over while nobody runs ends with the first leader.
		for _, n := range c.nodes {
			n.stop()
		}
		time.Sleep(25 * time.Hour)
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.until("the end of what is over", func() bool { return len(c.nodes[0].overrides()) == 1 })
		c.shows("a day later", map[string]client.Status{"pay/0": notServing, "pay/1": serving})
	})
}

// clientFor returns a client of all nodes that ends with the test.
func (c *virtual) clientFor(t *testing.T) *client.Client {
	t.Helper()
	cl := c.client()
	c.wg.Go(func() {
		<-c.ctx.Done()
		cl.Close()
	})
	return cl
}
