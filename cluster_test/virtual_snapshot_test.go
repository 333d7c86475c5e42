package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

// snapshots are the directories of a node's snapshots, oldest first: their names are term, index and
// time, and few terms and entries are made here.
func snapshots(t *testing.T, n *virtualNode) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(n.cfg.DataDir, "snapshots", "*-*-*"))
	must(t, err)
	all = slices.DeleteFunc(all, func(path string) bool { return strings.HasSuffix(path, ".tmp") }) // being written
	slices.SortFunc(all, func(a, b string) int {
		var ta, ia, ma, tb, ib, mb int
		_, errA := fmt.Sscanf(filepath.Base(a), "%d-%d-%d", &ta, &ia, &ma)
		_, errB := fmt.Sscanf(filepath.Base(b), "%d-%d-%d", &tb, &ib, &mb)
		must(t, errA)
		must(t, errB)
		return slices.Compare([]int{ta, ia, ma}, []int{tb, ib, mb})
	})
	return all
}

// flipBit changes one bit in the middle of a file.
func flipBit(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], info.Size()/2)
	must(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], info.Size()/2)
	must(t, err)
	must(t, f.Close())
}

// behind writes so much while a follower is away that it needs a snapshot, and returns the leader and
// that follower. The leader has two snapshots; nothing is written after them.
func (c *virtual) behind() (leader, away *virtualNode) {
	c.t.Helper()
	leader = c.leader()
	away = c.others(leader)[0]
	cl := c.client(c.others(away)...)
	defer cl.Close()
	c.set(cl, "payments", serving)
	c.caughtUp()
	away.stop()
	// When raft takes them is up to its random intervals.
	for i := 0; i < 60 || len(snapshots(c.t, leader)) < 2; i++ {
		if i == 1000 {
			c.t.Fatalf("%d writes, and the leader has the snapshots %v", i, snapshots(c.t, leader))
		}
		c.set(cl, "orders", []client.Status{serving, notServing}[i%2])
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(5 * time.Second) // of virtual time: for the last snapshot
	return leader, away
}

// TestVirtualP9DamagedSnapshotOfTheLeader flips a bit of the leader's newest snapshot, which it has
// used before. A follower that needs a snapshot gets a right one, and no write has to come for that.
func TestVirtualP9DamagedSnapshotOfTheLeader(t *testing.T) {
	beside(t, ofVirtualTime)
	for what, damage := range map[string]func(t *testing.T, snapshot string){
		"content": func(t *testing.T, snapshot string) { flipBit(t, filepath.Join(snapshot, "state.bin")) },
		"meta":    func(t *testing.T, snapshot string) { flipBit(t, filepath.Join(snapshot, "meta.json")) },
		"gone":    func(t *testing.T, snapshot string) { must(t, os.RemoveAll(snapshot)) },
	} {
		t.Run(what, func(t *testing.T) {
			inVirtualTime(t, func(cfg *node.Config) {
				cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
			}, func(t *testing.T, c *virtual) {
				leader, away := c.behind()
				all := snapshots(t, leader)
				damage(t, all[len(all)-1])
				away.start()
				for start := time.Now(); away.check(rollcallv1.OwnReady) != serving; time.Sleep(10 * time.Millisecond) {
					if time.Since(start) > time.Minute {
						t.Fatalf("%s does not catch up", away.cfg.Name)
					}
				}
				c.caughtUp()
				for _, service := range []string{"payments", "orders"} {
					if got, want := away.check(service), leader.check(service); got != want {
						t.Errorf("%s of %s is %s, the leader's is %s", service, away.cfg.Name, got, want)
					}
				}
				for _, n := range c.nodes {
					select {
					case err := <-n.node.Failed():
						t.Errorf("%s ended: %v", n.cfg.Name, err)
					default:
					}
				}
				if got := away.node.HashStats().Mismatched; got != 0 {
					t.Errorf("%d hashes differ", got)
				}
			})
		})
	}
}

// TestVirtualP9LeaderRestartsOnADamagedSnapshot: the leader's newest snapshot was damaged while it was
// stopped. It goes on from its registry file and, as raft must have a snapshot that its log follows on, from
// the one before; also if the registry file is gone.
func TestVirtualP9LeaderRestartsOnADamagedSnapshot(t *testing.T) {
	beside(t, ofVirtualTime)
	for what, lost := range map[string]func(t *testing.T, n *virtualNode){
		"registry file there": func(*testing.T, *virtualNode) {},
		"registry file gone":  removeRegistryFile,
	} {
		t.Run(what, func(t *testing.T) {
			inVirtualTime(t, func(cfg *node.Config) {
				// As by default, the log reaches back behind the snapshot before the newest.
				cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 200
			}, func(t *testing.T, c *virtual) {
				leader, away := c.behind()
				away.start()
				c.caughtUp()
				all := snapshots(t, leader)
				want := leader.check("orders")
				leader.stop()
				flipBit(t, filepath.Join(all[len(all)-1], "state.bin"))
				lost(t, leader)
				leader.start()
				c.until(leader.cfg.Name+" to be ready", func() bool { return leader.check(rollcallv1.OwnReady) == serving })
				c.caughtUp()
				if leader.check("payments") != serving || leader.check("orders") != want {
					t.Errorf("it shows payments %s and orders %s", leader.check("payments"), leader.check("orders"))
				}
				cl := c.client(leader)
				defer cl.Close()
				c.set(cl, "after", serving)
				c.caughtUp()
				for _, n := range c.nodes {
					if n.mismatched() != 0 || n.check("after") != serving {
						t.Errorf("%s found %d hashes that differ", n.cfg.Name, n.mismatched())
					}
				}
			})
		})
	}
}

// TestVirtualP9ForgedSnapshotOfTheLeader: the leader's snapshots hold something else than what the
// cluster agreed on, and every checksum in them is right. The state hash is not: the follower that is
// sent one shows nothing of it and stops, the others go on.
func TestVirtualP9ForgedSnapshotOfTheLeader(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
	}, func(t *testing.T, c *virtual) {
		leader, away := c.behind()
		editSnapshot(t, leader, "payments")
		time.Sleep(time.Minute) // of virtual time: an attempt that read the snapshot before has ended
		away.start()
		var failed error
		c.until(away.cfg.Name+" to stop", func() bool {
			if got := away.check("payments"); got != serving {
				t.Errorf("%s shows payments %s", away.cfg.Name, got)
			}
			select {
			case failed = <-away.node.Failed():
			default:
			}
			return failed != nil
		})
		if !strings.Contains(failed.Error(), "state hash") {
			t.Errorf("it stops because of %v", failed)
		}
		away.stop()
		if opened, err := node.Open(context.Background(), away.cfg); err == nil {
			away.node = opened
			t.Error("it starts on what it was sent")
		} else if !strings.Contains(err.Error(), "not what the cluster agreed on") {
			t.Errorf("it does not start because of %v", err)
		}
		cl := c.client(c.others(away)...)
		defer cl.Close()
		c.set(cl, "after", serving)
		for _, n := range c.others(away) {
			c.until(n.cfg.Name+" to go on", func() bool { return n.check("after") == serving && n.check("payments") == serving })
		}
	})
}

