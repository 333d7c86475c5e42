package raftnode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
)

func TestAMemberIsAdded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		term := leader.Status().Term
		begin := time.Now()
		c.add("n4", false)
		c.awaitServers("n1", "n2", "n3", "n4+")
		if took := time.Since(begin); took < reconciler.SteadyFor || took > 2*reconciler.SteadyFor {
			t.Errorf("it votes after %s", took)
		}
		c.add("n5", false)
		c.awaitServers("n1", "n2", "n3", "n4+", "n5+")
		r := leader.write(t, "after")
		for name, n := range c.nodes {
			if err := n.fold.WaitIndex(t.Context(), r.Index); err != nil {
				t.Fatal(err)
			}
			if got := n.fold.requestIDs(); got[len(got)-1] != "after" {
				t.Errorf("%s has %v", name, got)
			}
		}
		if s := leader.Status(); s.Term != term || !s.Leading || len(s.Steps) > 0 {
			t.Errorf("%+v; the term was %d", s, term)
		}
		c.checkLogs(leader)

		// The new ones lead like all others.
		if err := leader.TransferLeadershipTo(t.Context(), "n4"); err != nil {
			t.Fatal(err)
		}
		c.nodes["n4"].await(t, "it leads", func(s Status) bool { return s.Leading })
		c.nodes["n4"].write(t, "by the fourth")
		if _, err := c.nodes["n4"].ReadIndex(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A founder's machine is gone; another with an empty disk gets its name.
func TestAMemberIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		term := leader.Status().Term
		name := c.followers(leader)[1]
		old := c.directory(name)
		c.close(name)
		leader.write(t, "while it is away")
		c.change(logv1.ReplaceMemberCommand(c.empty(name, false), old, false))
		c.start(name)
		want := slices.Clone(threeNames)
		want[slices.Index(want, name)] += "+"
		c.awaitServers(want...)
		// Once more.
		c.close(name)
		again := c.directory(name)
		c.change(logv1.ReplaceMemberCommand(c.empty(name, false), again, false))
		c.start(name)
		c.awaitServers(want...)
		r := leader.write(t, "after")
		if err := c.nodes[name].fold.WaitIndex(t.Context(), r.Index); err != nil {
			t.Fatal(err)
		}
		if s := leader.Status(); s.Term != term || !s.Leading {
			t.Errorf("term %d was %d, leads: %t", s.Term, term, s.Leading)
		}
		c.checkLogs(leader)
	})
}

func TestMembersAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, "n1", "n2", "n3", "n4", "n5")
		defer c.closeAll()
		leader := c.leader()
		name := slices.DeleteFunc([]string{"n1", "n2", "n3", "n4", "n5"}, func(n string) bool { return n == leader.cfg.Node })[0]
		c.change(logv1.RemoveMemberCommand(name, c.directory(name), false))
		left := slices.DeleteFunc([]string{"n1", "n2", "n3", "n4", "n5"}, func(n string) bool { return n == name })
		c.awaitServers(left...)
		removed := c.nodes[name]
		c.close(name)
		if leader.trans.Acks().Since(raft.ServerAddress(name), leader.Status().Term, 0) {
			time.Sleep(10 * time.Second)
		}
		if leader.trans.Acks().Since(raft.ServerAddress(name), leader.Status().Term, 0) {
			t.Error("what a removed server answered is not forgotten")
		}
		_ = removed

		// The leader itself: nobody waits for an election.
		old := leader.cfg.Node
		c.change(logv1.RemoveMemberCommand(old, c.directory(old), false))
		left = slices.DeleteFunc(left, func(n string) bool { return n == old })
		c.awaitServers(left...)
		next := c.leader(left...)
		if next == leader {
			t.Error("the removed leader leads")
		}
		next.write(t, "after")
		c.checkLogs(next)
	})
}

func TestAReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		c.add("n4", true)
		c.awaitServers("n1", "n2", "n3", "n4+?")
		leader := c.leader()
		if err := leader.TransferLeadershipTo(t.Context(), "n4"); !errors.Is(err, ErrNotVoter) {
			t.Errorf("leadership for a replica: %v", err)
		}
		time.Sleep(time.Minute)
		c.awaitServers("n1", "n2", "n3", "n4+?")
		c.change(logv1.PromoteMemberCommand("n4"))
		c.awaitServers("n1", "n2", "n3", "n4+")
	})
}

