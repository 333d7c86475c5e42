package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

var (
	leaseSeeds = flag.Int("lease-seeds", 10, "how many clusters TestVirtualP10LeaseLives runs, each with faults of its own")
	leaseSeed  = flag.Uint64("lease-seed", 0, "the first seed of them; 0: a random one")
)

// TestVirtualP10LeaseLives: reporters renew leases through any node, with messages and with writes, while nodes are
// cut off, killed, stopped in order, paused and slowed, and clocks step. No lease expires within its TTL of a renewal
// that was acknowledged, no renewal is acknowledged that does not count, and each lease ends within a second after
// its TTL, with a TTL more for each change of leader.
func TestVirtualP10LeaseLives(t *testing.T) {
	beside(t, ofVirtualTime)
	seed := *leaseSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	for i := range *leaseSeeds {
		t.Run(fmt.Sprint("seed=", seed+uint64(i)), func(t *testing.T) { leasesLive(t, seed+uint64(i)) })
		if t.Failed() {
			return
		}
	}
}

// pausable is the monotonic clock of a node whose process can be stopped for a while: it then leaps.
type pausable struct{ stopped atomic.Pointer[time.Time] }

func (p *pausable) now() time.Time {
	if at := p.stopped.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// pause stops a node for some time: nothing of what it does passes its ports, and no time passes for it.
func (c *virtual) pause(p *pausable, n *virtualNode, long time.Duration) {
	now := time.Now()
	p.stopped.Store(&now)
	c.net.Isolate(memnet.Stall, n.cfg.Name)
	c.net.Partition(memnet.Stall, n.cfg.Name, "")
	time.Sleep(long)
	p.stopped.Store(nil)
	c.net.Heal()
}

// dialRecorded connects to each node, and has calls noted.
func (c *virtual) dialRecorded(record *leaseRecord) (conns []*grpc.ClientConn) {
	c.t.Helper()
	for _, n := range c.nodes {
		options := append(record.ofCalls(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.dialer),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}, MinConnectTimeout: time.Second}))
		conn, err := grpc.NewClient(n.api, options...)
		if err != nil {
			c.t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

// see has a record note every event that any node tells, until ctx ends.
func (c *virtual) see(ctx context.Context, record *leaseRecord, conns []*grpc.ClientConn) {
	for _, conn := range conns {
		c.wg.Go(func() {
			from := int64(1)
			for ctx.Err() == nil {
				stream, err := rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: from})
				for err == nil {
					var m *rollcallv1.WatchEventsResponse
					if m, err = stream.Recv(); err != nil {
						break
					}
					for _, e := range m.GetEvents() {
						record.saw(e, time.Now())
						from = max(from, e.GetRevision()+1)
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
}

// leaseReporter renews one lease.
type leaseReporter struct {
	conns   []*grpc.ClientConn
	rng     *rand.Rand
	ttl     time.Duration
	id      string
	service string
	renewed int // messages that were answered so
}

// grant asks any node until it has a lease.
func (r *leaseReporter) grant(ctx context.Context) {
	for r.id == "" && ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		admin := rollcallv1.NewAdminClient(r.conns[r.rng.IntN(len(r.conns))])
		answer, err := admin.GrantLease(attempt, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(r.ttl)})
		cancel()
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
		r.id = answer.GetLeaseId()
	}
}

// live renews until ctx ends, as a process that is then killed, or until the lease is lost.
func (r *leaseReporter) live(ctx context.Context) {
	for ctx.Err() == nil {
		conn := r.conns[r.rng.IntN(len(r.conns))]
		if r.rng.IntN(3) == 0 {
			r.write(ctx, conn)
			r.pause(ctx, r.ttl/3)
		} else if r.stream(ctx, conn) {
			return
		}
	}
}

// write names the lease, and changes something every other time.
func (r *leaseReporter) write(ctx context.Context, conn *grpc.ClientConn) {
	attempt, cancel := context.WithTimeout(ctx, r.ttl/3)
	defer cancel()
	s := []client.Status{serving, notServing}[r.rng.IntN(2)]
	_, _ = rollcallv1.NewAdminClient(conn).SetServingStatus(attempt, &rollcallv1.SetServingStatusRequest{Service: r.service, Status: &s, LeaseId: r.id})
}

// stream renews through one node until it does not answer in time. It says whether the lease is lost.
func (r *leaseReporter) stream(ctx context.Context, conn *grpc.ClientConn) (lost bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := rollcallv1.NewAdminClient(conn).KeepAlive(ctx)
	for messages := r.rng.IntN(6); err == nil && messages >= 0; messages-- {
		patience := time.AfterFunc(r.ttl/6, cancel)
		if err = stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{r.id}}); err != nil {
			return false
		}
		answer, err := stream.Recv()
		patience.Stop()
		switch {
		case err != nil:
			return false
		case len(answer.GetLostLeaseIds()) > 0:
			return true
		case len(answer.GetWaitingLeaseIds()) > 0:
			r.pause(ctx, r.ttl/30)
		default:
			r.renewed++
			r.pause(ctx, r.ttl/3)
		}
	}
	return false
}

// pause waits for about so long.
func (r *leaseReporter) pause(ctx context.Context, about time.Duration) {
	select {
	case <-time.After(about*9/10 + time.Duration(r.rng.Int64N(int64(about/5)))):
	case <-ctx.Done():
	}
}

// leasesLive is one cluster, its reporters and its faults.
func leasesLive(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		ahead, pauses := clocks{}, map[string]*pausable{}
		c := newVirtual(t, 3, func(cfg *node.Config) {
			skewable(cfg, ahead)
			p := &pausable{}
			pauses[cfg.Name] = p
			cfg.Faults.Now = p.now
			cfg.LeaseGuardMin = 1000
		})
		defer c.close()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.awaitLevel(2)

		rng := rand.New(rand.NewPCG(seed, 0))
		record := newLeaseRecord()
		conns := c.dialRecorded(record)
		ctx, cancel := context.WithCancel(c.ctx)
		c.see(ctx, record, conns)
		defer func() {
			cancel()
			c.wg.Wait()
			for _, conn := range conns {
				conn.Close()
			}
		}()
		var all []*leaseReporter
		var reporters sync.WaitGroup
		alive, kill := context.WithCancel(ctx)
		for i := range 9 {
			r := &leaseReporter{
				conns: conns, rng: rand.New(rand.NewPCG(seed, uint64(i+1))),
				ttl: 2*time.Second + time.Duration(rng.Int64N(int64(4*time.Second))), service: fmt.Sprint("s", i),
			}
			all = append(all, r)
			life := alive
			if i%3 == 0 {
				var end context.CancelFunc
				life, end = context.WithTimeout(alive, time.Duration(rng.Int64N(int64(15*time.Second))))
				defer end()
			}
			reporters.Go(func() {
				r.grant(life)
				r.live(life)
			})
		}
		for range 3 {
			time.Sleep(time.Duration(rng.Int64N(int64(2 * time.Second))))
			from := time.Now()
			c.leaseFault(rng, ahead, pauses)
			c.net.Heal()
			for _, n := range c.nodes {
				if n.node == nil {
					n.start()
				}
			}
			// A fault that is over can still cost the leader: a voter that has not heard it for long enough stands for
			// election.
			time.Sleep(2 * time.Second)
			c.leader()
			c.waitReady()
			record.disturb(from, time.Now())
		}
		time.Sleep(time.Duration(rng.Int64N(int64(2 * time.Second))))
		kill()
		reporters.Wait()
		time.Sleep(8 * time.Second)
		if err := record.check(leasePromise{late: time.Second, now: time.Now()}); err != nil {
			t.Error(err)
		}
		record.mu.Lock()
		defer record.mu.Unlock()
		for id, l := range record.leases {
			if l.ended.IsZero() {
				t.Errorf("lease %s lives", id)
			}
		}
		renewals := 0
		for _, r := range all {
			renewals += r.renewed
		}
		if len(record.leases) < 6 || renewals < 20 {
			t.Errorf("%d leases, %d renewals: too few to prove anything", len(record.leases), renewals)
		}
	})
}

