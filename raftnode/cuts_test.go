package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/reach"
)

// openReach forms a cluster whose members tell each other who can connect to whom.
func openReach(t *testing.T, names ...string) (*testCluster, *testNode) {
	t.Helper()
	c := newTestCluster(t, names...)
	for _, name := range names {
		c.open(name, reachLevel)
	}
	leader := c.leader()
	leader.write(t, "first")
	time.Sleep(3 * reach.Lately) // all have asked all
	return c, leader
}

var reachLevel = testOptions{maxLevel: 2}

// cutOff has nobody connect to a node, which can connect to all.
func (c *testCluster) cutOff(how memnet.Cut, name string) {
	for _, m := range c.members {
		if m.Name != name {
			c.network.OneWay(how, m.Name, name)
		}
	}
}

var eachCut = map[string]memnet.Cut{"stall": memnet.Stall, "reset": memnet.Reset, "refuse": memnet.Refuse}

// A leader that nobody can connect to, and that can connect to all, hands over; the one that takes over keeps leading,
// and when the cut is gone the old leader follows.
func TestVirtualLeaderCutOffOneWay(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{threeNames, fiveNames} {
		for name, how := range eachCut {
			t.Run(fmt.Sprint(len(names), " nodes, ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, old := openReach(t, names...)
					defer c.closeAll()
					cut := time.Now()
					c.cutOff(how, old.cfg.Node)
					rest := c.rest(old)
					for _, name := range rest {
						c.nodes[name].await(t, "another leads", func(s Status) bool { return s.Leader != "" && s.Leader != old.cfg.Node })
					}
					next := c.leader(rest...)
					if took := time.Since(cut); took < reach.After && how == memnet.Stall || took > 3*reach.After {
						t.Errorf("%s led after %s", next.cfg.Node, took)
					}
					next.write(t, "after")
					old.await(t, "it knows that it follows", func(s Status) bool { return s.Role != RoleLeader && s.Leader == next.cfg.Node })
					term := next.Status().Term
					time.Sleep(90 * time.Second)
					if s := next.Status(); !s.Leading || s.Term != term {
						t.Errorf("the new leader is disturbed: %+v", s)
					}
					if s := old.Status(); len(s.Cuts) != len(names)-1 || s.Leader != next.cfg.Node || s.LastIndex >= next.Status().LastIndex {
						t.Errorf("the old leader says %+v", s)
					}
					for _, name := range rest {
						if s := c.nodes[name].Status(); len(s.CannotReach) != 1 || s.CannotReach[0].Name != old.cfg.Node || !s.CannotReach[0].Calls || s.Cuts != nil {
							t.Errorf("%s says %+v", name, s)
						}
					}
					c.network.Heal()
					r := next.write(t, "healed")
					if err := old.fold.WaitIndex(t.Context(), r.Index); err != nil {
						t.Fatal(err)
					}
					time.Sleep(reach.Lately)
					for name, n := range c.nodes {
						if s := n.Status(); s.Term != term || s.CannotReach != nil || s.Cuts != nil {
							t.Errorf("after healing %s says %+v", name, s)
						}
					}
				})
			})
		}
	}
}

// Connections that are there go on behind some firewalls. As soon as somebody needs a new one, the cut is noticed.
func TestVirtualLeaderUndialed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, old := openReach(t, threeNames...)
		defer c.closeAll()
		rest := c.rest(old)
		for _, name := range rest {
			c.network.Undialed(memnet.Stall, name, old.cfg.Node)
		}
		time.Sleep(time.Minute)
		if s := old.Status(); !s.Leading || s.Cuts != nil {
			t.Errorf("nobody has tried to connect: %+v", s)
		}
		for i, name := range rest {
			// What the first has found is not forgotten: it is tried again and again.
			time.Sleep(time.Duration(i) * 2 * reach.Lately)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.nodes[name].DialPeer(ctx, old.cfg.Node); err == nil {
				t.Error("it is not cut off")
			}
			cancel()
		}
		for _, name := range rest {
			c.nodes[name].await(t, "another leads", func(s Status) bool { return s.Leader != "" && s.Leader != old.cfg.Node })
		}
	})
}

