package cluster_test

import (
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualOverridesExpire while the leader is killed shortly before, and clocks leap: never before the time
// that was promised, and at most a little after there is a leader.
func TestVirtualOverridesExpire(t *testing.T) {
	beside(t, ofVirtualTime)
	const ttl = 30 * time.Second
	for name, disturb := range map[string]func(c *virtual, all clocks){
		"quiet": func(*virtual, clocks) {},
		"the leader is killed": func(c *virtual, _ clocks) {
			time.Sleep(ttl - 100*time.Millisecond)
			leader := c.leader()
			leader.stop()
			c.leader(c.others(leader)...)
			leader.start()
			c.waitReady()
		},
		"the leader is cut off": func(c *virtual, _ clocks) {
			time.Sleep(ttl - 200*time.Millisecond)
			leader := c.leader()
			c.net.Isolate(memnet.Reset, leader.cfg.Name)
			time.Sleep(5 * time.Second)
			c.net.Heal()
			c.waitReady()
		},
		"the leader's clock leaps ahead": func(c *virtual, all clocks) {
			time.Sleep(ttl / 2)
			all[c.leader().cfg.Name].Store(int64(60 * 24 * time.Hour))
		},
		"a follower's clock leaps back, and it leads": func(c *virtual, all clocks) {
			time.Sleep(ttl / 2)
			leader := c.leader()
			all[c.others(leader)[0].cfg.Name].Store(int64(-60 * 24 * time.Hour))
			leader.stop()
			c.leader(c.others(leader)...)
			leader.start()
			c.waitReady()
		},
	} {
		t.Run(name, func(t *testing.T) {
			withClocks(t, 3, nil, func(t *testing.T, c *virtual, all clocks) {
				c.awaitLevel(logv1.Level)
				cl := c.clientFor(t)
				c.set(cl, "shop/cart", serving)
				began := time.Now()
				set := c.override(cl, "shop/*", notServing, client.WriteOptions{TTL: ttl})
				c.override(cl, "other", notServing, client.WriteOptions{TTL: client.Forever})
				// Whoever watches through any node sees it end once, and not too early.
				ends := make(chan time.Time, len(c.nodes))
				for _, n := range c.nodes {
					watching := c.client(append([]*virtualNode{n}, c.others(n)...)...)
					c.wg.Go(func() {
						defer watching.Close()
						for u, err := range watching.Watch(c.ctx, "shop/cart") {
							if err != nil {
								return
							}
							if time.Since(began) > time.Second && u.Status == serving {
								ends <- time.Now()
								return
							}
						}
					})
				}
				disturb(c, all)
				time.Sleep(time.Until(began.Add(ttl - time.Second)))
				for _, n := range c.nodes {
					if got := n.check("shop/cart"); got != notServing && time.Since(began) < ttl {
						t.Errorf("%s of %s after %s", got, n.cfg.Name, time.Since(began))
					}
				}
				var at time.Time
				c.until("the end on all nodes", func() bool {
					for _, n := range c.nodes {
						if n.check("shop/cart") != serving {
							return false
						}
					}
					return true
				})
				at = time.Now()
				if lived := at.Sub(began); lived < ttl || lived > ttl+15*time.Second {
					t.Errorf("it lived %s", lived)
				}
				for range c.nodes {
					if lived := (<-ends).Sub(began); lived < ttl-50*time.Millisecond {
						t.Errorf("a watch saw the end after %s", lived)
					}
				}
				var ended []*rollcallv1.Event
				for e, err := range cl.ListEvents(c.patiently(), client.ListEventsOptions{Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED}}) {
					must(t, err)
					ended = append(ended, e)
				}
				if len(ended) != 1 || ended[0].GetPattern() != "shop/*" || ended[0].GetMatchedCount() != 1 ||
					ended[0].GetTime().AsTime().Before(set.GetOverride().GetExpireTime().AsTime()) {
					t.Errorf("events of ends: %v; it was to end at %v", ended, set.GetOverride().GetExpireTime().AsTime())
				}
				if left := c.nodes[0].overrides(); len(left) != 1 || left["other"] == nil {
					t.Errorf("left: %v", left)
				}
				for _, n := range c.nodes {
					all[n.cfg.Name].Store(0)
				}
				c.agree()
			})
		})
	}
}
