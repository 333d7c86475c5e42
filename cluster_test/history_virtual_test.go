package cluster_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualHistories has clients of every node call while nodes are cut off, restarted and slowed.
func TestVirtualHistories(t *testing.T) {
	eachHistory(t, 1, func(t *testing.T, seed uint64) {
		var h *history
		small := func(cfg *node.Config) { // so that snapshots are taken and installed too
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 2*time.Second, 100, 20
		}
		inVirtualTime(t, small, func(t *testing.T, c *virtual) { h = virtualHistory(t, c, seed) })
		// Not in the bubble, where the checker's clock would stand still.
		t.Log(h)
		if w, m := h.count(acknowledged), h.count(mismatch); w < 100 || m < 50 {
			t.Errorf("%d acknowledged writes and %d reads: too few to prove anything", w, m)
		}
		h.check(t)
	})
}

func virtualHistory(t *testing.T, c *virtual, seed uint64) *history {
	h := newHistory("v", c.caughtUp())
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	for i := range 6 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		cl := c.client(c.nodes[i%len(c.nodes)])
		defer cl.Close()
		w := h.client(cl, rng)
		c.wg.Go(func() { w.run(ctx, func() { time.Sleep(time.Duration(rng.IntN(int(40 * time.Millisecond)))) }) })
	}
	rng := rand.New(rand.NewPCG(seed, 1000))
	upTo := func(d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }
	for range 8 {
		upTo(500 * time.Millisecond)
		n := c.nodes[rng.IntN(len(c.nodes))]
		if rng.IntN(2) == 0 {
			n = c.leader()
		}
		how := memnet.Stall
		if rng.IntN(2) == 0 {
			how = memnet.Reset
		}
		switch action := rng.IntN(6); action {
		case 0, 1:
			t.Logf("cut off %s (%d)", n.cfg.Name, how)
			c.net.Isolate(how, n.cfg.Name)
			upTo(3 * time.Second)
		case 2:
			other := c.others(n)[rng.IntN(2)]
			t.Logf("cut %s from %s (%d)", n.cfg.Name, other.cfg.Name, how)
			c.net.Partition(how, n.cfg.Name, other.cfg.Name)
			upTo(3 * time.Second)
		case 3:
			t.Logf("restart %s", n.cfg.Name)
			n.stop()
			upTo(2 * time.Second)
			n.start()
		case 4:
			t.Log("restart all")
			for _, n := range c.nodes {
				n.stop()
			}
			upTo(500 * time.Millisecond)
			for _, n := range c.nodes {
				n.start()
			}
		case 5:
			t.Logf("slow disk of %s", n.cfg.Name)
			n.storeDelay.Store(rng.Int64N(int64(900 * time.Millisecond)))
			upTo(2 * time.Second)
			n.storeDelay.Store(0)
		}
		c.net.Heal()
	}
	c.waitReady()
	upTo(time.Second)
	cancel()
	c.wg.Wait()
	all := c.client()
	defer all.Close()
	h.finish(t, all, func() { time.Sleep(20 * time.Millisecond) })
	return h
}
