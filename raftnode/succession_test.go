package raftnode

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

func TestTurn(t *testing.T) {
	own := voter{name: "n2", term: 7, logTerm: 7, logIndex: 100}
	other := func(name string, change func(*voter)) voter {
		v := voter{name: name, term: 7, logTerm: 7, logIndex: 100, lost: true}
		if change != nil {
			change(&v)
		}
		return v
	}
	never := -1
	for _, test := range []struct {
		name   string
		others []voter
		voters int
		want   int
	}{
		{"the other one agrees", []voter{other("n3", nil)}, 3, 0},
		{"of two equals the lower name goes first", []voter{other("n1", nil)}, 3, 1},
		{"the further log goes first", []voter{other("n3", func(v *voter) { v.logIndex++ })}, 3, 1},
		{"the later term goes before the longer log", []voter{other("n3", func(v *voter) { v.logTerm++; v.logIndex = 1 })}, 3, 1},
		{"a shorter log goes after", []voter{other("n1", func(v *voter) { v.logIndex-- })}, 3, 0},
		{"the other one still has the leader", []voter{other("n3", func(v *voter) { v.lost = false })}, 3, never},
		{"nobody answers", nil, 3, never},
		{"one of two voters is no quorum", nil, 2, never},
		{"somebody knows a later term", []voter{other("n3", func(v *voter) { v.term++ }), other("n4", nil), other("n5", nil)}, 5, never},
		{"somebody stands already", []voter{other("n3", func(v *voter) { v.standing = true })}, 3, never},
		{"somebody stood long ago", []voter{other("n3", nil), other("n4", func(v *voter) { v.term, v.standing, v.lost = 3, true, false }), other("n5", nil)}, 5, 0},
		{"two of five are no quorum", []voter{other("n3", nil), other("n4", func(v *voter) { v.lost = false })}, 5, never},
		{"three of five are one", []voter{other("n3", nil), other("n4", nil)}, 5, 0},
		{"only who has lost the leader goes first", []voter{other("n1", func(v *voter) { v.lost = false }), other("n3", nil), other("n4", nil)}, 5, 0},
		{"two go first", []voter{other("n1", nil), other("n3", func(v *voter) { v.logIndex++ })}, 5, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := turn(own, test.others, test.voters)
			if !ok || begun(own, test.others) {
				got = never
			}
			if got != test.want {
				t.Errorf("turn %d, want %d", got, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, test := range []struct {
		err  error
		want bool
	}{
		{dial(syscall.ECONNREFUSED), true},
		{dial(syscall.EHOSTUNREACH), false},
		{dial(syscall.ETIMEDOUT), false},
		{io.EOF, false},
		{&RefusedError{Peer: "n2", Reason: "n2 is starting"}, false},
		{addressErrors{{"a:1", dial(syscall.ECONNREFUSED)}, {"b:1", dial(syscall.ECONNREFUSED)}}, true},
		{addressErrors{{"a:1", dial(syscall.ECONNREFUSED)}, {"b:1", dial(syscall.ETIMEDOUT)}}, false},
		{addressErrors{{"a:1", io.EOF}, {"b:1", dial(syscall.ECONNREFUSED)}}, false},
	} {
		if got := refused(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestLines(t *testing.T) {
	l := newLines()
	if l.cut("n1") {
		t.Error("a peer that never called is cut")
	}
	first, second := l.begin("n1"), l.begin("n1")
	first(true)
	first(false)
	if l.cut("n1") {
		t.Error("cut with a connection open")
	}
	second(false)
	if !l.cut("n1") || l.cut("n2") {
		t.Error("not cut, or another is")
	}
	select {
	case <-l.ended:
	default:
		t.Error("nobody was told")
	}
	third := l.begin("n1")
	if l.cut("n1") {
		t.Error("cut with a new connection")
	}
	third(false)
	if l.cut("n1") {
		t.Error("cut although this side ended it")
	}
}

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

// stood adds up how often the open nodes stood for election as successors.
func (c *testCluster) stood() (total uint64) {
	for _, n := range c.nodes {
		total += n.Status().Successions
	}
	return total
}

// openThreeSettled is openThree, with the configuration in every log: a node that has none yet has no
// part in a succession.
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
func TestSuccession(t *testing.T) {
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
			if s := fresh.Status(); s.Term != term+1 || c.stood() != 1 || s.Successions != 1 {
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
func TestSuccessionOfTheFurtherLog(t *testing.T) {
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
			if s := c.nodes[ahead].Status(); s.Successions != 1 || c.stood() != 1 {
				t.Errorf("%d stood", c.stood())
			}
			c.nodes[ahead].write(t, "after")
		})
	}
}

// A firewall between one follower and the leader must not cost the others their leader.
func TestSuccessionNeedsAQuorum(t *testing.T) {
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

// What is silent may be slow: only raft's timeout tells.
func TestNoSuccessionOfASilentLeader(t *testing.T) {
	for _, how := range []memnet.Cut{memnet.Stall, memnet.Reset} {
		synctest.Test(t, func(t *testing.T) {
			c, old := openThreeSettled(t, nil)
			defer c.closeAll()
			cut := time.Now()
			c.network.Isolate(how, old.cfg.Node)
			c.successor(old)
			if took := time.Since(cut); took < old.cfg.HeartbeatTimeout/2 || c.stood() != 0 {
				t.Errorf("%d stood, a new leader after %s", c.stood(), took)
			}
		})
	}
}

func TestSuccessionOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := testOptions{config: func(c *Config) { c.Succession = false }}
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
func TestSuccessionWithASlowDisk(t *testing.T) {
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
						n.trans.offer(t.Context(), timeoutNow(name))
						n.trans.offer(t.Context(), timeoutNow(name)) // and again, as a candidate or leader
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
func TestSuccessionIsForMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, leader := openThreeSettled(t, nil)
		defer c.closeAll()
		term := leader.Status().Term
		rest := c.followers(leader)
		to := c.nodes[rest[0]]
		question := &peerv1.Succession{Leader: leader.cfg.Node, Term: term}
		ask := func(change func(*peerv1.Hello)) *peerv1.Succession {
			conn, err := c.network.Dial(t.Context(), to.addresses(to.cfg.Node)[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			h := c.nodes[rest[1]].view().hello(peerv1.Hello_PURPOSE_PROBE, to.cfg.Node)
			h.Succession = question
			change(h)
			if err := writeHello(conn, h); err != nil {
				t.Fatal(err)
			}
			answer, err := readHello(conn)
			if err != nil {
				t.Fatal(err)
			}
			return answer.GetSuccession()
		}
		if a := ask(func(*peerv1.Hello) {}); a == nil || a.GetLost() || a.GetTerm() != term || a.GetLastLogIndex() == 0 {
			t.Errorf("a member is answered %v", a)
		}
		for name, change := range map[string]func(*peerv1.Hello){
			"a stranger":        func(h *peerv1.Hello) { h.Node = "n9" },
			"another directory": func(h *peerv1.Hello) { h.DirectoryId = "d" },
			"another cluster":   func(h *peerv1.Hello) { h.ClusterId = "77b2" },
			"none yet":          func(h *peerv1.Hello) { h.ClusterId = "" },
			"no question":       func(h *peerv1.Hello) { h.Succession = nil },
		} {
			if a := ask(change); a != nil {
				t.Errorf("%s is answered %v", name, a)
			}
		}
		// A member's word about another term or somebody who does not lead proves nothing here.
		for _, q := range []*peerv1.Succession{{Leader: "n9", Term: term}, {Leader: rest[1], Term: term}, {Term: term}, {Leader: to.cfg.Node, Term: term}} {
			question = q
			if a := ask(func(*peerv1.Hello) {}); a.GetLost() {
				t.Errorf("asked for %v: %v", q, a)
			}
		}
	})
}

// Leaders die one after another, under writes.
func TestSuccessions(t *testing.T) {
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