// TestVirtualP9SnapshotScrubbed: nobody needs the snapshot that was damaged, and nobody writes.
func TestVirtualP9SnapshotScrubbed(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
		cfg.ScrubInterval = time.Minute
	}, func(t *testing.T, c *virtual) {
		leader, away := c.behind()
		all := snapshots(t, leader)
		damaged := all[len(all)-1]
		flipBit(t, filepath.Join(damaged, "state.bin"))
		c.until("a new snapshot", func() bool {
			all := snapshots(t, leader)
			return all[len(all)-1] != damaged
		})
		time.Sleep(5 * time.Minute)
		if again := snapshots(t, leader); len(again) != 2 || again[0] != damaged {
			t.Errorf("one new snapshot was needed beside %s; there are %v", damaged, again)
		}
		leader.stop() // its log follows on from the new one
		leader.start()
		away.start()
		c.waitReady()
		c.caughtUp()
	})
}

// TestVirtualSnapshotOverASlowLink: a follower that needs a snapshot gets it over a link that takes far longer
// than raft's timeouts to carry it. The leader leads on, and the follower has everything afterwards.
func TestVirtualSnapshotOverASlowLink(t *testing.T) {
	beside(t, ofVirtualTime)
	const rate = 100_000 // bytes a second
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 3, func(cfg *node.Config) {
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
		})
		defer c.close()
		for _, a := range c.nodes {
			for _, b := range c.nodes {
				if a.cfg.Name < b.cfg.Name {
					c.net.Throttle(rate, a.cfg.Name, b.cfg.Name)
				}
			}
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		leader := c.leader()
		away := c.others(leader)[0]
		away.stop()
		cl := c.client(c.others(away)...)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
		defer cancel()
		for i := range 500 {
			_, err := cl.Set(ctx, fmt.Sprint("s", i), serving, client.WriteOptions{Reason: strings.Repeat("x", 1000)})
			must(t, err)
		}
		time.Sleep(10 * time.Second)
		term := leader.status().GetTerm()
		begin := time.Now()
		away.start()
		c.until("the follower to have caught up", func() bool { return away.status().GetRevision() == leader.status().GetRevision() })
		if took := time.Since(begin); took < 4*time.Second {
			t.Errorf("caught up after %s: it was no snapshot of 500 kB over %d B/s", took, rate)
		}
		if got := leader.status().GetTerm(); got != term {
			t.Errorf("term %d became %d", term, got)
		}
		must(t, func() error { _, err := cl.Set(ctx, "after", serving, client.WriteOptions{}); return err }())
		c.caughtUp()
	})
}