// A minority that cannot connect moves no leadership, and neither does a majority of which nobody could lead.
func TestVirtualNoHandover(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cut         func(c *testCluster, leader string, rest []string)
		unsucceeded bool
	}{
		"one of two followers": {cut: func(c *testCluster, leader string, rest []string) {
			c.network.OneWay(memnet.Stall, rest[0], leader)
		}},
		"one is down, the other cannot connect": {cut: func(c *testCluster, leader string, rest []string) {
			c.close(rest[0])
			c.network.OneWay(memnet.Stall, rest[1], leader)
		}},
		"the followers cannot connect to each other either": {unsucceeded: true, cut: func(c *testCluster, leader string, rest []string) {
			for _, from := range rest {
				for _, to := range append(rest, leader) {
					if from != to {
						c.network.OneWay(memnet.Stall, from, to)
					}
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, leader := openReach(t, threeNames...)
				defer c.closeAll()
				term := leader.Status().Term
				tt.cut(c, leader.cfg.Node, c.rest(leader))
				for range 20 {
					time.Sleep(10 * time.Second)
					leader.write(t, "x")
				}
				if s := leader.Status(); s.Term != term || !s.Leading || s.Unsucceeded != tt.unsucceeded {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Members of an older version tell nothing and are told nothing, so nothing is known and nobody hands over.
func TestVirtualCutOffOlderVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, threeNames...)
		defer c.closeAll()
		for i, name := range threeNames {
			c.open(name, testOptions{maxLevel: uint32(1 + i%2)}) // n2 is newer
		}
		leader := c.leader()
		c.cutOff(memnet.Stall, leader.cfg.Node)
		time.Sleep(2 * time.Minute)
		for name, n := range c.nodes {
			if s := n.Status(); s.Cuts != nil || s.Leader != leader.cfg.Node {
				t.Errorf("%s says %+v", name, s)
			}
		}
	})
}

// A restart of the leader's process, a slow one, and one that is stopped for a while, are no cuts: whoever leads then
// keeps leading.
func TestVirtualRestartIsNoCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, old := openReach(t, threeNames...)
		defer c.closeAll()
		// The others try to connect in vain for long, and then it leads at once.
		name := old.cfg.Node
		rest := c.rest(old)
		c.close(name)
		time.Sleep(time.Minute)
		old = c.open(name, reachLevel)
		time.Sleep(300 * time.Millisecond)
		for c.leader() != old {
			leader := c.leader()
			if err := leader.TransferLeadershipTo(t.Context(), name); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
		term := old.Status().Term
		// Who dialed in vain less than a second before it was back, dials again in the next round: after 5 s.
		time.Sleep(6 * time.Second)
		for _, name := range rest {
			if s := c.nodes[name].Status(); s.CannotReach != nil {
				t.Errorf("%s says of a node that is back %+v", name, s.CannotReach)
			}
		}
		time.Sleep(90 * time.Second)
		if s := old.Status(); s.Term != term || !s.Leading || s.Cuts != nil {
			t.Errorf("%+v", s)
		}
		// A burst of failed dials that is over in less than ten seconds.
		for range 10 {
			c.cutOff(memnet.Refuse, name)
			time.Sleep(8 * time.Second)
			c.network.Heal()
			time.Sleep(8 * time.Second)
		}
		if s := old.Status(); s.Term != term || !s.Leading {
			t.Errorf("after short cuts: %+v", s)
		}
	})
}

// handsOver waits until a node that leads does so no more, and returns for how long it did.
func (c *testCluster) handsOver(n *testNode) time.Duration {
	c.t.Helper()
	since := time.Now()
	for n.Status().Leading {
		if time.Since(since) > 3*time.Minute {
			c.t.Fatalf("%s leads for three minutes: %+v", n.cfg.Node, n.Status())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(since)
}

func (c *testCluster) transfer(to string) *testNode {
	c.t.Helper()
	for c.leader().cfg.Node != to {
		_ = c.leader().TransferLeadershipTo(c.t.Context(), to)
		time.Sleep(100 * time.Millisecond)
	}
	return c.nodes[to]
}

// A node hands over once a minute at most, however often it is elected and cut off.
func TestVirtualHandoverPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, old := openReach(t, threeNames...)
		defer c.closeAll()
		c.cutOff(memnet.Stall, old.cfg.Node)
		c.handsOver(old)
		first := time.Now()
		c.network.Heal()
		time.Sleep(time.Second)
		c.transfer(old.cfg.Node)
		c.cutOff(memnet.Stall, old.cfg.Node)
		c.handsOver(old)
		if pause := time.Since(first); pause < handOverEvery || pause > handOverEvery+2*reach.After {
			t.Errorf("it handed over again after %s", pause)
		}
	})
}