// leaseFault does something to a node, for a while.
func (c *virtual) leaseFault(rng *rand.Rand, ahead clocks, pauses map[string]*pausable) {
	upTo := func(d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }
	n := c.nodes[rng.IntN(len(c.nodes))]
	if rng.IntN(3) > 0 {
		n = c.leader()
	}
	how := []memnet.Cut{memnet.Stall, memnet.Reset}[rng.IntN(2)]
	switch action := rng.IntN(8); action {
	case 0, 1:
		c.t.Logf("cut off %s (%d)", n.cfg.Name, how)
		c.net.Isolate(how, n.cfg.Name)
		upTo(4 * time.Second)
	case 2:
		other := c.others(n)[rng.IntN(2)]
		c.t.Logf("cut %s from %s (%d)", n.cfg.Name, other.cfg.Name, how)
		c.net.Partition(how, n.cfg.Name, other.cfg.Name)
		upTo(4 * time.Second)
	case 3:
		c.t.Logf("kill %s", n.cfg.Name)
		c.net.Isolate(memnet.Reset, n.cfg.Name)
		c.net.Partition(memnet.Reset, n.cfg.Name, "")
		n.stop()
		upTo(3 * time.Second)
	case 4:
		c.t.Logf("stop %s in order", n.cfg.Name)
		n.stop()
		upTo(2 * time.Second)
	case 5:
		c.t.Logf("pause %s", n.cfg.Name)
		c.pause(pauses[n.cfg.Name], n, time.Duration(rng.Int64N(int64(5*time.Second))))
	case 6:
		c.t.Logf("stalled disk of %s", n.cfg.Name)
		stall := time.Duration(rng.Int64N(int64(4 * time.Second)))
		n.storeDelay.Store(int64(stall))
		upTo(4 * time.Second)
		n.storeDelay.Store(0)
		time.Sleep(stall) // of an append that has just begun
	case 7:
		step := time.Duration(rng.Int64N(int64(2*time.Hour))) - time.Hour
		c.t.Logf("the clock of %s steps by %s", n.cfg.Name, step)
		ahead[n.cfg.Name].Store(int64(step))
		upTo(4 * time.Second)
	}
}
