package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node"
)

// newerLevel is the feature level of a version that does not exist yet.
const newerLevel = logv1.Level + 1

// newer is the reason of a change that only the newer version can fold. It stands for a command of a new
// kind: the older version would not have it in its protocol.
const newer = "a change that needs the next feature level"

// asOlder makes a node run this version the next time that it starts, asNewer the next one.
func (n *virtualNode) asOlder() { n.as(logv1.Level, "v1.0.0") }
func (n *virtualNode) asNewer() { n.as(newerLevel, "v2.0.0") }

func (n *virtualNode) as(level uint32, version string) {
	n.cfg.Version = version
	n.cfg.HoldLevel = 0
	n.cfg.Faults.MaxLevel = level
	// The newer version computes the state hash in another way, too.
	n.cfg.Faults.HashVersion = fsm.HashVersion + level - logv1.Level
	n.cfg.Faults.CommandLevel = func(cmd *logv1.Command) uint32 {
		if level == newerLevel && cmd.GetReason() == newer {
			return newerLevel
		}
		return logv1.BaseLevel
	}
}

// restart starts a node anew and waits until it is ready.
func (n *virtualNode) restart() {
	n.c.t.Helper()
	n.stop()
	n.start()
	n.c.until(n.cfg.Name+" to be ready", func() bool { return n.check(rollcallv1.OwnReady) == serving })
}

// inMixedVersions runs test with a cluster of three that all run the older version.
func inMixedVersions(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *virtual)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 3, configure)
		defer c.close()
		for _, n := range c.nodes {
			n.asOlder()
			n.start()
		}
		c.waitReady()
		c.awaitLevel(logv1.Level)
		test(t, c)
	})
}

// setNewer makes a change that only the newer version can fold, through one node.
func (n *virtualNode) setNewer(service string) error {
	cl := n.c.client(n)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := cl.Set(ctx, service, serving, client.WriteOptions{Reason: newer})
	return err
}

// refusesNewer checks that the change is refused, surely not written, and that the members that are behind
// are named, once the node has applied what the others announced.
func (n *virtualNode) refusesNewer(behind ...*virtualNode) {
	n.c.t.Helper()
	before := n.services()["newer"]
	message := ""
	n.c.until(n.cfg.Name+" to know who is behind", func() bool {
		start := time.Now()
		err := n.setNewer("newer")
		e := new(client.Error)
		if !errors.As(err, &e) || e.Code != codes.FailedPrecondition || e.Reason != client.ReasonUpgradeIncomplete || e.Written != client.WrittenNo {
			n.c.t.Fatalf("through %s: %v", n.cfg.Name, err)
		}
		if took := time.Since(start); took > time.Second {
			n.c.t.Errorf("through %s: it took %s", n.cfg.Name, took)
		}
		message = e.Message
		return !slices.ContainsFunc(n.c.nodes, func(member *virtualNode) bool {
			return strings.Contains(message, member.cfg.Name+" ") != slices.Contains(behind, member)
		})
	})
	if after := n.services()["newer"]; !proto.Equal(after, before) {
		n.c.t.Errorf("through %s: it was written: %v (%s)", n.cfg.Name, after, message)
	}
}

// awaitLevel waits until all nodes are at a level.
func (c *virtual) awaitLevel(level uint32) time.Duration {
	c.t.Helper()
	return c.until(fmt.Sprint("level ", level), func() bool {
		for _, n := range c.nodes {
			if n.status().GetLevel() != level {
				return false
			}
		}
		return true
	})
}

