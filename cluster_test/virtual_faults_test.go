package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// flip sets a service through cl until told to stop, and returns how many writes were acknowledged.
func (c *virtual) flip(ctx context.Context, cl *client.Client, service string) int {
	acked := 0
	for i := 0; ctx.Err() == nil; i++ {
		s := serving
		if i%2 == 1 {
			s = notServing
		}
		attempt, done := context.WithTimeout(context.Background(), 2*time.Second)
		if _, err := cl.Set(attempt, service, s, client.WriteOptions{}); err == nil {
			acked++
		}
		done()
		time.Sleep(20 * time.Millisecond)
	}
	return acked
}

// TestVirtualFailover partitions the leader away: another leads in under two seconds, the old one
// knows, and after healing they agree.
func TestVirtualFailover(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, how := range []struct {
		name string
		cut  memnet.Cut
	}{{"links reset", memnet.Reset}, {"links stall", memnet.Stall}} {
		t.Run(how.name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				old := c.leader()
				rest := c.others(old)
				c.net.Isolate(how.cut, old.cfg.Name)
				start := time.Now()
				cl := c.client(rest...)
				defer cl.Close()
				ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
				defer cancel()
				// A write that was on its way to the old leader may have to be given up.
				for acked := false; !acked && ctx.Err() == nil; {
					attempt, done := context.WithTimeout(ctx, 250*time.Millisecond)
					_, err := cl.Set(attempt, "payments", serving, client.WriteOptions{})
					acked = err == nil
					done()
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("the first write after losing the leader took %s", took)
				}
				c.until("the old leader to step down", func() bool { return old.check(rollcallv1.OwnLeader) == notServing })

				// Cut off, it reads but does not write.
				if got := old.check(rollcallv1.OwnReads); got != serving {
					t.Errorf("rollcall.reads on the old leader: %s", got)
				}
				alone := c.client(old)
				defer alone.Close()
				attempt, done := context.WithTimeout(ctx, time.Second)
				defer done()
				var e *client.Error
				if _, err := alone.Set(attempt, "payments", notServing, client.WriteOptions{}); !errors.As(err, &e) || e.Written != client.WrittenNo {
					t.Errorf("a write through the old leader: %v", err)
				}
				c.until(`"" on the old leader to notice`, func() bool { return old.check(rollcallv1.OwnReady) == notServing })

				c.net.Heal()
				c.until("the old leader to follow", func() bool { return old.check("payments") == serving })
				c.waitReady()
				c.caughtUp()
			})
		})
	}
}

// TestVirtualRestart stops and starts the nodes in turn, many times, under load.
func TestVirtualRestart(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		cl := c.client()
		defer cl.Close()
		var acked int
		wg.Go(func() { acked = c.flip(ctx, cl, "payments") })
		for range 3 {
			for _, n := range c.nodes {
				n.stop()
				time.Sleep(time.Second)
				n.start()
				c.until("to be ready", func() bool { return n.check(rollcallv1.OwnReady) == serving })
			}
		}
		cancel()
		wg.Wait()
		if acked == 0 {
			t.Error("no write was acknowledged")
		}
		c.caughtUp()
		want := c.nodes[0].services()
		for _, n := range c.nodes[1:] {
			if got := n.services(); !proto.Equal(got["payments"], want["payments"]) {
				t.Errorf("%s holds %v, n1 %v", n.cfg.Name, got["payments"], want["payments"])
			}
		}
	})
}

// TestVirtualSlowDisk adds 300 ms to each sync of one node, two of which make an append: nothing is
// elected in forty seconds, whoever the slow one is.
func TestVirtualSlowDisk(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				leader := c.leader()
				slow := leader
				if who == "follower" {
					slow = c.others(leader)[0]
				}
				before := leader.status().GetTerm()
				slow.storeDelay.Store(int64(600 * time.Millisecond))
				slow.flushDelay.Store(int64(600 * time.Millisecond))
				ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
				defer cancel()
				cl := c.client()
				defer cl.Close()
				if acked := c.flip(ctx, cl, "payments"); acked < 20 {
					t.Errorf("%d writes were acknowledged in forty seconds", acked)
				}
				slow.storeDelay.Store(0)
				slow.flushDelay.Store(0)
				if after := c.leader().status(); after.GetTerm() != before || after.GetLeader() != leader.cfg.Name {
					t.Errorf("term %d under %s became term %d under %s", before, leader.cfg.Name, after.GetTerm(), after.GetLeader())
				}
				c.caughtUp()
			})
		})
	}
}

