package cluster_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// flipper has services changed in one node's memory, on the goroutine of its fold.
type flipper struct {
	service atomic.Pointer[string]
	flipped atomic.Bool
}

func (f *flipper) applyBatch(r *fsm.FSM) {
	if name := f.service.Load(); name != nil && !f.flipped.Load() {
		f.flipped.Store(r.Flip(*name))
	}
}

// inVirtualTimeFlipping is inVirtualTime with a flipper for each node, by name.
func inVirtualTimeFlipping(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *virtual, flippers map[string]*flipper)) {
	flippers := map[string]*flipper{}
	for _, name := range []string{"n1", "n2", "n3"} {
		flippers[name] = &flipper{}
	}
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.Faults.ApplyBatch = flippers[cfg.Name].applyBatch
		if configure != nil {
			configure(cfg)
		}
	}, func(t *testing.T, c *virtual) { test(t, c, flippers) })
}

func (c *virtual) set(cl *client.Client, service string, s client.Status) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := cl.Set(ctx, service, s, client.WriteOptions{}); err != nil {
		c.t.Fatalf("set %s: %v", service, err)
	}
}

func scrubEveryMinute(cfg *node.Config) { cfg.ScrubInterval = time.Minute }

// pick returns the leader or a follower.
func (c *virtual) pick(who string) *virtualNode {
	if leader := c.leader(); who == "leader" {
		return leader
	} else {
		return c.others(leader)[0]
	}
}