// What the others found before a node led may be over: it hands over ten seconds after it was elected at the earliest.
func TestVirtualHandoverNotAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openReach(t, fiveNames...)
		defer c.closeAll()
		c.transfer("n5")
		for _, name := range []string{"n2", "n3", "n4"} {
			c.network.OneWay(memnet.Stall, name, "n1")
		}
		time.Sleep(30 * time.Second)
		if led := c.handsOver(c.transfer("n1")); led < reach.After || led > 2*reach.After {
			t.Errorf("it handed over after %s", led)
		}
		if leader := c.leader("n2", "n3", "n4", "n5"); leader.cfg.Node == "n1" {
			t.Error("it leads again")
		}
	})
}

// A follower that nobody can connect to hears no leader, and knows whom it can ask. It disturbs nobody.
func TestVirtualFollowerCutOffOneWay(t *testing.T) {
	t.Parallel()
	for name, how := range eachCut {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, leader := openReach(t, threeNames...)
				defer c.closeAll()
				f := c.nodes[c.rest(leader)[0]]
				term := leader.Status().Term
				c.cutOff(how, f.cfg.Node)
				f.await(t, "it hears no leader", func(s Status) bool { return s.Role != RoleFollower })
				f.await(t, "it knows whom to ask", func(s Status) bool { return s.Leader == leader.cfg.Node })
				time.Sleep(time.Minute)
				changes := f.Status().LeaderChanges
				time.Sleep(90 * time.Second)
				if got, leading := f.Leader(); got != leader.cfg.Node || leading {
					t.Errorf("it would ask %s", got)
				}
				if s := f.Status(); len(s.Cuts) != 2 || s.CannotReach != nil || s.LeaderChanges != changes {
					t.Errorf("%+v, %d changes before", s, changes)
				}
				if s := leader.Status(); s.Term != term || !s.Leading || len(s.CannotReach) != 1 || !s.CannotReach[0].Calls {
					t.Errorf("the leader is disturbed: %+v", s)
				}
				c.network.Heal()
				r := leader.write(t, "healed")
				if err := f.fold.WaitIndex(t.Context(), r.Index); err != nil {
					t.Fatal(err)
				}
				if s := leader.Status(); s.Term != term {
					t.Errorf("the leader is disturbed: %+v", s)
				}
			})
		})
	}
}

// A follower that is back after long knows no leader when all others stop: that they could not connect to it is over.
func TestVirtualNoLeaderAfterRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openReach(t, threeNames...)
		defer c.closeAll()
		name := c.rest(leader)[0]
		c.close(name)
		time.Sleep(30 * time.Second)
		f := c.open(name, reachLevel)
		time.Sleep(time.Second)
		if got, _ := f.Leader(); got != leader.cfg.Node {
			t.Errorf("it follows %q", got)
		}
		c.network.Isolate(memnet.Stall, name)
		time.Sleep(2 * f.cfg.HeartbeatTimeout)
		for range 20 {
			time.Sleep(time.Second)
			if got, _ := f.Leader(); got != "" {
				t.Fatalf("it knows %s as leader", got)
			}
		}
	})
}

// A follower that cannot connect to the leader, and hears it, says so.
func TestVirtualFollowerCannotReachLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openReach(t, threeNames...)
		defer c.closeAll()
		f := c.nodes[c.rest(leader)[0]]
		c.network.OneWay(memnet.Refuse, f.cfg.Node, leader.cfg.Node)
		time.Sleep(time.Minute)
		d, reason := f.Unreachable(leader.cfg.Node)
		if d < 45*time.Second || !strings.Contains(reason, "refused") {
			t.Errorf("%s cannot connect to the leader for %s: %s", f.cfg.Node, d, reason)
		}
		if s := leader.Status(); len(s.Cuts) != 1 || s.Cuts[0].Member != f.cfg.Node || s.Cuts[0].For < 40*time.Second {
			t.Errorf("the leader says %+v", s.Cuts)
		}
	})
}

