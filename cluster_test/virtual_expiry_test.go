package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// expiries are the events of overrides that ran out, by pattern.
func (c *virtual) expiries() map[string]*rollcallv1.Event {
	c.t.Helper()
	cl := c.client()
	defer cl.Close()
	all := map[string]*rollcallv1.Event{}
	for e, err := range cl.ListEvents(c.patiently(), client.ListEventsOptions{Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED}}) {
		if err != nil {
			c.t.Fatal(err)
		}
		if all[e.GetPattern()] != nil {
			c.t.Errorf("%s expired twice", e.GetPattern())
		}
		all[e.GetPattern()] = e
	}
	return all
}

// TestVirtualOverridesExpireByTheClustersClock: an override ends once, not before its time and within a second
// after it, by the cluster's clock: also if one member's clock is far off, and whoever leads; under a leader that
// was cut off it ends when there is another.
func TestVirtualOverridesExpireByTheClustersClock(t *testing.T) {
	beside(t, ofVirtualTime)
	withClocks(t, 3, nil, func(t *testing.T, c *virtual, all clocks) {
		c.awaitLevel(2)
		cl := c.clientFor(t)
		c.set(cl, "shop/cart", serving)
		want := map[string]time.Time{}
		override := func(pattern string, ttl time.Duration) {
			t.Helper()
			want[pattern] = c.override(cl, pattern, notServing, client.WriteOptions{TTL: ttl}).GetOverride().GetExpireTime().AsTime()
		}
		expired := func(within time.Duration) {
			t.Helper()
			for _, at := range want {
				time.Sleep(time.Until(at) - time.Second/2)
			}
			c.until("the overrides to end", func() bool { return len(c.leader().overrides()) == 0 })
			c.caughtUp()
			got := c.expiries()
			for pattern, at := range want {
				e := got[pattern]
				if late := e.GetTime().AsTime().Sub(at); e == nil || late < 0 || late > within {
					t.Errorf("%s was to end at %v: %v", pattern, at, e)
				}
				if e.GetMatchedCount() != 1 || !e.GetActor().GetVerified() {
					t.Errorf("its event is %v", e)
				}
			}
		}
		leader := c.leader()
		all[leader.cfg.Name].Store(int64(time.Hour)) // its own clock says that all is over
		time.Sleep(15 * time.Second)
		override("shop/cart", 20*time.Second)
		override("shop/*", 30*time.Second)
		time.Sleep(19 * time.Second)
		if n := len(c.leader().overrides()); n != 2 {
			t.Fatalf("%d overrides are left before their time", n)
		}
		expired(time.Second)
		all[leader.cfg.Name].Store(0)
		time.Sleep(15 * time.Second)

		leader = c.leader()
		override("**", 5*time.Second)
		c.net.Isolate(memnet.Stall, leader.cfg.Name)
		next := c.leader(c.others(leader)...)
		time.Sleep(time.Until(want["**"]) - time.Second/2)
		c.until("the next leader to end it", func() bool { return len(next.overrides()) == 0 })
		c.net.Heal()
		expired(10 * time.Second)
		c.shows("when all is over", map[string]client.Status{"shop/cart": serving})
		if n := len(c.expiries()); n != 3 {
			t.Errorf("%d overrides expired", n)
		}
	})
}

// TestVirtualEndedOverridesAreForgotten: what has ended is kept until the horizon passes it, the same on all nodes,
// and is then gone from memory and disk; what is in force stays, however old.
func TestVirtualEndedOverridesAreForgotten(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, func(cfg *node.Config) { cfg.HistoryEvents = 40 }, func(t *testing.T, c *virtual) {
		cl := c.clientFor(t)
		c.set(cl, "shop/cart", serving)
		c.override(cl, "shop/*", serving, client.WriteOptions{TTL: client.Forever, Reason: "old"})
		c.rule(cl, client.Rule{Name: "old", Pattern: "shop/*", MinServing: 1})
		for i := range 10 {
			c.override(cl, fmt.Sprint("gone/", i), notServing, client.WriteOptions{TTL: time.Hour})
			c.clearOverride(cl, fmt.Sprint("gone/", i))
		}
		verify := func(overrides int) {
			t.Helper()
			c.caughtUp()
			time.Sleep(5 * time.Second) // the registry file has it all
			for _, n := range c.nodes {
				n.stop()
				checks, err := node.VerifyData(n.cfg.DataDir)
				must(t, err)
				for _, check := range checks {
					if len(check.Problems) > 0 {
						t.Errorf("%s of %s: %q", check.Name, n.cfg.Name, check.Problems)
					}
					if check.Name == "registry" && !strings.Contains(check.Looked, fmt.Sprintf("%d overrides", overrides)) {
						t.Errorf("verify of %s looked at %s, want %d overrides", n.cfg.Name, check.Looked, overrides)
					}
				}
				n.start()
				c.waitReady()
			}
		}
		verify(11)
		for i := range 60 {
			c.set(cl, "shop/cart", []client.Status{notServing, serving}[i%2])
		}
		c.until("the history to be compacted", func() bool {
			resp, err := rollcallv1.NewRegistryClient(c.leader().dial()).ListEvents(context.Background(), &rollcallv1.ListEventsRequest{PageSize: 1})
			return err == nil && resp.GetOldestRevision() > 25
		})
		verify(1)
		c.shows("after the compaction", map[string]client.Status{"shop/cart": serving})
		if o := c.nodes[0].overrides(); len(o) != 1 || o["shop/*"].GetReason() != "old" || len(c.nodes[0].rules()) != 1 {
			t.Errorf("%v, %v", o, c.nodes[0].rules())
		}
	})
}
