package cluster_test

import (
	"context"
	"strings"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessStockClientFollowsOverrides: a stock gRPC client that balances on the health of shop/cart leaves and
// returns by overrides and their ends, on all nodes, and all nodes are killed in between.
func TestProcessStockClientFollowsOverrides(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("shop/cart", serving)
	c.set("pay", serving)
	cart := c.balanced(bareConfig, "shop/cart")
	pay := c.balanced(bareConfig, "pay")
	reads := c.balanced(bareConfig, rollcallv1.OwnReads)
	reaches(t, cart, "shop/cart everywhere", c.nodes...)
	reaches(t, pay, "pay everywhere", c.nodes...)
	do := func(args ...string) {
		t.Helper()
		// A level that has just risen, or a leader that has just changed, is another try away.
		eventually(t, strings.Join(args, " "), func(ctx context.Context) bool {
			_, _, code := c.rollcall(args...)
			return code == 0
		})
	}
	killAll := func() {
		t.Helper()
		c.killAll()
		c.start()
		c.waitReady()
	}

	do("override", "set", "shop/cart", "not_serving", "--reason", "disk swap", "--forever")
	reaches(t, cart, "shop/cart nowhere")
	killAll()
	for _, p := range c.nodes {
		p.waitStatus("shop/cart", notServing)
	}
	reaches(t, pay, "pay everywhere, after all were killed", c.nodes...)
	reaches(t, cart, "shop/cart nowhere, after all were killed")
	do("override", "clear", "shop/cart")
	reaches(t, cart, "shop/cart everywhere again", c.nodes...)

	// It ends by itself, by the clock of the cluster that was killed meanwhile.
	do("override", "set", "shop/*", "not_serving", "--for", "20s")
	reaches(t, cart, "shop/cart nowhere, for a time")
	killAll()
	reaches(t, cart, "shop/cart everywhere, when the time is over", c.nodes...)

	// The whole registry, but not the nodes' own names.
	do("shutdown", "--reason", "power test")
	reaches(t, cart, "shop/cart nowhere, shut down")
	reaches(t, pay, "pay nowhere, shut down")
	killAll()
	reaches(t, reads, "the nodes themselves everywhere", c.nodes...)
	reaches(t, pay, "pay nowhere, still shut down")
	do("resume")
	reaches(t, cart, "shop/cart everywhere, resumed", c.nodes...)
	reaches(t, pay, "pay everywhere, resumed", c.nodes...)
}