// agree waits until all nodes hold the same, and checks that none ended itself or saw another state hash.
func (c *virtual) agree() {
	c.t.Helper()
	c.caughtUp()
	first := c.nodes[0].services()
	for _, n := range c.nodes {
		if !maps.EqualFunc(first, n.services(), func(a, b *rollcallv1.ServiceRecord) bool { return proto.Equal(a, b) }) {
			c.t.Errorf("%s holds something else than %s", n.cfg.Name, c.nodes[0].cfg.Name)
		}
		if stats := n.node.HashStats(); stats.Mismatched > 0 {
			c.t.Errorf("%s compared state hashes: %+v", n.cfg.Name, stats)
		}
		select {
		case err := <-n.node.Failed():
			c.t.Errorf("%s ended itself: %v", n.cfg.Name, err)
		default:
		}
	}
}

// underLoad runs do while a client writes all the time, and checks that the writes went on.
func (c *virtual) underLoad(do func()) {
	c.t.Helper()
	cl := c.client()
	defer cl.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	acked := 0
	start := time.Now()
	writing.Go(func() { acked = c.flip(ctx, cl, "load") })
	do()
	cancel()
	writing.Wait()
	if least := int(time.Since(start) / time.Second); acked < least {
		c.t.Errorf("%d writes were acknowledged in %s", acked, time.Since(start))
	}
}

// TestVirtualRollingUpgrade replaces the nodes of a cluster one after the other by a newer version, while
// clients write. Until the last is done what only the newer version can fold is refused, whichever version
// leads; then the level rises by itself, and there is no way back.
func TestVirtualRollingUpgrade(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, leaderFirst := range []bool{true, false} {
		t.Run(map[bool]string{true: "the leader first", false: "the leader last"}[leaderFirst], func(t *testing.T) {
			inMixedVersions(t, nil, func(t *testing.T, c *virtual) {
				c.underLoad(func() {
					leader := c.leader()
					order := append(c.others(leader), leader)
					if leaderFirst {
						slices.Reverse(order)
					}
					for i, n := range order {
						n.asNewer()
						n.restart()
						if i == len(order)-1 {
							break
						}
						// State hashes of the two versions are not compared. The leader may be of the newer version already.
						stats, older := n.node.HashStats(), slices.Contains(order[i+1:], c.leader())
						if stats.Mismatched > 0 || leader != n && older && stats.OtherVersion == 0 {
							t.Errorf("%s compared state hashes: %+v", n.cfg.Name, stats)
						}
						for _, done := range order[:i+1] {
							done.refusesNewer(order[i+1:]...)
							if held := done.status().GetLevelHeld(); !strings.Contains(held, order[i+1].cfg.Name+" runs v1.0.0") {
								t.Errorf("%s says: %q", done.cfg.Name, held)
							}
						}
						time.Sleep(10 * time.Second)
						if level := n.status().GetLevel(); level != logv1.Level {
							t.Fatalf("the level rose to %d while %d of 3 nodes were of the newer version", level, i+1)
						}
					}
					if took := c.awaitLevel(newerLevel); took > 10*time.Second {
						t.Errorf("the level rose %s after the last node was ready", took)
					}
					for _, n := range c.nodes {
						if err := n.setNewer("newer"); err != nil {
							t.Errorf("through %s: %v", n.cfg.Name, err)
						}
						if held := n.status().GetLevelHeld(); held != "" {
							t.Errorf("%s says: %q", n.cfg.Name, held)
						}
					}
				})
				c.agree()

				// There is no way back.
				n := c.nodes[0]
				n.stop()
				n.asOlder()
				_, err := node.Open(context.Background(), n.cfg)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("needs feature level %d, and this binary can fold level %d at most: a newer version of rollcall wrote it", newerLevel, logv1.Level)) {
					t.Errorf("the older version started again: %v", err)
				}
				n.asNewer()
				n.start()
				c.waitReady()
				c.agree()
			})
		})
	}
}

