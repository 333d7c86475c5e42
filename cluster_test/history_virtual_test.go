package cluster_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// TestVirtualHistories has clients of every node call while nodes are cut off, restarted and slowed.
func TestVirtualHistories(t *testing.T) {
	beside(t, ofVirtualTime)
	eachHistory(t, 1, func(t *testing.T, seed uint64) {
		var h *history
		small := func(cfg *node.Config) { // so that snapshots are taken and installed too
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 2*time.Second, 100, 20
			cfg.LeaseGuardMin = 1000 // leases that are lost together are meant to expire
		}
		inVirtualTime(t, small, func(t *testing.T, c *virtual) { h = virtualHistory(t, c, seed) })
		// Not in the bubble, where the checker's clock would stand still.
		t.Log(h)
		if w, m := h.count(acknowledged), h.count(mismatch); w < 100 || m < 50 {
			t.Errorf("%d acknowledged writes and %d reads: too few to prove anything", w, m)
		}
		if h.count(lost) == 0 || h.count(held) < 10 || h.leases.expired == 0 || h.leases.kept < 10 {
			t.Error("too few of what leases do to prove anything")
		}
		h.check(t)
	})
}

func virtualHistory(t *testing.T, c *virtual, seed uint64) *history {
	h := newHistory("v", c.caughtUp())
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	stopFollowing := c.followLeases(h)
	var conns []*grpc.ClientConn
	for _, n := range c.nodes {
		conns = append(conns, n.dial())
	}
	for i := range 6 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		cl := c.client(c.nodes[i%len(c.nodes)])
		defer cl.Close()
		w := h.client(cl, conns, rng)
		c.wg.Go(func() {
			w.run(ctx, func() { time.Sleep(time.Duration(rng.IntN(int(40 * time.Millisecond)))) }, time.Sleep)
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1000))
	upTo := func(d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }
	for range 8 {
		upTo(500 * time.Millisecond)
		n := c.nodes[rng.IntN(len(c.nodes))]
		if rng.IntN(2) == 0 {
			n = c.leader()
		}
		begin := time.Now()
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
		h.record.disturb(begin, time.Now().Add(time.Second)) // until connections are there again
	}
	c.waitReady()
	upTo(time.Second)
	cancel()
	c.wg.Wait()
	all := c.client()
	defer all.Close()
	h.finish(t, all, func() { time.Sleep(20 * time.Millisecond) })
	time.Sleep(6 * time.Second) // no lease is renewed any more: all must end
	stopFollowing()
	if err := h.record.check(leasePromise{late: 2 * time.Second, now: time.Now()}); err != nil {
		t.Error(err)
	}
	return h
}

// followLeases follows the events on every node for h, and notes when the leader changes, until it is stopped.
func (c *virtual) followLeases(h *history) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		cl := c.client(n)
		wg.Go(func() {
			defer cl.Close()
			if err := h.follow(ctx, cl); err != nil && ctx.Err() == nil {
				c.t.Errorf("following events on %s: %v", n.cfg.Name, err)
			}
		})
	}
	wg.Go(func() { c.noteLeaders(ctx, h.record) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// noteLeaders notes in r every span in which not the same one node said that it leads.
func (c *virtual) noteLeaders(ctx context.Context, r *leaseRecord) {
	led, since := "", time.Now()
	for ctx.Err() == nil {
		now, leaders := time.Now(), ""
		for _, n := range c.nodes {
			// A node that cannot be reached delays nobody.
			attempt, done := context.WithTimeout(ctx, 20*time.Millisecond)
			res, err := healthpb.NewHealthClient(n.dial()).Check(attempt, &healthpb.HealthCheckRequest{Service: rollcallv1.OwnLeader})
			done()
			if err == nil && res.GetStatus() == serving {
				leaders += n.cfg.Name + " "
			}
		}
		if leaders != led || strings.Count(leaders, " ") != 1 {
			r.disturb(since, time.Now())
		}
		led, since = leaders, now
		time.Sleep(50 * time.Millisecond)
	}
}
