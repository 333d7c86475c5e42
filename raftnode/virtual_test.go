package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

var threeNames = []string{"n1", "n2", "n3"}

// openThree forms a cluster of three and returns its leader.
func openThree(t *testing.T, opts map[string]testOptions) (*testCluster, *testNode) {
	t.Helper()
	c := newTestCluster(t, threeNames...)
	for _, name := range threeNames {
		c.open(name, opts[name])
	}
	return c, c.leader()
}

func TestThreeNodesFormAndElect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		r := leader.write(t, "a")
		for name, n := range c.nodes {
			if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
				t.Fatal(err)
			}
			if got := n.fold.requestIDs(); !slices.Equal(got, []string{"a"}) {
				t.Errorf("%s applied %v", name, got)
			}
			s := n.Status()
			if !s.Formed || s.ClusterID == "" || s.ClusterID != n.fold.ClusterID() || !slices.Equal(s.Voters, threeNames) {
				t.Errorf("%s: %+v", name, s)
			}
			if name != leader.cfg.Node {
				_, err := n.Propose(t.Context(), command("x"))
				if !errors.Is(err, ErrNotLeader) || !errors.As(err, new(NotWrittenError)) {
					t.Errorf("a follower's write: %v", err)
				}
			}
		}
		t.Logf("formed and written after %s", time.Since(c.started))
	})
}

func TestPartitionedLeaderStepsDown(t *testing.T) {
	t.Parallel()
	for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
		t.Run(map[memnet.Cut]string{memnet.Stall: "stall", memnet.Reset: "reset"}[how], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, old := openThree(t, nil)
				defer c.closeAll()
				old.write(t, "before")

				name := old.cfg.Node
				cut := time.Now()
				c.network.Isolate(how, name)
				// What it takes now it can never finish.
				errs := make(chan error, 1)
				go func() {
					_, err := old.Propose(context.Background(), command("lost"))
					errs <- err
				}()
				old.await(t, "it does not lead", func(s Status) bool { return !s.Leading && s.Role != RoleLeader })
				if took := time.Since(cut); took > 2*old.cfg.HeartbeatTimeout {
					t.Errorf("the old leader stepped down after %s", took)
				}
				if err := <-errs; !errors.As(err, new(UnknownOutcomeError)) {
					t.Errorf("a write under way on the old leader ended with %v", err)
				}
				if _, err := old.Propose(t.Context(), command("refused")); !errors.As(err, new(NotWrittenError)) {
					t.Errorf("a write on the old leader afterwards: %v", err)
				}
				rest := slices.DeleteFunc(slices.Clone(threeNames), func(n string) bool { return n == name })
				fresh := c.leader(rest...)
				t.Logf("new leader %s after %s", fresh.cfg.Node, time.Since(cut))
				fresh.write(t, "during")

				c.network.Heal()
				r := c.writeAnywhere("after")
				if err := old.fold.WaitIndex(t.Context(), r.Index); err != nil {
					t.Fatal(err)
				}
				want := fresh.fold.requestIDs()
				if got := old.fold.requestIDs(); !slices.Equal(got, want) || slices.Contains(got, "lost") {
					t.Errorf("the old leader holds %v, the new one %v", got, want)
				}
			})
		})
	}
}

func TestRestartedNodeCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		name := threeNames[0]
		if name == leader.cfg.Node {
			name = threeNames[1]
		}
		leader.write(t, "a")
		c.close(name)
		r := leader.write(t, "b")
		n := c.open(name)
		if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
			t.Fatal(err)
		}
		if got := n.fold.requestIDs(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %v", got)
		}
		if now := c.leader(); now != leader {
			t.Errorf("the restart of a follower moved leadership to %s", now.cfg.Node)
		}
	})
}

func TestWholeClusterRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		id := leader.Status().ClusterID
		for round := range 5 {
			c.leader().write(t, fmt.Sprint(round))
			c.closeAll()
			for _, name := range threeNames {
				c.open(name)
			}
		}
		r := c.leader().write(t, "last")
		for name, n := range c.nodes {
			if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
				t.Fatal(err)
			}
			if got := n.fold.requestIDs(); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "last"}) {
				t.Errorf("%s applied %v", name, got)
			}
			if got := n.Status().ClusterID; got != id {
				t.Errorf("%s belongs to cluster %s, was %s", name, got, id)
			}
		}
	})
}