// Whatever is cut, one way or both, nothing acknowledged is lost and no handover follows the other. One seed in
// ROLLCALL_CUTS_SEED, or a number of them in ROLLCALL_CUTS_SEEDS.
func TestVirtualRandomCuts(t *testing.T) {
	first, seeds := uint64(1), 2
	if s, err := strconv.ParseUint(os.Getenv("ROLLCALL_CUTS_SEED"), 10, 64); err == nil {
		first, seeds = s, 1
	}
	if n, err := strconv.Atoi(os.Getenv("ROLLCALL_CUTS_SEEDS")); err == nil {
		seeds = n
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomCuts(t, seed) })
	}
}

func randomCuts(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, 16))
		names := threeNames
		if seed%2 == 0 {
			names = fiveNames
		}
		log := &logBuffer{}
		c := newTestCluster(t, names...)
		defer c.closeAll()
		for _, name := range names {
			c.open(name, reachLevel, testOptions{config: func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(log, nil)) }})
		}
		c.leader()
		var acknowledged []string
		handovers, began := 0, time.Now()
		for round := range 12 {
			for range 1 + rnd.IntN(2*len(names)) {
				a, b := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
				how := []memnet.Cut{memnet.Stall, memnet.Reset, memnet.Refuse}[rnd.IntN(3)]
				switch {
				case a == b:
				case rnd.IntN(8) == 0:
					c.network.Partition(how, a, b)
				case rnd.IntN(4) == 0:
					c.network.Undialed(how, a, b)
				default:
					c.network.OneWay(how, a, b)
				}
			}
			if rnd.IntN(2) == 0 {
				c.cutOff(memnet.Stall, names[rnd.IntN(len(names))])
			}
			for until := time.Now().Add(time.Duration(10+rnd.IntN(80)) * time.Second); time.Now().Before(until); {
				id := fmt.Sprintf("%d.%d", round, len(acknowledged))
				n := c.nodes[names[rnd.IntN(len(names))]]
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := n.Propose(ctx, command(id)); err == nil {
					acknowledged = append(acknowledged, id)
				} else if !errors.As(err, new(NotWrittenError)) && !errors.As(err, new(UnknownOutcomeError)) {
					t.Errorf("an error of no kind: %v", err)
				}
				cancel()
				time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			}
			c.network.Heal()
			r := c.writeAnywhere(fmt.Sprintf("%d.end", round))
			acknowledged = append(acknowledged, r.ID)
			var kept []string
			for name, n := range c.nodes {
				if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
					t.Fatal(err)
				}
				got := n.fold.requestIDs()
				if kept == nil {
					kept = got
				} else if !slices.Equal(got, kept) {
					t.Fatalf("round %d: %s applied something else than another node", round, name)
				}
			}
			for _, id := range acknowledged {
				if !slices.Contains(kept, id) {
					t.Fatalf("round %d: the acknowledged write %s is gone", round, id)
				}
			}
		}
		handovers = strings.Count(log.String(), "this leader hands over")
		if most := len(names) * (1 + int(time.Since(began)/handOverEvery)); handovers > most {
			t.Errorf("%d handovers in %s", handovers, time.Since(began))
		}
		if term := c.leader().Status().Term; term > 24 {
			t.Errorf("term %d after %d rounds", term, 12)
		}
		t.Logf("%d acknowledged, %d handovers, term %d after %s", len(acknowledged), handovers, c.leader().Status().Term, time.Since(began))
	})
}

var fiveNames = []string{"n1", "n2", "n3", "n4", "n5"}

// rest are the names of the other members, by name.
func (c *testCluster) rest(n *testNode) (names []string) {
	for _, m := range c.members {
		if m.Name != n.cfg.Node {
			names = append(names, m.Name)
		}
	}
	return names
}