// TestVirtualHoldLevel: one member that holds the level keeps the way back open, whoever leads. A restart
// without the flag lets the level rise.
func TestVirtualHoldLevel(t *testing.T) {
	beside(t, ofVirtualTime)
	inMixedVersions(t, nil, func(t *testing.T, c *virtual) {
		c.underLoad(func() {
			holds := c.others(c.leader())[0]
			for _, n := range c.nodes {
				n.asNewer()
				if n == holds {
					n.cfg.HoldLevel = logv1.Level
				}
				n.restart()
			}
			for range 2 {
				time.Sleep(10 * time.Second)
				leader := c.leader()
				for _, n := range c.nodes {
					n.refusesNewer(holds)
				}
				want := fmt.Sprint(holds.cfg.Name, " was started with --hold-level ", logv1.Level)
				if held := leader.status().GetLevelHeld(); !strings.Contains(held, want) {
					t.Errorf("the leader says: %q", held)
				}
				leader.restart() // another may lead
			}

			// All the way back.
			for _, n := range c.nodes {
				n.asOlder()
				n.restart()
			}
		})
		c.agree()
		if level := c.leader().status().GetLevel(); level != logv1.Level {
			t.Errorf("level %d", level)
		}

		c.underLoad(func() {
			for _, n := range c.nodes {
				n.asNewer()
				n.restart()
			}
			c.awaitLevel(newerLevel)
		})
		c.agree()
	})
}

