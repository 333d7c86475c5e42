package raftnode

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

// successor waits until the others have another leader than old, and returns it.
func (c *testCluster) successor(old *testNode) *testNode {
	c.t.Helper()
	rest := c.followers(old)
	for _, name := range rest {
		c.nodes[name].await(c.t, "there is another leader", func(s Status) bool { return s.Leader != "" && s.Leader != old.cfg.Node })
	}
	return c.leader(rest...)
}

func (c *testCluster) followers(leader *testNode) []string {
	return slices.DeleteFunc(slices.Clone(threeNames), func(n string) bool { return n == leader.cfg.Node })
}

// stood adds up how often the open nodes stood for election after a leader had ended.
func (c *testCluster) stood() (total uint64) {
	for _, n := range c.nodes {
		total += n.Status().FastFailovers
	}
	return total
}

// openThreeSettled is openThree, with the configuration in every log: a node that has none yet has no
// part in a fast failover.
func openThreeSettled(t *testing.T, opts map[string]testOptions) (*testCluster, *testNode) {
	t.Helper()
	c, leader := openThree(t, opts)
	r := leader.write(t, "settled")
	for _, n := range c.nodes {
		if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
			t.Fatal(err)
		}
	}
	return c, leader
}

// Both followers see it at the same moment, in any of many interleavings; one election must do.
func TestFastFailover(t *testing.T) {
	t.Parallel()
	seeds := 50
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			c, old := openThreeSettled(t, nil)
			defer c.closeAll()
			old.write(t, "before")
			term := old.Status().Term
			time.Sleep(time.Duration(seed) * 7 * time.Millisecond)
			killed := time.Now()
			c.network.Isolate(memnet.Refuse, old.cfg.Node)
			fresh := c.successor(old)
			if took := time.Since(killed); took > old.cfg.HeartbeatTimeout/3 {
				t.Errorf("%d: %s leads after %s", seed, fresh.cfg.Node, took)
			}
			if s := fresh.Status(); s.Term != term+1 || c.stood() != 1 || s.FastFailovers != 1 {
				t.Errorf("%d: %d stood, term %d, was %d", seed, c.stood(), s.Term, term)
			}
			fresh.write(t, "after")
			c.network.Heal()
			c.writeAnywhere("healed")
			if s := c.leader().Status(); s.Term != term+1 {
				t.Errorf("%d: term %d after the old leader came back", seed, s.Term)
			}
		})
	}
}

// The one with the further log stands, whatever its name.
func TestFastFailoverOfTheFurtherLog(t *testing.T) {
	t.Parallel()
	for round := range 4 {
		synctest.Test(t, func(t *testing.T) {
			c, old := openThreeSettled(t, nil)
			defer c.closeAll()
			rest := c.followers(old)
			behind, ahead := rest[round%2], rest[1-round%2]
			c.network.Partition(memnet.Stall, old.cfg.Node, behind)
			old.write(t, "only on two")
			c.network.Isolate(memnet.Refuse, old.cfg.Node)
			if fresh := c.successor(old); fresh.cfg.Node != ahead {
				t.Fatalf("%s leads, whose log is behind", fresh.cfg.Node)
			}
			if s := c.nodes[ahead].Status(); s.FastFailovers != 1 || c.stood() != 1 {
				t.Errorf("%d stood", c.stood())
			}
			c.nodes[ahead].write(t, "after")
		})
	}
}

// A firewall between one follower and the leader must not cost the others their leader.
func TestFastFailoverNeedsAQuorum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThreeSettled(t, nil)
		defer c.closeAll()
		term := leader.Status().Term
		for _, name := range c.followers(leader) {
			for range 5 {
				c.network.Partition(memnet.Refuse, leader.cfg.Node, name)
				for range 50 {
					leader.write(t, "x")
					time.Sleep(100 * time.Millisecond)
				}
				c.network.Heal()
				time.Sleep(time.Second)
			}
		}
		if s := leader.Status(); !s.Leading || s.Term != term || c.stood() != 0 {
			t.Errorf("%d stood; %+v, was term %d", c.stood(), s, term)
		}
	})
}

// A process that hangs keeps its connections, and a machine that is gone ends none. The followers wait for a second,
// never less than raft's own timeout, and then elect once.
func TestASilentLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	var most time.Duration
	for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
		for range 25 {
			synctest.Test(t, func(t *testing.T) {
				c, old := openThreeSettled(t, nil)
				defer c.closeAll()
				time.Sleep(rand.N(2 * time.Second)) // raft looks when it does
				term := old.Status().Term
				cut := time.Now()
				c.network.Isolate(how, old.cfg.Node)
				next := c.successor(old)
				took := time.Since(cut)
				if least := old.cfg.HeartbeatTimeout / 2; took < least {
					t.Errorf("a new leader after %s", took)
				}
				if s := next.Status(); s.Term > term+2 || c.stood() > 1 {
					t.Errorf("term %d after %d, %d stood", s.Term, term, c.stood())
				}
				most = max(most, took)
			})
		}
	}
	// A second, a look, the time since the last heartbeat of the old leader, and an election.
	if most > 1300*time.Millisecond {
		t.Errorf("a new leader after up to %s", most)
	}
}

