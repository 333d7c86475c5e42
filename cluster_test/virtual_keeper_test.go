package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

const keeperTTL = 6 * time.Second

// virtualKeeper is a client.Lease on the host "reporter", which can be cut off from nodes.
type virtualKeeper struct {
	*client.Lease
	c      *virtual
	client *client.Client

	mu     sync.Mutex
	events []client.LeaseEventType
}

func (c *virtual) keep(onStop client.OnStop) *virtualKeeper {
	c.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = nil, true
	for _, n := range c.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.api)
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(c.net.Host("reporter").Dial)}
	cl, err := client.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	k := &virtualKeeper{c: c, client: cl}
	k.Lease, err = cl.KeepLease(client.LeaseOptions{TTL: keeperTTL}, client.KeepOptions{OnStop: onStop, OnEvent: func(e client.LeaseEvent) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.events = append(k.events, e.Type)
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

func (k *virtualKeeper) report(service string, s client.Status) {
	k.c.t.Helper()
	if err := k.Report(k.c.patiently(), service, s, "all checks pass"); err != nil {
		k.c.t.Fatal(err)
	}
}

// had returns the statuses that a service has had, the oldest first.
func (c *virtual) had(service string) (statuses []client.Status) {
	c.t.Helper()
	cl := c.client()
	defer cl.Close()
	for e, err := range cl.ListEvents(c.patiently(), client.ListEventsOptions{Service: service}) {
		if err != nil {
			c.t.Fatal(err)
		}
		statuses = append(statuses, e.GetStatus())
	}
	return statuses
}

// TestVirtualKeeperNeverFlaps: a reporter that lives stays SERVING, whoever leads and whichever node it uses goes
// away. When it closes, that is one more event.
func TestVirtualKeeperNeverFlaps(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		k := c.keep(client.StopNotServing)
		defer k.client.Close()
		k.report("shop/cart", serving)
		id := k.ID()

		trouble := func(what string, begin, end func(n *virtualNode)) {
			t.Helper()
			for _, n := range c.nodes { // one of them is the one that the reporter uses
				begin(n)
				time.Sleep(3 * keeperTTL)
				end(n)
				c.waitReady()
				time.Sleep(keeperTTL)
				if got := k.State(); got != client.LeaseHeld || k.ID() != id {
					t.Errorf("%s, %s: the lease is %v, %q", what, n.cfg.Name, got, k.ID())
				}
			}
			leader := c.leader()
			begin(leader)
			time.Sleep(3 * keeperTTL)
			end(leader)
			c.waitReady()
		}
		heal := func(*virtualNode) { c.net.Heal() }
		trouble("stopped and started", (*virtualNode).stop, (*virtualNode).start)
		trouble("cut off from all", func(n *virtualNode) { c.net.Isolate(memnet.Stall, n.cfg.Name) }, heal)
		trouble("cut off from the reporter", func(n *virtualNode) { c.net.Partition(memnet.Stall, "reporter", n.cfg.Name) }, heal)
		trouble("cut off from the others, not from the reporter", func(n *virtualNode) {
			for _, other := range c.others(n) {
				c.net.Partition(memnet.Stall, n.cfg.Name, other.cfg.Name)
			}
		}, heal)

		c.caughtUp()
		if got := c.had("shop/cart"); !slices.Equal(got, []client.Status{serving}) {
			t.Errorf("shop/cart was %v", got)
		}
		if err := k.Close(c.patiently()); err != nil {
			t.Fatal(err)
		}
		c.caughtUp()
		for _, n := range c.nodes {
			if got := n.check("shop/cart"); got != notServing {
				t.Errorf("%s says %v after Close", n.cfg.Name, got)
			}
		}
		if got := c.had("shop/cart"); !slices.Equal(got, []client.Status{serving, notServing}) {
			t.Errorf("shop/cart was %v", got)
		}
	})
}

// TestVirtualKeeperThatDies: its services are NOT_SERVING on all nodes between one TTL after its last renewal and a
// second later.
func TestVirtualKeeperThatDies(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		for range 5 {
			k := c.keep(client.StopLeave)
			k.report("shop/cart", serving)
			time.Sleep(10 * keeperTTL)
			until, last := k.Until(), k.Until()
			for ; until.Equal(last); until = k.Until() { // just renewed: no renewal is on its way, which might count
				time.Sleep(10 * time.Millisecond)
			}
			k.client.Close() // as a kill does: nothing is sent any more
			for _, n := range c.nodes {
				c.until(n.cfg.Name+" to say so", func() bool { return n.check("shop/cart") == notServing })
				if late := time.Since(until); late < 0 || late > time.Second {
					t.Errorf("%s says so %v after the TTL", n.cfg.Name, late)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = k.Close(ctx)
			cancel()
		}
	})
}

// TestVirtualKeeperWithoutAQuorum: its lease outlives the cluster's pause, or is granted anew, and in the end all
// is as it reported last.
func TestVirtualKeeperWithoutAQuorum(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		k := c.keep(client.StopWithdraw)
		defer k.client.Close()
		k.report("shop/cart", serving)
		for _, n := range c.nodes {
			c.net.Isolate(memnet.Reset, n.cfg.Name)
		}
		time.Sleep(5 * keeperTTL)
		if err := k.Submit(client.Report{Service: "shop/cart", Status: client.Unknown}, client.Report{Service: "shop/search", Status: serving}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if got := k.State(); got != client.LeaseOverdue {
			t.Errorf("the lease is %v", got)
		}
		c.net.Heal()
		k.report("shop/done", serving)
		c.until("the reports", func() bool {
			return c.nodes[0].check("shop/cart") == client.Unknown && c.nodes[0].check("shop/search") == serving
		})
		if err := k.Close(c.patiently()); err != nil {
			t.Fatal(err)
		}
		c.caughtUp()
		if left := c.nodes[1].services(); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
		synctest.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		if slices.Contains(k.events, client.LeaseWasLost) {
			t.Errorf("a new leader gives each lease a whole TTL, and it was lost: %v", k.events)
		}
	})
}