// TestAddingWithOneOfThreeDown: a member is added while one of three is away, and does not answer itself. AddVoter at
// once would cost the leadership. It gets its vote when it answers.
func TestAddingWithOneOfThreeDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		down := c.followers(leader)[0]
		c.kill(down)
		term := leader.Status().Term
		var silent atomic.Bool
		silent.Store(true)
		c.stepped = func(_ *testNode, step reconciler.Step, _ bool) {
			if step.Kind == reconciler.AddVoter && silent.Load() {
				t.Errorf("%+v while it is silent", step)
			}
		}
		c.change(logv1.AddMemberCommand(c.empty("n4", false)))
		for range 300 {
			leader.write(t, "x")
			time.Sleep(100 * time.Millisecond)
		}
		if s := leader.Status(); s.Term != term || !s.Leading || s.Steps["n4"] != "waits: n4 does not answer" {
			t.Fatalf("term %d was %d, leads: %t; %q", s.Term, term, s.Leading, s.Steps)
		}
		c.start("n4")
		// It falls silent again just before it would get its vote.
		time.Sleep(reconciler.SteadyFor - 500*time.Millisecond)
		c.network.Isolate(memnet.Stall, "n4")
		for range 100 {
			leader.write(t, "y")
			time.Sleep(100 * time.Millisecond)
		}
		c.network.Heal()
		silent.Store(false)
		for range 300 {
			leader.write(t, "z")
			time.Sleep(100 * time.Millisecond)
		}
		if s := leader.Status(); s.Term != term || !s.Leading || !slices.Contains(s.Voters, "n4") {
			t.Errorf("term %d was %d, leads: %t, voters %q", s.Term, term, s.Leading, s.Voters)
		}
	})
}

// One whose log is never close to the leader's never votes, and the status says why.
func TestOneThatLagsNeverVotes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		for i := range 400 {
			leader.write(t, "x"+string(rune('a'+i%26)))
		}
		c.network.Throttle(2<<10, leader.cfg.Node, "n4") // heartbeats get through, entries hardly
		c.add("n4", false)
		lagged := false
		for range 200 {
			for range 20 {
				leader.write(t, strings.Repeat("x", 500))
			}
			time.Sleep(100 * time.Millisecond)
			s := leader.Status()
			if slices.Contains(s.Voters, "n4") || !s.Leading {
				t.Fatalf("it votes, or the leadership is lost: %+v", s)
			}
			lagged = lagged || strings.HasSuffix(s.Steps["n4"], " entries behind")
		}
		if !lagged {
			t.Errorf("the status says %q", leader.Status().Steps)
		}
	})
}

// TestANewDirectoryIsNoOldServer: after a member was replaced in the registry, raft's configuration means the old
// directory until that is removed from it. The new directory must not answer for it: it has neither its log nor its
// vote.
func TestANewDirectoryIsNoOldServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		names := []string{"n1", "n2", "n3", "n4", "n5"}
		c := openChanging(t, testOptions{}, names...)
		defer c.closeAll()
		leader := c.leader()
		rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == leader.cfg.Node })
		name, other := rest[0], rest[1]
		old := c.directory(name)
		// Two are away, so the old directory cannot be removed: without it three of four would have to answer.
		c.kill(rest[2])
		c.kill(rest[3])
		c.change(logv1.ReplaceMemberCommand(c.empty(name, false), old, false))
		time.Sleep(10 * time.Second)
		wait := leader.Status().Steps[name]
		if !strings.HasPrefix(wait, "waits: "+rest[2]+" and "+rest[3]+" do not answer") || !leader.Status().Leading {
			t.Fatalf("it waits: %q", wait)
		}
		c.kill(name)
		fresh := c.start(name)
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if n := c.leads(); n != nil && time.Since(c.started) > 20*time.Second {
				t.Fatalf("%s leads with a voter that has just come", n.cfg.Node)
			}
		}
		for address, directory := range map[raft.ServerAddress]string{
			raft.ServerAddress(name):                  fresh.directoryID,
			raft.ServerAddress(name + "/" + old):      fresh.directoryID,
			raft.ServerAddress(other + "/" + "other"): c.directory(other),
			raft.ServerAddress(other):                 old,
		} {
			if err := c.nodes[other].meant(address, directory); err == nil {
				t.Errorf("%s is taken for directory %s", address, directory)
			}
		}
		for address, directory := range map[raft.ServerAddress]string{
			raft.ServerAddress(name):                             old,
			raft.ServerAddress(name + "/" + fresh.directoryID):   fresh.directoryID,
			raft.ServerAddress(other):                            c.directory(other),
			raft.ServerAddress("n9"):                             "whoever",
			raft.ServerAddress(other + "/" + c.directory(other)): c.directory(other),
		} {
			if err := c.nodes[other].meant(address, directory); err != nil {
				t.Errorf("%s, directory %s: %v", address, directory, err)
			}
		}
		// When one of the others is back it goes on.
		c.start(rest[2])
		want := slices.Clone(names)
		want[slices.Index(want, name)] += "+"
		c.awaitServers(want...)
	})
}

// A removed member that has missed it asks for votes for ever. Nobody minds.
func TestARemovedMemberDisturbsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, "n1", "n2", "n3", "n4")
		defer c.closeAll()
		leader := c.leader()
		name := slices.DeleteFunc([]string{"n1", "n2", "n3", "n4"}, func(n string) bool { return n == leader.cfg.Node })[0]
		c.network.Isolate(memnet.Stall, name)
		c.change(logv1.RemoveMemberCommand(name, c.directory(name), false))
		c.awaitServers(slices.DeleteFunc([]string{"n1", "n2", "n3", "n4"}, func(n string) bool { return n == name })...)
		term := leader.Status().Term
		c.network.Heal()
		for range 600 {
			leader.write(t, "x")
			time.Sleep(100 * time.Millisecond)
		}
		if s := leader.Status(); s.Term != term || !s.Leading {
			t.Errorf("term %d was %d, leads: %t", s.Term, term, s.Leading)
		}
	})
}