// Who agrees that the leader is silent looks for a successor at once, too: else two could stand one after the other,
// and split the votes.
func TestWhoAgreesThatTheLeaderIsSilentStandsToo(t *testing.T) {
	t.Parallel()
	tried := 0
	for range 40 {
		synctest.Test(t, func(t *testing.T) {
			c, old := openThreeSettled(t, nil)
			defer c.closeAll()
			time.Sleep(rand.N(2 * time.Second))
			term := old.Status().Term
			c.network.Isolate(memnet.Stall, old.cfg.Node)
			time.Sleep(old.cfg.HeartbeatTimeout + 10*time.Millisecond)
			rest := c.followers(old)
			for _, name := range rest {
				if s := c.nodes[name].Status(); s.Leader != old.cfg.Node || s.Role != RoleFollower {
					return // raft's own timeout came first
				}
			}
			asker, asked := c.nodes[rest[1]], c.nodes[rest[0]] // of equals the one with the lower name stands
			answer, err := asker.port.AskFailover(t.Context(), asked.cfg.Node, &peerv1.LeaderLoss{Leader: old.cfg.Node, Term: term, Silent: true})
			if err != nil || !answer.GetLost() {
				t.Errorf("%v, %v", answer, err)
			}
			time.Sleep(100 * time.Millisecond)
			if s := asked.Status(); !s.Leading && s.Role != RoleCandidate && s.Leader != asker.cfg.Node {
				t.Errorf("after it was asked: %+v", s)
			}
			tried++
		})
	}
	if tried < 3 {
		t.Errorf("only %d rounds came so far", tried)
	}
}

// A leader that one follower does not hear is heard by the others, and stays. In some of the rounds the follower asks
// them, in others raft's own timeout comes first.
func TestALeaderThatOneFollowerDoesNotHearStays(t *testing.T) {
	t.Parallel()
	for range 25 {
		synctest.Test(t, func(t *testing.T) {
			c, leader := openThreeSettled(t, nil)
			defer c.closeAll()
			time.Sleep(rand.N(2 * time.Second))
			term := leader.Status().Term
			c.network.Partition(memnet.Stall, leader.cfg.Node, c.followers(leader)[0])
			for range 5 {
				time.Sleep(time.Second)
				leader.write(t, "while one is deaf")
			}
			if s := leader.Status(); s.Term != term || !s.Leading || c.stood() != 0 {
				t.Errorf("term %d after %d, leads: %t, %d stood", s.Term, term, s.Leading, c.stood())
			}
		})
	}
}

func TestFastFailoverOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		off := testOptions{config: func(c *Config) { c.FastFailover = false }}
		// One that stands alone has nobody to agree with.
		c, old := openThreeSettled(t, map[string]testOptions{"n1": off, "n2": off})
		defer c.closeAll()
		for old.cfg.Node == "n3" {
			if err := old.TransferLeadership(t.Context()); err != nil {
				t.Fatal(err)
			}
			old = c.leader()
		}
		c.network.Isolate(memnet.Refuse, old.cfg.Node)
		c.successor(old).write(t, "after")
		if c.stood() != 0 {
			t.Errorf("%d stood", c.stood())
		}
	})
}

// A follower that is in the middle of a slow fsync has not noticed yet. The other one must wait for it,
// and both must not stand.
func TestFastFailoverWithASlowDisk(t *testing.T) {
	t.Parallel()
	for round := range 10 {
		synctest.Test(t, func(t *testing.T) {
			var slow sync.Map // node names
			opts := map[string]testOptions{}
			for _, name := range threeNames {
				opts[name] = testOptions{intercept: func([]*raft.Log) error {
					if _, ok := slow.Load(name); ok {
						time.Sleep(200 * time.Millisecond)
					}
					return nil
				}}
			}
			c, old := openThreeSettled(t, opts)
			defer c.closeAll()
			term := old.Status().Term
			rest := c.followers(old)
			slow.Store(rest[round%2], true)
			old.write(t, "before")
			time.Sleep(time.Duration(round) * 20 * time.Millisecond)
			c.network.Isolate(memnet.Refuse, old.cfg.Node)
			fresh := c.successor(old)
			if s := fresh.Status(); s.Term != term+1 || c.stood() != 1 {
				t.Errorf("round %d: %d stood, term %d, was %d", round, c.stood(), s.Term, term)
			}
		})
	}
}

