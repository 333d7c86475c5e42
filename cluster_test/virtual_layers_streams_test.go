package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// TestVirtualStreamsSeeOverrides: a stock Watch on each node, WatchServices and WatchEvents tell what overrides
// change, and nothing else.
func TestVirtualStreamsSeeOverrides(t *testing.T) {
	beside(t, ofVirtualTime)
	withLayers(t, nil, func(t *testing.T, c *virtual) {
		cl := c.clientFor(t)
		c.set(cl, "shop/cart", serving)
		c.set(cl, "shop/down", notServing)
		c.set(cl, "pay", serving)
		began := c.caughtUp()
		var mu sync.Mutex
		statuses := map[string][]client.Status{} // by node and service
		for _, n := range c.nodes {
			for _, service := range []string{"shop/cart", "shop/down", "pay", "", "shop/none"} {
				stream, err := healthpb.NewHealthClient(n.dial()).Watch(c.ctx, &healthpb.HealthCheckRequest{Service: service})
				must(t, err)
				c.wg.Go(func() {
					for {
						m, err := stream.Recv()
						if err != nil {
							return
						}
						mu.Lock()
						key := n.cfg.Name + " " + service
						statuses[key] = append(statuses[key], m.GetStatus())
						mu.Unlock()
					}
				})
			}
		}
		var services, events []string
		reader := c.client(c.others(c.leader())[0])
		c.wg.Go(func() {
			defer reader.Close()
			for u, err := range reader.WatchServices(c.ctx, "shop/") {
				if err != nil {
					return
				}
				mu.Lock()
				for _, s := range u.Services {
					services = append(services, fmt.Sprintf("%s %v by %q", s.GetService(), s.GetStatus(), s.GetOverride().GetPattern()))
				}
				mu.Unlock()
			}
		})
		c.wg.Go(func() {
			for batch, err := range cl.WatchEvents(c.ctx, client.WatchEventsOptions{From: began + 1, Prefixes: []string{"shop/"}}) {
				if err != nil {
					return
				}
				mu.Lock()
				for _, e := range batch.Events {
					shown := e.GetStatus()
					if e.GetService() != "" {
						shown = e.GetEffectiveStatus()
					}
					events = append(events, fmt.Sprintf("%s %s%s %v %d", strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_"), e.GetService(), e.GetPattern(), shown, e.GetMatchedCount()))
				}
				mu.Unlock()
			}
		})
		step := func(do func()) {
			t.Helper()
			do()
			c.caughtUp()
			time.Sleep(time.Second) // of virtual time: for the streams
		}
		time.Sleep(time.Second)
		step(func() { c.override(cl, "shop/*", notServing, client.WriteOptions{}) })
		step(func() { c.set(cl, "shop/cart", unknown) }) // beneath
		step(func() { c.override(cl, "pay", unknown, client.WriteOptions{}) })
		step(func() { c.override(cl, "shop/cart", serving, client.WriteOptions{TTL: 30 * time.Second}) })
		step(func() { time.Sleep(40 * time.Second) }) // it ends by itself
		step(func() { c.override(cl, "**", serving, client.WriteOptions{}) })
		step(func() { c.clearOverride(cl, "**") })
		step(func() { c.clearOverride(cl, "shop/*") })
		step(func() { c.clearOverride(cl, "pay") })

		mu.Lock()
		defer mu.Unlock()
		for _, n := range c.nodes {
			for service, want := range map[string][]client.Status{
				"shop/cart": {serving, notServing, serving, notServing, serving, notServing, unknown},
				"shop/down": {notServing, serving, notServing},
				"pay":       {serving, unknown, serving, unknown, serving},
				"":          {serving},
				"shop/none": {healthpb.HealthCheckResponse_SERVICE_UNKNOWN},
			} {
				if got := statuses[n.cfg.Name+" "+service]; !slices.Equal(got, want) {
					t.Errorf("Watch of %q on %s: %v, want %v", service, n.cfg.Name, got, want)
				}
			}
		}
		wantEvents := []string{
			"OVERRIDE_SET shop/* NOT_SERVING 2",
			"REPORTED shop/cart NOT_SERVING 0",
			"OVERRIDE_SET shop/cart SERVING 1",
			"OVERRIDE_EXPIRED shop/cart SERVING 1",
			"OVERRIDE_SET ** SERVING 3",
			"OVERRIDE_CLEARED ** SERVING 3",
			"OVERRIDE_CLEARED shop/* NOT_SERVING 2",
		}
		if !slices.Equal(events, wantEvents) {
			t.Errorf("events\n%q, want\n%q", events, wantEvents)
		}
		// Of several services that one override changes the order is that of their names.
		wantServices := []string{
			`shop/cart SERVING by ""`, `shop/down NOT_SERVING by ""`,
			`shop/cart NOT_SERVING by "shop/*"`, `shop/down NOT_SERVING by "shop/*"`,
			`shop/cart NOT_SERVING by "shop/*"`, // another report
			`shop/cart SERVING by "shop/cart"`,
			`shop/cart NOT_SERVING by "shop/*"`,
			`shop/cart SERVING by "**"`, `shop/down SERVING by "**"`,
			`shop/cart NOT_SERVING by "shop/*"`, `shop/down NOT_SERVING by "shop/*"`,
			`shop/cart UNKNOWN by ""`, `shop/down NOT_SERVING by ""`,
		}
		if !slices.Equal(services, wantServices) {
			t.Errorf("services\n%q, want\n%q", services, wantServices)
		}
	})
}