// stopsServing waits until n does not serve any more, and looks at everything that a client and an
// operator see of it. The others must go on, under a leader of their own.
func (c *virtual) stopsServing(n *virtualNode, streams ...*virtualWatch) {
	c.t.Helper()
	t := c.t
	c.until(n.cfg.Name+" to stop serving", func() bool { return n.check(rollcallv1.OwnReads) == notServing })
	rest, stopped := c.others(n), time.Now()
	if c.leader(rest...); time.Since(stopped) > 300*time.Millisecond {
		t.Errorf("%s did not hand leadership over first: nobody led for %s", n.cfg.Name, time.Since(stopped))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	health, registry, admin := healthpb.NewHealthClient(n.dial()), rollcallv1.NewRegistryClient(n.dial()), rollcallv1.NewAdminClient(n.dial())
	s := serving
	for what, call := range map[string]func() error{
		"Check": func() error {
			_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
			return err
		},
		"List": func() error { _, err := health.List(ctx, &healthpb.HealthListRequest{}); return err },
		"Watch": func() error {
			stream, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"GetService": func() error {
			_, err := registry.GetService(ctx, &rollcallv1.GetServiceRequest{Service: "payments"})
			return err
		},
		"ListServices": func() error { _, err := registry.ListServices(ctx, &rollcallv1.ListServicesRequest{}); return err },
		"SetServingStatus": func() error {
			_, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "payments", Status: &s})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.Unavailable || reason(err) != "DIVERGED" || !strings.Contains(err.Error(), "log entry") {
			t.Errorf("%s of %s, which diverged: %v with reason %q", what, n.cfg.Name, err, reason(err))
		}
	}
	for own, want := range map[string]client.Status{
		rollcallv1.OwnLive: serving, rollcallv1.OwnReady: notServing, rollcallv1.OwnLeader: notServing,
	} {
		if got := n.check(own); got != want {
			t.Errorf("%q of %s, which diverged: %s", own, n.cfg.Name, got)
		}
	}
	st := n.status()
	if ms := st.GetMembers()[0]; !strings.Contains(ms.GetError(), "log entry") || ms.GetReady() || st.GetWritable() ||
		len(st.GetProblems()) == 0 || !strings.Contains(st.GetProblems()[0], "log entry") {
		t.Errorf("status of %s, which diverged: %v", n.cfg.Name, st)
	}
	select {
	case err := <-n.node.Failed():
		t.Errorf("%s ended: %v", n.cfg.Name, err)
	default:
	}
	for _, w := range streams {
		before := len(w.seen())
		time.Sleep(time.Second)
		if got := len(w.seen()); got != before {
			t.Errorf("a watch of %s goes on", n.cfg.Name)
		}
	}

	for i := range 20 {
		cl := c.client(rest[i%len(rest)])
		c.set(cl, "after", []client.Status{serving, notServing}[i%2])
		cl.Close()
	}
	// A client that knows all nodes is not held up by the one that stopped.
	cl := c.client(append([]*virtualNode{n}, rest...)...)
	defer cl.Close()
	c.set(cl, "after", serving)
	for _, m := range rest {
		c.until(m.cfg.Name+" to follow", func() bool { return m.check("after") == serving })
		c.until(m.cfg.Name+" to be ready", func() bool { return m.check(rollcallv1.OwnReady) == serving })
	}
	// All that an operator has to ask is one of the others.
	whole, err := rollcallv1.NewClusterClient(rest[0].dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	if err != nil || !strings.Contains(strings.Join(whole.GetProblems(), "\n"), n.cfg.Name+": its registry is not what the majority holds at log entry") {
		t.Errorf("problems: %v, %v", whole.GetProblems(), err)
	}
}

// restored restarts a node that stopped serving: it serves again what the others do.
func (c *virtual) restored(n *virtualNode, service string, want client.Status) {
	c.t.Helper()
	n.stop()
	n.start()
	c.until(n.cfg.Name+" to be ready again", func() bool { return n.check(rollcallv1.OwnReady) == serving })
	if got := n.check(service); got != want {
		c.t.Errorf("%s of %s after its restart is %s, want %s", service, n.cfg.Name, got, want)
	}
	c.caughtUp()
	time.Sleep(15 * time.Second) // in which nobody stops
	c.waitReady()
}

// TestVirtualP9ReplicasProveAgreement changes one replica, in memory or on disk, behind the fold's
// back: that one stops serving and says at which index, and the others go on.
func TestVirtualP9ReplicasProveAgreement(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, who := range []string{"follower", "leader"} {
		// The next write of the service makes the hashes differ.
		t.Run("memory, then a write/"+who, func(t *testing.T) {
			inVirtualTimeFlipping(t, nil, func(t *testing.T, c *virtual, flippers map[string]*flipper) {
				cl := c.client()
				defer cl.Close()
				for _, s := range []string{"payments", "orders"} {
					c.set(cl, s, serving)
				}
				bad := c.pick(who)
				watch := c.watch(bad, "orders")
				c.until("a watch", func() bool { return watch.last() == serving })
				name := "payments"
				flippers[bad.cfg.Name].service.Store(&name)
				c.set(cl, "orders", notServing)
				c.until("the flip", flippers[bad.cfg.Name].flipped.Load)
				c.until("to show it", func() bool { return bad.check("payments") == notServing })
				if got := bad.check(rollcallv1.OwnReads); got != serving {
					t.Errorf("rollcall.reads before anybody can know: %s", got)
				}
				c.set(cl, "payments", unknown)
				c.set(cl, "orders", serving)
				c.stopsServing(bad, watch)
				c.restored(bad, "payments", unknown)
			})
		})

		// Nobody writes it: the scrubber finds it.
		t.Run("memory, found by the scrubber/"+who, func(t *testing.T) {
			inVirtualTimeFlipping(t, scrubEveryMinute, func(t *testing.T, c *virtual, flippers map[string]*flipper) {
				cl := c.client()
				defer cl.Close()
				c.set(cl, "payments", serving)
				c.caughtUp() // what is flipped must be there
				bad := c.pick(who)
				name := "payments"
				flippers[bad.cfg.Name].service.Store(&name)
				c.set(cl, "orders", notServing)
				c.until("the flip", flippers[bad.cfg.Name].flipped.Load)
				start := time.Now()
				time.Sleep(30 * time.Second)
				c.stopsServing(bad)
				if took := time.Since(start); took > 70*time.Second {
					t.Errorf("it took %s", took)
				}
				c.restored(bad, "payments", serving)
			})
		})

		// The disk changes a byte of a record.
		t.Run("registry file, found by the scrubber/"+who, func(t *testing.T) {
			inVirtualTime(t, scrubEveryMinute, func(t *testing.T, c *virtual) {
				cl := c.client()
				defer cl.Close()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if _, err := cl.Set(ctx, "payments", serving, client.WriteOptions{Reason: "deploy 42"}); err != nil {
					t.Fatal(err)
				}
				c.caughtUp()
				time.Sleep(time.Second) // registry files are flushed
				bad := c.pick(who)
				overwrite(t, bad, "deploy 42", "deploy 43")
				time.Sleep(30 * time.Second)
				c.stopsServing(bad)
				c.restored(bad, "payments", serving)
			})
		})

		// A registry file that says of itself that it is another: it is rebuilt at the start.
		t.Run("registry file, with its hash/"+who, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				cl := c.client()
				defer cl.Close()
				c.set(cl, "payments", serving)
				c.caughtUp()
				bad := c.pick(who)
				bad.stop()
				editRegistryFile(t, bad, "payments", false)
				bad.start()
				c.until("to be ready", func() bool { return bad.check(rollcallv1.OwnReady) == serving })
				if got := bad.check("payments"); got != serving {
					t.Errorf("payments is %s", got)
				}
			})
		})

		// A registry file that says nothing of itself: the others' entries do.
		t.Run("registry file, without its hash/"+who, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				bad := c.edited(who, func(bad *virtualNode) { editRegistryFile(t, bad, "payments", true) })
				c.stopsServing(bad)
				c.restored(bad, "payments", serving)
			})
		})

		// An entry of its log that has changed, and is folded again: its registry file is gone.
		t.Run("raft log/"+who, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				bad := c.edited(who, func(bad *virtualNode) {
					editLog(t, bad, "payments")
					removeRegistryFile(t, bad)
				})
				c.stopsServing(bad)
			})
		})
	}

	// A snapshot whose records are not those it was made of: the node that needs it does not start.
	t.Run("snapshot", func(t *testing.T) {
		inVirtualTime(t, func(cfg *node.Config) {
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 10, 5
		}, func(t *testing.T, c *virtual) {
			cl := c.client()
			defer cl.Close()
			c.set(cl, "payments", serving)
			for i := range 60 {
				c.set(cl, "orders", []client.Status{serving, notServing}[i%2])
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(5 * time.Second)
			bad := c.pick("follower")
			bad.stop()
			editSnapshot(t, bad, "payments")
			removeRegistryFile(t, bad)
			opened, err := node.Open(context.Background(), bad.cfg)
			if err == nil {
				opened.Close(context.Background())
				t.Fatal("a node starts on a snapshot that is not the cluster's")
			}
			if !strings.Contains(err.Error(), "not what the cluster agreed on") {
				t.Errorf("it does not start because of %v", err)
			}
			rest := c.client(c.others(bad)...)
			defer rest.Close()
			c.set(rest, "orders", serving)
		})
	})
}