// Whatever raft is doing when it is told to stand, followers, candidates and leaders in any order: there
// is a leader again soon, and one log.
func TestStandingInAnyState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThreeSettled(t, nil)
		defer c.closeAll()
		var acknowledged []string
		for round := range 100 {
			var all sync.WaitGroup
			for i, name := range threeNames {
				if n := c.nodes[name]; (round>>i)&1 == 0 {
					all.Go(func() {
						time.Sleep(time.Duration(round/8*i) * time.Millisecond)
						n.trans.Offer(t.Context(), workaround.TimeoutNow(name))
						n.trans.Offer(t.Context(), workaround.TimeoutNow(name)) // and again, as a candidate or leader
					})
				}
			}
			all.Wait()
			begin := time.Now()
			acknowledged = append(acknowledged, c.writeAnywhere(fmt.Sprint(round)).ID)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("round %d: written after %s", round, took)
			}
		}
		r := c.writeAnywhere("last")
		for name, n := range c.nodes {
			if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
				t.Fatal(err)
			}
			got := n.fold.requestIDs()
			for _, id := range acknowledged {
				if !slices.Contains(got, id) {
					t.Errorf("%s lacks %s", name, id)
				}
			}
		}
	})
}

// Nobody but a member of the cluster learns anything or has this node dial.
func TestFastFailoverIsForMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThreeSettled(t, nil)
		defer c.closeAll()
		term := leader.Status().Term
		rest := c.followers(leader)
		to := c.nodes[rest[0]]
		question := &peerv1.LeaderLoss{Leader: leader.cfg.Node, Term: term}
		ask := func(change func(*peerv1.Hello)) *peerv1.LeaderLoss {
			conn, err := c.network.Dial(t.Context(), to.addresses(to.cfg.Node)[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			h := c.nodes[rest[1]].view().Hello(peerv1.Hello_PURPOSE_PROBE, to.cfg.Node)
			h.LeaderLoss = question
			change(h)
			if err := peerport.WriteHello(conn, h); err != nil {
				t.Fatal(err)
			}
			answer, err := peerport.ReadHello(conn)
			if err != nil {
				t.Fatal(err)
			}
			return answer.GetLeaderLoss()
		}
		if a := ask(func(*peerv1.Hello) {}); a == nil || a.GetLost() || a.GetTerm() != term || a.GetLastLogIndex() == 0 {
			t.Errorf("a member is answered %v", a)
		}
		for name, change := range map[string]func(*peerv1.Hello){
			"a stranger":        func(h *peerv1.Hello) { h.Node = "n9" },
			"another directory": func(h *peerv1.Hello) { h.DirectoryId = "d" },
			"another cluster":   func(h *peerv1.Hello) { h.ClusterId = "77b2" },
			"none yet":          func(h *peerv1.Hello) { h.ClusterId = "" },
			"no question":       func(h *peerv1.Hello) { h.LeaderLoss = nil },
		} {
			if a := ask(change); a != nil {
				t.Errorf("%s is answered %v", name, a)
			}
		}
		// A member's word about another term or somebody who does not lead proves nothing here.
		for _, q := range []*peerv1.LeaderLoss{{Leader: "n9", Term: term}, {Leader: rest[1], Term: term}, {Term: term}, {Leader: to.cfg.Node, Term: term}} {
			question = q
			if a := ask(func(*peerv1.Hello) {}); a.GetLost() {
				t.Errorf("asked for %v: %v", q, a)
			}
		}
	})
}

// Leaders die one after another, under writes.
func TestFastFailovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openThreeSettled(t, nil)
		defer c.closeAll()
		var acknowledged []string
		for round := range 20 {
			leader := c.leader()
			for i := range 10 {
				acknowledged = append(acknowledged, leader.write(t, fmt.Sprintf("%d.%d", round, i)).ID)
			}
			c.network.Isolate(memnet.Refuse, leader.cfg.Node)
			c.close(leader.cfg.Node)
			r := c.writeAnywhere(fmt.Sprintf("%d.during", round))
			acknowledged = append(acknowledged, r.ID)
			c.network.Heal()
			n := c.open(leader.cfg.Node)
			if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
				t.Fatal(err)
			}
			got := n.fold.requestIDs()
			for _, id := range acknowledged {
				if !slices.Contains(got, id) {
					t.Fatalf("round %d: acknowledged %s is gone", round, id)
				}
			}
		}
		if took := time.Since(c.started); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}