// Nothing to do costs nothing: no requests, no goroutine that looks.
func TestAReconcilerWithNothingToDoSleeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		time.Sleep(10 * time.Second)
		round := leader.trans.Acks().Round()
		time.Sleep(10 * time.Minute)
		if after := leader.trans.Acks().Round(); after != round {
			t.Errorf("%d questions in ten minutes", after-round)
		}
	})
}

func TestTransferLeadershipTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		rest := c.followers(leader)
		for name, want := range map[string]error{leader.cfg.Node: ErrLeadsAlready, "n9": ErrUnknownMember} {
			if err := leader.TransferLeadershipTo(t.Context(), name); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
				t.Errorf("to %s: %v", name, err)
			}
		}
		if err := c.nodes[rest[0]].TransferLeadershipTo(t.Context(), rest[1]); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower: %v", err)
		}
		for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
			c.network.Partition(how, leader.cfg.Node, rest[0])
			time.Sleep(time.Second)
			begin := time.Now()
			if err := leader.TransferLeadershipTo(t.Context(), rest[0]); !errors.Is(err, ErrUnreachable) {
				t.Errorf("to one that is cut off: %v", err)
			}
			if took := time.Since(begin); took > 2*transferAnswer {
				t.Errorf("it took %s", took)
			}
			leader.write(t, "goes on")
			c.network.Heal()
			time.Sleep(5 * time.Second)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := leader.TransferLeadershipTo(ctx, rest[0]); err == nil {
			t.Error("a call that was given up succeeded")
		}
		for range 10 {
			time.Sleep(time.Second) // the next leader has heard all by then
			leader = c.leader()
			to := c.followers(leader)[0]
			begin := time.Now()
			if err := leader.TransferLeadershipTo(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			if next := c.leader(); next.cfg.Node != to {
				t.Errorf("%s leads, not %s", next.cfg.Node, to)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("handed over in %s", took)
			}
		}
	})
}

// A voter whose log lacks much answers, but cannot take over at once.
func TestNoTransferToOneThatLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Value
		slow.Store("")
		var room atomic.Value
		room.Store(make(chan struct{}))
		c := openChanging(t, testOptions{config: func(cfg *Config) {
			name := cfg.Node
			cfg.Congested = func() <-chan struct{} { // it answers heartbeats, and takes no entries
				if slow.Load() == name {
					return room.Load().(chan struct{})
				}
				return nil
			}
		}}, threeNames...)
		defer c.closeAll()
		leader := c.leader()
		to := c.followers(leader)[0]
		slow.Store(to)
		for range 20 {
			leader.write(t, "x")
			time.Sleep(100 * time.Millisecond)
		}
		for range 3 {
			if err := leader.TransferLeadershipTo(t.Context(), to); !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrLags) {
				t.Errorf("%v", err)
			}
			leader.write(t, "goes on")
			time.Sleep(time.Second)
		}
		slow.Store("")
		close(room.Load().(chan struct{}))
		time.Sleep(10 * time.Second)
		if err := leader.TransferLeadershipTo(t.Context(), to); err != nil {
			t.Error(err)
		}
	})
}

// TestANewVoterIsElected: of two voters, one hears that a third one votes, and then is gone for good, before the other
// has heard. The third is all that has the log, and the other takes it for one that does not vote.
func TestANewVoterIsElected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, "n1", "n2")
		defer c.closeAll()
		leader := c.leader()
		old := leader.cfg.Node
		other := slices.DeleteFunc([]string{"n1", "n2"}, func(n string) bool { return n == old })[0]
		voted := make(chan struct{})
		c.stepped = func(_ *testNode, step reconciler.Step, done bool) {
			if step.Kind == reconciler.AddVoter && !done {
				c.network.Partition(memnet.Stall, old, other)
			} else if step.Kind == reconciler.AddVoter {
				c.network.Isolate(memnet.Reset, old)
				close(voted)
			}
		}
		c.add("n3", false)
		<-voted
		c.kill(old)
		c.nodes["n3"].await(t, "it leads", func(s Status) bool { return s.Leading })
		c.nodes["n3"].write(t, "after")
		if got := c.describe(c.nodes[other].Status().Servers); !slices.Contains(got, "n3+") {
			t.Errorf("%s has %q", other, got)
		}
	})
}

// TestClocksOfTooFewAreNoStorm: after a restart of all, a leader waits for the clocks of most members. If too few answer
// it asks again now and then, and not at each answer.
func TestClocksOfTooFewAreNoStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openChanging(t, testOptions{}, threeNames...)
		defer c.closeAll()
		c.change(logv1.AddMemberCommand(c.empty("n4", false)))
		c.awaitServers("n1", "n2", "n3", "n4+?")
		c.closeAll()
		begin := time.Now()
		c.start("n1")
		c.start("n2")
		c.leader("n1", "n2").write(t, "after")
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