// A node of a cluster that is down must not make its caller wait long: it serves reads alone.
func TestNodeAloneStarts(t *testing.T) {
	t.Parallel()
	for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := openThree(t, nil)
			defer c.closeAll()
			c.closeAll()
			c.network.Isolate(how, "n2")
			begin := time.Now()
			n := c.open("n2")
			if took := time.Since(begin); took > 1500*time.Millisecond {
				t.Errorf("opened after %s", took)
			}
			if s := n.Status(); !s.Formed || s.Leading {
				t.Errorf("%+v", s)
			}
			time.Sleep(time.Minute)
			if s := n.Status(); s.Leader != "" || s.Term > 4 {
				t.Errorf("a node alone has a leader or raised its term: %+v", s)
			}
		})
	}
}

// Heartbeats go through raft's main loop, where they wait for the disk: a slow one must not cost
// elections.
func TestSlowDiskCausesNoElection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow sync.Map // node names
		opts := map[string]testOptions{}
		for _, name := range threeNames {
			opts[name] = testOptions{intercept: func([]*raft.Log) error {
				if _, ok := slow.Load(name); ok {
					time.Sleep(300 * time.Millisecond) // the entry
					time.Sleep(300 * time.Millisecond * 9 / 10)
				}
				return nil
			}}
		}
		c, leader := openThree(t, opts)
		defer c.closeAll()
		term := leader.Status().Term
		for _, name := range threeNames {
			slow.Clear()
			slow.Store(name, true)
			stop := time.After(time.Minute)
			for i := 0; ; i++ {
				leader.write(t, fmt.Sprint(name, i))
				select {
				case <-stop:
				case <-time.After(time.Duration(i%40) * 20 * time.Millisecond):
					continue
				}
				break
			}
			if s := leader.Status(); s.Term != term || !s.Leading {
				t.Fatalf("with a slow disk on %s (leader %s): %+v, was term %d", name, leader.cfg.Node, s, term)
			}
		}
	})
}

func TestTransferLeadership(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		for range 3 {
			leader.write(t, "x")
			if err := leader.TransferLeadership(t.Context()); err != nil {
				t.Fatal(err)
			}
			next := c.leader()
			if next == leader {
				t.Fatalf("%s still leads", leader.cfg.Node)
			}
			if err := leader.TransferLeadership(t.Context()); !errors.Is(err, ErrNotLeader) {
				t.Errorf("on a follower: %v", err)
			}
			leader = next
		}
	})
}

func TestTransferLeadershipPassesOverWhoIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThree(t, nil)
		defer c.closeAll()
		away := threeNames[slices.IndexFunc(threeNames, func(n string) bool { return n != leader.cfg.Node })]
		c.close(away)
		time.Sleep(10 * time.Second)
		if err := leader.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		if next := c.leader(); next == leader {
			t.Errorf("%s still leads", leader.cfg.Node)
		}
		c.closeAll()
	})
}

// Elections, partitions and restarts in every order must end with one leader and one log.
func TestManyPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThree(t, nil)
		defer c.closeAll()
		var acknowledged []string
		for round := range 30 {
			name := threeNames[round%3]
			how := []memnet.Cut{memnet.Stall, memnet.Reset}[round%2]
			switch round % 4 {
			case 0:
				c.network.Isolate(how, name)
			case 1:
				c.network.Partition(how, name, threeNames[(round+1)%3])
			case 2:
				c.close(name)
				c.open(name)
			case 3:
				c.network.Isolate(how, c.leader().cfg.Node)
			}
			for i := range 5 {
				id := fmt.Sprintf("%d.%d", round, i)
				for _, n := range c.nodes {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, err := n.Propose(ctx, command(id))
					cancel()
					if err == nil {
						acknowledged = append(acknowledged, id)
						break
					}
					if !errors.As(err, new(NotWrittenError)) {
						break
					}
				}
				time.Sleep(time.Duration(100*i) * time.Millisecond)
			}
			c.network.Heal()
			r := c.writeAnywhere(fmt.Sprintf("%d.end", round))
			acknowledged = append(acknowledged, r.ID)
			var first []string
			for _, n := range c.nodes {
				if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = n.fold.requestIDs()
				} else if got := n.fold.requestIDs(); !slices.Equal(got, first) {
					t.Fatalf("round %d: two nodes applied different commands:\n%v\n%v", round, first, got)
				}
			}
			for _, id := range acknowledged {
				if !slices.Contains(first, id) {
					t.Fatalf("round %d: acknowledged %s is gone", round, id)
				}
			}
		}
		t.Logf("%d writes acknowledged in %s", len(acknowledged), time.Since(c.started))
	})
}
