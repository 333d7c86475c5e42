package cluster_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestVirtualWatchNames: a watch by names goes on across nodes, sees what reports and overrides of its names change,
// one that ends by itself too, hears nothing of others, and holds in the end what the cluster does.
func TestVirtualWatchNames(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		cl := c.clientFor(t)
		names := []string{"shop/cart", "shop/none", "pay"}
		c.set(cl, "shop/cart", serving)
		c.set(cl, "shop/other", serving)
		c.set(cl, "pay", serving)
		c.caughtUp()
		var mu sync.Mutex
		state := map[string]*rollcallv1.ServiceRecord{}
		told, missing := map[string]bool{}, 0
		var updates int
		synced := false
		reader := c.clientFor(t)
		c.wg.Go(func() {
			for u, err := range reader.WatchNames(c.ctx, names...) {
				if err != nil {
					return
				}
				mu.Lock()
				updates++
				for _, r := range u.Services {
					state[r.GetService()], told[r.GetService()] = r, true
				}
				for _, name := range u.Deleted {
					if missing++; name == "shop/none" && !u.Synced {
						t.Error("a name is missing before the state is complete")
					}
					delete(state, name)
					told[name] = true
				}
				synced = u.Synced
				mu.Unlock()
			}
		})
		step := func(why string, most int, do func()) {
			t.Helper()
			mu.Lock()
			updates = 0
			mu.Unlock()
			do()
			c.caughtUp()
			time.Sleep(30 * time.Second) // of virtual time: also to move to another node
			mu.Lock()
			defer mu.Unlock()
			if !synced || len(told) != len(names) || updates > most {
				t.Fatalf("%s: synced %v, told of %v, %d updates", why, synced, slices.Sorted(maps.Keys(told)), updates)
			}
			for _, name := range names {
				resp, _ := cl.Get(c.ctx, name) // its error is that there is none
				if r := resp.GetService(); !proto.Equal(r, state[name]) {
					t.Errorf("%s: %s is %v, and was told as %v", why, name, r, state[name])
				}
			}
		}
		step("the beginning", 2, func() {})
		step("others", 0, func() {
			c.set(cl, "shop/other", notServing)
			c.override(cl, "shop/other", serving, client.WriteOptions{})
		})
		step("an override", 1, func() { c.override(cl, "shop/*", notServing, client.WriteOptions{}) })
		step("one that ends", 2, func() { c.override(cl, "pay", unknown, client.WriteOptions{TTL: 10 * time.Second}) })
		step("a new one", 1, func() { c.set(cl, "shop/none", serving) })
		for i, n := range c.nodes {
			step(fmt.Sprintf("node %d is restarted", i), 8, func() {
				n.stop()
				c.set(cl, "shop/cart", []client.Status{unknown, serving, notServing}[i])
				time.Sleep(10 * time.Second)
				n.start()
				c.waitReady()
			})
		}
		if missing != 1 {
			t.Errorf("%d names were missing", missing)
		}
	})
}