// TestVirtualBulkLoad loads more than the registry files can take, each flush lasting five seconds: the leader
// proposes no faster than its own registry file stores, and no node ends itself because its backlog is full.
func TestVirtualBulkLoad(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		leader := c.leader()
		for _, n := range c.nodes {
			n.flushDelay.Store(int64(5 * time.Second))
		}
		cl := c.client(leader)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		const loaders, batches, size = 4, 10, 1000
		reason := strings.Repeat("why ", 250) // with it a batch is over 2 MB of backlog
		var all sync.WaitGroup
		for w := range loaders {
			all.Go(func() {
				for b := range batches {
					changes := make([]client.Change, size)
					for i := range changes {
						changes[i] = client.Change{Service: fmt.Sprintf("bulk/%d/%d/%d", w, b, i), Status: serving}
					}
					if _, err := cl.SetBatch(ctx, changes, client.WriteOptions{Reason: reason}); err != nil {
						t.Errorf("batch %d of %d: %v", b, w, err)
					}
				}
			})
		}
		all.Wait()
		for _, n := range c.nodes {
			n.flushDelay.Store(0)
			select {
			case err := <-n.node.Failed():
				t.Errorf("%s ended itself: %v", n.cfg.Name, err)
			default:
			}
		}
		c.caughtUp()
	})
}

// TestVirtualDiskFull fails the appends of one node: it stops with the reason, the others go on.
func TestVirtualDiskFull(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				leader := c.leader()
				full := leader
				if who == "follower" {
					full = c.others(leader)[0]
				}
				var noSpace error = syscall.ENOSPC
				full.storeError.Store(&noSpace)
				rest := c.others(full)
				cl := c.client(rest...)
				defer cl.Close()
				ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
				defer cancel()
				// With the leader's disk full this write ends as it ends; it makes the leader notice.
				attempt, done := context.WithTimeout(ctx, 2*time.Second)
				_, _ = cl.Set(attempt, "payments", serving, client.WriteOptions{})
				done()
				select {
				case err := <-full.node.Failed():
					if !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("the node stops with %v, not with the disk's error", err)
					}
				case <-ctx.Done():
					t.Fatal("the node with the full disk goes on")
				}
				full.stop()
				if _, err := cl.Set(ctx, "payments", notServing, client.WriteOptions{}); err != nil {
					t.Errorf("a write with one node gone: %v", err)
				}
				full.storeError.Store(nil)
				full.start()
				c.until("to catch up", func() bool { return full.check("payments") == notServing })
			})
		})
	}
}

// TestVirtualSnapshotInstalled cuts a follower off for longer than the log reaches back: it catches
// up by a snapshot, and its watchers learn what changed and what vanished.
func TestVirtualSnapshotInstalled(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval = time.Second
		cfg.SnapshotThreshold = 20
		cfg.TrailingLogs = 5
	}, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
		defer cancel()
		cl := c.client()
		defer cl.Close()
		for _, s := range []string{"stays", "changes", "vanishes"} {
			if _, err := cl.Set(ctx, s, serving, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		c.caughtUp()
		away := c.others(c.leader())[0]
		watches := map[string]*virtualWatch{}
		for _, s := range []string{"stays", "changes", "vanishes", "appears"} {
			watches[s] = c.watch(away, s)
		}
		c.net.Isolate(memnet.Stall, away.cfg.Name)
		near := c.client(c.others(away)...)
		defer near.Close()
		for i := range 200 {
			if _, err := near.Set(ctx, fmt.Sprintf("other/%d", i), serving, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		for service, s := range map[string]client.Status{"changes": notServing, "appears": serving} {
			if _, err := near.Set(ctx, service, s, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := near.Delete(ctx, "vanishes", client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // of virtual time: for a snapshot
		c.net.Heal()
		c.caughtUp()
		for service, want := range map[string]client.Status{"stays": serving, "changes": notServing, "vanishes": noService, "appears": serving} {
			c.until(service+" to reach its watcher", func() bool { return watches[service].last() == want })
			if got := watches[service].seen(); service == "stays" && len(got) != 1 {
				t.Errorf("the watcher of what did not change saw %v", got)
			}
		}
		if n := len(away.services()); n != 203 {
			t.Errorf("it holds %d services, want 203", n)
		}
		// And its own disk holds it all: alone after a restart it shows the same.
		for _, n := range c.nodes {
			n.stop()
		}
		away.start()
		c.until("the map from disk", func() bool { return away.check("changes") == notServing })
		if n := len(away.services()); n != 203 {
			t.Errorf("restarted alone it holds %d services, want 203", n)
		}
	})
}

// TestVirtualStuckDiskOfALeader: a leader whose disk hangs does not lead on without being able to store.
// The others elect one that can. The disk comes back before it counts as dead, and its node goes on.
func TestVirtualStuckDiskOfALeader(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		stuck := c.leader()
		stuck.storeDelay.Store(int64(20 * time.Second))
		cl := c.client(c.others(stuck)...)
		defer cl.Close()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for i := 0; ; i++ {
			attempt, done := context.WithTimeout(ctx, time.Second)
			_, err := cl.Set(attempt, "a", serving, client.WriteOptions{RequestID: fmt.Sprint("set-", i)})
			done()
			if err == nil {
				break
			}
			if time.Since(begin) > 15*time.Second {
				t.Fatalf("no write for %s: %v", time.Since(begin), err)
			}
		}
		t.Logf("written after %s", time.Since(begin))
		stuck.storeDelay.Store(0)
		time.Sleep(30 * time.Second)
		if got := c.caughtUp(); got == 0 {
			t.Error("nothing was written")
		}
		select {
		case err := <-stuck.node.Failed():
			t.Errorf("the node ended itself: %v", err)
		default:
		}
	})
}
