package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// withLeases runs test with a cluster whose nodes can be paused, with connections to each node that have their
// renewals noted, and with everything that is told of leases noted.
func withLeases(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *leasedCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &leasedCluster{pauses: map[string]*pausable{}, record: newLeaseRecord()}
		l.virtual = newVirtual(t, 3, func(cfg *node.Config) {
			p := &pausable{}
			l.pauses[cfg.Name] = p
			cfg.Faults.Now = p.now
			if configure != nil {
				configure(cfg)
			}
		})
		defer l.close()
		for _, n := range l.nodes {
			n.start()
		}
		l.waitReady()
		l.awaitLevel(2)
		l.conns = l.dialRecorded(l.record)
		l.see(l.ctx, l.record, l.conns)
		defer func() {
			l.cancel()
			l.wg.Wait()
			for _, conn := range l.conns {
				conn.Close()
			}
		}()
		test(t, l)
	})
}

type leasedCluster struct {
	*virtual
	pauses map[string]*pausable
	record *leaseRecord
	conns  []*grpc.ClientConn
}

// reporters are granted leases, and report a service each.
func (c *leasedCluster) reporters(n int, ttl time.Duration) (all []*leaseReporter) {
	c.t.Helper()
	s := serving
	for i := range n {
		r := &leaseReporter{conns: c.conns, rng: rand.New(rand.NewPCG(1, uint64(i))), ttl: ttl, service: fmt.Sprint("s", i)}
		r.grant(c.ctx)
		if _, err := rollcallv1.NewAdminClient(c.conns[0]).SetServingStatus(c.patiently(), &rollcallv1.SetServingStatusRequest{Service: r.service, Status: &s, LeaseId: r.id}); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// alive has reporters renew until kill is called.
func (c *leasedCluster) alive(reporters ...*leaseReporter) (kill func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	for _, r := range reporters {
		wg.Go(func() {
			for ctx.Err() == nil && !r.stream(ctx, r.conns[r.rng.IntN(len(r.conns))]) {
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// events are those of some types, from the leader.
func (c *leasedCluster) events(types ...rollcallv1.EventType) (all []*rollcallv1.Event) {
	c.t.Helper()
	c.caughtUp()
	cl := c.client()
	defer cl.Close()
	for e, err := range cl.ListEvents(c.patiently(), client.ListEventsOptions{Types: types}) {
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func (c *leasedCluster) wantP10() {
	c.t.Helper()
	if err := c.record.check(leasePromise{late: time.Second, now: time.Now()}); err != nil {
		c.t.Error(err)
	}
}

const (
	leaseEnded   = rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED
	leaseExpired = rollcallv1.EventType_EVENT_TYPE_EXPIRED
	leaseGuard   = rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD
)

// TestVirtualADeposedLeaderKeepsNoLease: a leader that was cut off acknowledges no renewal that reaches it, and ends
// nothing. The next one ends what nobody renewed with it, a whole TTL after it began.
func TestVirtualADeposedLeaderKeepsNoLease(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
		withLeases(t, nil, func(t *testing.T, c *leasedCluster) {
			const ttl = 3 * time.Second
			old := c.leader()
			all := c.reporters(6, ttl)
			stuck, rest := all[0], all[1:] // of which one dies
			for i, n := range c.nodes {
				if n == old {
					stuck.conns = c.conns[i : i+1]
					others := append(append([]*grpc.ClientConn{}, c.conns[:i]...), c.conns[i+1:]...)
					for _, r := range rest {
						r.conns = others
					}
				}
			}
			kill := c.alive(all[:5]...)
			time.Sleep(2 * ttl)
			from := time.Now()
			c.net.Isolate(how, old.cfg.Name)
			time.Sleep(4 * ttl)
			if last, _ := c.record.last(stuck.id); last.After(from) {
				t.Errorf("a renewal that was sent %s after the leader had been cut off was acknowledged", last.Sub(from))
			}
			next := c.leader(c.others(old)...)
			if end := c.record.end(stuck.id); end.IsZero() || end.Sub(from) < ttl {
				t.Errorf("the lease that could not be renewed ended at %v", end)
			}
			c.net.Heal()
			c.leader()
			c.waitReady()
			c.record.disturb(from, time.Now())
			for _, e := range c.events(leaseEnded) {
				if e.GetLeaseId() == stuck.id && e.GetActor().GetName() != "node "+next.cfg.Name {
					t.Errorf("the lease was ended by %v", e)
				}
			}
			kill()
			time.Sleep(2 * ttl)
			c.wantP10()
			if n := len(c.events(leaseEnded)); n != 6 {
				t.Errorf("%d leases have ended, want 6", n)
			}
		})
	}
}

// TestVirtualAPausedClusterEndsNoLease: all nodes are stopped for longer than the leases live, and go on. Who was
// not there to take renewals does not count their absence.
func TestVirtualAPausedClusterEndsNoLease(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, long := range []time.Duration{300 * time.Millisecond, 5 * time.Second, time.Minute} {
		withLeases(t, nil, func(t *testing.T, c *leasedCluster) {
			kill := c.alive(c.reporters(5, 3*time.Second)...)
			time.Sleep(5 * time.Second)
			from := time.Now()
			for _, n := range c.nodes {
				c.pauses[n.cfg.Name].stopped.Store(&from)
				c.net.Isolate(memnet.Stall, n.cfg.Name)
				c.net.Partition(memnet.Stall, n.cfg.Name, "")
			}
			time.Sleep(long)
			for _, n := range c.nodes {
				c.pauses[n.cfg.Name].stopped.Store(nil)
			}
			c.net.Heal()
			c.leader()
			c.waitReady()
			c.record.disturb(from, time.Now())
			time.Sleep(10 * time.Second)
			if ended := c.events(leaseEnded); len(ended) > 0 {
				t.Errorf("after a pause of %s: %v", long, ended)
			}
			kill()
			time.Sleep(5 * time.Second)
			c.wantP10()
		})
	}
}

// TestVirtualLeaseGuard: most reporters fall silent. Nothing expires while they are away, whoever leads; when they
// are back, the guard ends by itself. When it is released by hand, those that are away expire.
func TestVirtualLeaseGuard(t *testing.T) {
	beside(t, ofVirtualTime)
	withLeases(t, nil, func(t *testing.T, c *leasedCluster) {
		const ttl = 3 * time.Second
		all := c.reporters(20, ttl)
		rest := c.alive(all[15:]...)
		away := c.alive(all[:15]...)
		time.Sleep(4 * ttl)
		away()
		guard := func(when string, engaged ...bool) {
			t.Helper()
			var got []bool
			for _, e := range c.events(leaseGuard) {
				got = append(got, e.GetLeaseGuard().GetEngaged())
			}
			if fmt.Sprint(got) != fmt.Sprint(engaged) {
				t.Errorf("%s the guard's events are %v, want %v", when, got, engaged)
			}
			if n := len(c.events(leaseEnded, leaseExpired)); n > 0 {
				t.Errorf("%s %d events of an end", when, n)
			}
		}
		time.Sleep(2 * time.Minute)
		guard("after the loss,", true)
		old := c.leader()
		c.net.Isolate(memnet.Stall, old.cfg.Name)
		c.leader(c.others(old)...)
		time.Sleep(10 * time.Second)
		c.net.Heal()
		time.Sleep(time.Minute)
		guard("under the next leader,", true)
		status, err := rollcallv1.NewClusterClient(c.conns[0]).GetStatus(c.patiently(), &rollcallv1.GetStatusRequest{})
		if problems := strings.Join(status.GetProblems(), "; "); err != nil || !strings.Contains(problems, "leases held") {
			t.Errorf("status says %q, %v", problems, err)
		}
		away = c.alive(all[:15]...)
		time.Sleep(30 * time.Second)
		guard("when they are back,", true, false)
		away()
		time.Sleep(10 * time.Second)
		guard("at the next loss,", true, false, true)
		if _, err := rollcallv1.NewAdminClient(c.conns[0]).ReleaseLeaseGuard(c.patiently(), &rollcallv1.ReleaseLeaseGuardRequest{Reason: "taken away"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := len(c.events(leaseEnded)); n != 15 {
			t.Errorf("%d leases have ended, want 15", n)
		}
		if n := len(c.events(leaseGuard)); n != 4 {
			t.Errorf("%d events of the guard, want 4", n)
		}
		rest()
	})
}

// TestVirtualALeaseOfManyServices: what is attached to it changes part by part, each service once, with others'
// writes in between; the next leader goes on where one has stopped. Of a lease that was revoked all changes are made
// in the name of who did that.
func TestVirtualALeaseOfManyServices(t *testing.T) {
	beside(t, ofVirtualTime)
	const services = 12_000
	for _, revoked := range []bool{false, true} {
		withLeases(t, nil, func(t *testing.T, c *leasedCluster) {
			cl := c.clientFor(t)
			lease, err := cl.GrantLease(c.patiently(), client.LeaseOptions{TTL: 10 * time.Second}, client.WriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < services; i += 4000 {
				var batch []client.Change
				for j := range 4000 {
					batch = append(batch, client.Change{Service: fmt.Sprintf("many/%05d", i+j), Status: serving})
				}
				if _, err := cl.SetBatch(c.patiently(), batch, client.WriteOptions{LeaseID: lease.GetLeaseId()}); err != nil {
					t.Fatal(err)
				}
			}
			leader := c.leader()
			actor := "node " + leader.cfg.Name
			if revoked {
				actor = "ann"
				// The others' disks take long enough for the leader to be lost within the end.
				for _, n := range c.others(leader) {
					n.storeDelay.Store(int64(300 * time.Millisecond))
				}
				if _, err := cl.RevokeLease(c.patiently(), lease.GetLeaseId(), client.RevokeOptions{}, client.WriteOptions{Actor: "ann", Reason: "moved"}); err != nil {
					t.Fatal(err)
				}
				for _, n := range c.others(leader) {
					n.storeDelay.Store(0)
				}
				c.net.Isolate(memnet.Reset, leader.cfg.Name)
				c.leader(c.others(leader)...)
				time.Sleep(5 * time.Second)
				c.net.Heal()
			}
			time.Sleep(15 * time.Second)
			c.caughtUp()
			seen := map[string]bool{}
			for _, e := range c.events(leaseExpired, rollcallv1.EventType_EVENT_TYPE_REPORTED) {
				if e.GetStatus() != notServing {
					continue
				}
				if seen[e.GetService()] || e.GetActor().GetName() != actor {
					t.Fatalf("an event of the end: %v", e)
				}
				seen[e.GetService()] = true
			}
			if len(seen) != services {
				t.Errorf("%d services have changed, want %d", len(seen), services)
			}
			if n := len(c.events(leaseEnded)); n != 1 {
				t.Errorf("the lease ended %d times", n)
			}
		})
	}
}

// TestVirtualReportsAreForgotten by the cluster's clock, a time after their lease expired, by whoever leads.
func TestVirtualReportsAreForgotten(t *testing.T) {
	beside(t, ofVirtualTime)
	withLeases(t, nil, func(t *testing.T, c *leasedCluster) {
		cl := c.clientFor(t)
		lease, err := cl.GrantLease(c.patiently(), client.LeaseOptions{TTL: 3 * time.Second, ForgetAfter: time.Minute}, client.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range []string{"a", "b"} {
			if _, err := cl.Set(c.patiently(), service, serving, client.WriteOptions{LeaseID: lease.GetLeaseId()}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		c.shows("after the expiry", map[string]client.Status{"a": notServing, "b": notServing})
		c.set(cl, "b", serving) // somebody cares
		c.leader().stop()
		time.Sleep(50 * time.Second)
		c.leader()
		for _, n := range c.nodes {
			if n.node == nil {
				n.start()
			}
		}
		c.waitReady()
		c.shows("before they are forgotten", map[string]client.Status{"a": notServing, "b": serving})
		time.Sleep(15 * time.Second)
		c.caughtUp()
		for _, n := range c.nodes {
			if all := n.services(); len(all) != 1 || all["b"].GetStatus() != serving {
				t.Errorf("%s shows %v", n.cfg.Name, all)
			}
		}
		if n := len(c.events(rollcallv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN)); n != 1 {
			t.Errorf("it was forgotten %d times", n)
		}
	})
}