// TestVirtualOlderFollowerGetsNothingItCannotFold: the level rose while a member was away, which then comes
// back as the older version, on data from before. It is let in by nobody, ends itself for nothing, reads
// go on, and as the newer version it catches up: by entries, or by a snapshot.
func TestVirtualOlderFollowerGetsNothingItCannotFold(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, trailing := range map[string]uint64{"entries": 0, "a snapshot": 5} {
		t.Run(name, func(t *testing.T) {
			inMixedVersions(t, func(cfg *node.Config) {
				if trailing > 0 {
					cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, trailing
				}
			}, func(t *testing.T, c *virtual) {
				leader := c.leader()
				away, holds := c.others(leader)[0], c.others(leader)[1]
				for _, n := range []*virtualNode{away, holds, leader} {
					n.asNewer()
					if n == holds {
						n.cfg.HoldLevel = logv1.Level
					}
					n.restart()
				}
				cl := c.client(holds, leader)
				defer cl.Close()
				c.set(cl, "payments", serving)
				revision := c.caughtUp()

				away.stop()
				holds.cfg.HoldLevel = 0
				holds.restart()
				there := []*virtualNode{leader, holds}
				c.until("the level to rise", func() bool { return leader.status().GetLevel() == newerLevel })
				for i := range 100 {
					if err := there[i%2].setNewer(fmt.Sprint("newer/", i%10)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}

				away.asOlder()
				away.start()
				time.Sleep(10 * time.Second)
				if got := away.status(); got.GetRevision() != revision || got.GetLevel() != logv1.Level {
					t.Errorf("the older version is at revision %d, level %d; want %d, %d", got.GetRevision(), got.GetLevel(), revision, logv1.Level)
				}
				if got := away.check("payments"); got != serving {
					t.Errorf("a read of the older version: %s", got)
				}
				if got := away.check(rollcallv1.OwnReady); got != notServing {
					t.Errorf("the older version is ready")
				}
				select {
				case err := <-away.node.Failed():
					t.Errorf("the older version ended itself: %v", err)
				default:
				}
				if !slices.ContainsFunc(leader.fullStatus().GetProblems(), func(p string) bool {
					return strings.Contains(p, away.cfg.Name)
				}) {
					t.Errorf("problems: %q", leader.fullStatus().GetProblems())
				}
				if got := c.leader(there...); got != leader && got != holds {
					t.Errorf("%s leads", got.cfg.Name)
				}

				away.asNewer()
				away.restart()
				c.agree()
			})
		})
	}
}

// fullStatus is the status of the cluster as this node sees it.
func (n *virtualNode) fullStatus() *rollcallv1.GetStatusResponse {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := rollcallv1.NewClusterClient(n.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	if err != nil {
		n.c.t.Fatalf("status of %s: %v", n.cfg.Name, err)
	}
	return resp
}

// TestVirtualSnapshotsBetweenVersions: before the level rises, each version takes the other's snapshots.
func TestVirtualSnapshotsBetweenVersions(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, leaderNewer := range []bool{true, false} {
		t.Run(map[bool]string{true: "from the newer", false: "from the older"}[leaderNewer], func(t *testing.T) {
			inMixedVersions(t, func(cfg *node.Config) {
				cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
			}, func(t *testing.T, c *virtual) {
				if leaderNewer {
					for _, n := range c.nodes {
						n.asNewer()
						n.cfg.HoldLevel = logv1.Level
						n.restart()
					}
				}
				leader, away := c.behind()
				if leaderNewer {
					away.asOlder()
				} else {
					away.asNewer()
				}
				away.start()
				c.waitReady()
				c.agree()
				if leader.status().GetLevel() != logv1.Level || away.status().GetLevel() != logv1.Level {
					t.Error("the level rose")
				}
				// The snapshot is also what the next start begins with.
				away.restart()
				c.agree()
			})
		})
	}
}

// TestVirtualNewKindNeedsTheNextLevel: a kind of records that only the newer version has is written only
// when all members can fold it, whichever version leads. Then every node holds the records, and the older
// version does not start on them.
func TestVirtualNewKindNeedsTheNextLevel(t *testing.T) {
	beside(t, ofVirtualTime)
	kind := *noteKind
	kind.Level = newerLevel
	folds := &notes{folds: map[string]*fsm.FSM{}}
	inMixedVersions(t, func(cfg *node.Config) {
		name := cfg.Name
		cfg.Faults.ApplyBatch = func(f *fsm.FSM) {
			folds.mu.Lock()
			defer folds.mu.Unlock()
			folds.folds[name] = f
		}
	}, func(t *testing.T, c *virtual) {
		folds.virtual = c
		put := func(text string) (reason string, result *logv1.Result) {
			t.Helper()
			leader := c.leader()
			from := c.others(leader)[0]
			conn, err := grpc.NewClient("passthrough:///leader", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return from.node.DialPeer(ctx, leader.cfg.Name) }))
			must(t, err)
			defer conn.Close()
			answer, err := forward(context.Background(), peerv1.NewPeerClient(conn), &logv1.Command{
				Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kindNote, Payload: []byte("n/a=" + text)}},
			})
			for _, d := range status.Convert(err).Details() {
				if info, ok := d.(*errdetails.ErrorInfo); ok {
					reason = info.GetReason()
				}
			}
			return reason, answer.GetResult()
		}
		for i, n := range c.nodes {
			// The older version does not know the kind, the newer one may not use it yet.
			if reason, result := put("too early"); reason != client.ReasonUpgradeIncomplete && result.GetRefusal() == nil {
				t.Fatalf("%d of 3 nodes were of the newer version: %q, %v", i, reason, result)
			}
			n.asNewer()
			n.cfg.Kinds = fsm.DefaultKinds().With(&kind)
			n.restart()
		}
		c.awaitLevel(newerLevel)
		if reason, result := put("in time"); result == nil || result.GetRefusal() != nil {
			t.Fatalf("%q, %v", reason, result)
		}
		c.agree()
		for _, n := range c.nodes {
			texts := []string{}
			folds.fold(n).ListRecords(kindNote, "", func(_ string, v fsm.Value) bool {
				texts = append(texts, string(*v.(*note)))
				return true
			})
			if !slices.Equal(texts, []string{"in time"}) {
				t.Errorf("%s holds %q", n.cfg.Name, texts)
			}
		}
		n := c.nodes[0]
		n.stop()
		n.asOlder()
		n.cfg.Kinds = nil
		if _, err := node.Open(context.Background(), n.cfg); err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("the older version started again: %v", err)
		}
		n.asNewer()
		n.cfg.Kinds = fsm.DefaultKinds().With(&kind)
		n.start()
		c.waitReady()
		c.agree()
	})
}