// TestVirtualP9NoMajorityNobodyStops: with one of three away, two that differ cannot tell who is
// right: both alarm and serve. When the third is back the one that is wrong stops.
func TestVirtualP9NoMajorityNobodyStops(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTimeFlipping(t, nil, func(t *testing.T, c *virtual, flippers map[string]*flipper) {
		cl := c.client()
		defer cl.Close()
		c.set(cl, "payments", serving)
		c.caughtUp()
		bad := c.leader()
		rest := c.others(bad)
		away, other := rest[0], rest[1]
		away.stop()
		name := "payments"
		flippers[bad.cfg.Name].service.Store(&name)
		for _, s := range []client.Status{serving, notServing} {
			c.set(cl, "orders", s)
			c.set(cl, "payments", s)
		}
		c.set(cl, "orders", serving)
		for _, n := range []*virtualNode{bad, other} {
			c.until(n.cfg.Name+" to raise an alarm", func() bool {
				return strings.Contains(n.status().GetMembers()[0].GetError(), "no majority of 3 agrees")
			})
			if p := n.status().GetProblems(); len(p) == 0 || !strings.Contains(p[0], "replicas differ at log entry") {
				t.Errorf("problems of %s: %v", n.cfg.Name, p)
			}
		}
		time.Sleep(2 * time.Minute)
		for _, n := range []*virtualNode{bad, other} {
			if n.check(rollcallv1.OwnReads) != serving || n.check("orders") != serving {
				t.Errorf("%s stopped serving", n.cfg.Name)
			}
		}
		c.set(cl, "orders", notServing)
		away.start()
		c.stopsServing(bad)
		c.until("the alarm to end", func() bool { return other.status().GetMembers()[0].GetError() == "" })
	})
}

// TestVirtualP9NoFalseAlarm: elections, restarts, a rebuilt registry file and an installed snapshot give
// nobody a reason to ask.
func TestVirtualP9NoFalseAlarm(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
		cfg.ScrubInterval = 3 * time.Second
		cfg.RequestIDs = 50 // so that ids are forgotten all the time
	}, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		cl := c.client()
		defer cl.Close()
		acked := 0
		var wg sync.WaitGroup
		wg.Go(func() { acked = c.flip(ctx, cl, "payments") })
		for i, n := range c.nodes {
			c.net.Isolate(memnet.Stall, n.cfg.Name)
			time.Sleep(10 * time.Second)
			c.net.Heal()
			time.Sleep(3 * time.Second)
			n.stop()
			if i == 1 {
				removeRegistryFile(t, n)
			}
			n.start()
			time.Sleep(3 * time.Second)
		}
		cancel()
		wg.Wait()
		if acked < 100 {
			t.Errorf("%d writes", acked)
		}
		c.waitReady()
		c.caughtUp()
		for _, n := range c.nodes {
			if e := n.status().GetMembers()[0].GetError(); e != "" {
				t.Errorf("%s: %s", n.cfg.Name, e)
			}
			if n.agreed() == 0 || n.mismatched() != 0 {
				t.Errorf("%s compared %d hashes, %d of them differed", n.cfg.Name, n.agreed(), n.mismatched())
			}
		}
	})
}

func (n *virtualNode) agreed() uint64     { return n.node.HashStats().Agreed }
func (n *virtualNode) mismatched() uint64 { return n.node.HashStats().Mismatched }
