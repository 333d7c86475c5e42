package cluster_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestProcessHistories has clients of every node call while processes are killed and stopped, and
// links are cut.
func TestProcessHistories(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	eachHistory(t, 1, func(t *testing.T, seed uint64) {
		c := startProcesses(t, processOptions{proxies: true, args: []string{"--lease-guard-min", "1000"}})
		h := processHistory(t, c, seed)
		t.Log(h)
		if w, m := h.count(acknowledged), h.count(mismatch); w < 100 || m < 50 {
			t.Errorf("%d acknowledged writes and %d reads: too few to prove anything", w, m)
		}
		if h.count(held) < 10 || h.leases.kept < 5 {
			t.Error("too few of what leases do to prove anything")
		}
		h.check(t)
	})
}

// wait returns after n more calls with a known outcome.
func (h *history) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	known := func() int { return h.count(acknowledged, mismatch, missing, held, lost) }
	for want := known() + n; known() < want; {
		select {
		case <-h.acked:
		case <-deadline.C:
			t.Fatalf("history %s: waited %s for %d more calls to succeed: %s", h.prefix, patience, want-known(), h)
		}
	}
}

// levelRisen waits until the cluster is at the feature level that has leases and changes of members.
func (c *processes) levelRisen() {
	c.t.Helper()
	cl := c.client()
	eventually(c.t, "a feature level that has leases", func(ctx context.Context) bool {
		_, err := cl.GrantLease(ctx, client.LeaseOptions{TTL: time.Second}, client.WriteOptions{DryRun: true})
		return err == nil
	})
}

// newHistory begins a history at the revision that all nodes have reached.
func (c *processes) newHistory(prefix string) *history {
	c.t.Helper()
	c.levelRisen()
	c.caughtUp()
	var base int64
	eventually(c.t, "the revision", func(ctx context.Context) bool {
		res, err := rollcallv1.NewClusterClient(c.leader().dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
		base = res.GetRevision()
		return err == nil
	})
	return newHistory(prefix, base)
}

func processHistory(t *testing.T, c *processes, seed uint64) *history {
	t.Helper()
	h := c.newHistory("p")
	stopFollowing := c.followLeases(h)
	defer stopFollowing()
	var conns []*grpc.ClientConn
	for _, p := range c.nodes {
		conns = append(conns, p.dial())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	stop := func() {
		cancel()
		wg.Wait()
	}
	defer stop()
	for i := range 6 {
		w := h.client(c.client(c.nodes[i%len(c.nodes)]), conns, rand.New(rand.NewPCG(seed, uint64(i))))
		wg.Go(func() {
			tick := time.NewTicker(3 * time.Millisecond)
			defer tick.Stop()
			w.run(ctx, func() { <-tick.C }, func(d time.Duration) { pause(ctx, d) })
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1000))
	for range 4 {
		h.wait(t, 50+rng.IntN(200))
		p := c.nodes[rng.IntN(len(c.nodes))]
		if rng.IntN(2) == 0 {
			p = c.leader()
		}
		switch action := rng.IntN(6); action {
		case 0:
			t.Log("kill all")
			c.killAll()
			c.start()
		case 1, 2:
			t.Logf("kill %s", p.name)
			p.kill()
			h.wait(t, rng.IntN(100))
			p.start()
		case 3:
			t.Logf("SIGSTOP %s", p.name)
			p.signal(syscall.SIGSTOP)
			h.wait(t, 50+rng.IntN(100))
			p.signal(syscall.SIGCONT)
		case 4, 5:
			t.Logf("cut the links into %s", p.name)
			p.proxy.setCut(true)
			h.wait(t, 50+rng.IntN(100))
			p.proxy.setCut(false)
		}
	}
	h.wait(t, 50)
	stop()
	c.waitReady()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	h.finish(t, c.client(), func() { <-tick.C })
	stopFollowing()
	if err := h.record.check(leasePromise{}); err != nil { // how late depends on the machine
		t.Error(err)
	}
	return h
}

// followLeases follows the events on every node for h, until it is stopped.
func (c *processes) followLeases(h *history) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, p := range c.nodes {
		cl := c.client(p)
		wg.Go(func() {
			if err := h.follow(ctx, cl); err != nil && ctx.Err() == nil {
				c.t.Errorf("following events on %s: %v", p.name, err)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}
