package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestProcessHistoriesMembers has clients of every node call while members are added, removed and replaced, each
// time while a process is killed or stopped or links are cut.
func TestProcessHistoriesMembers(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	changes := 2
	if *histories > 0 {
		changes = 8
	}
	eachHistory(t, 1, func(t *testing.T, seed uint64) {
		c := startProcesses(t, processOptions{proxies: true, args: []string{"--lease-guard-min", "1000"}})
		h := membersHistory(t, c, seed, changes)
		t.Log(h)
		if w, m := h.count(acknowledged), h.count(mismatch); w < 100 || m < 50 {
			t.Errorf("%d acknowledged writes and %d reads: too few to prove anything", w, m)
		}
		if h.members < changes {
			t.Errorf("the events tell of %d changes of members, there were %d", h.members, changes)
		}
		h.check(t)
	})
}

func membersHistory(t *testing.T, c *processes, seed uint64, changes int) *history {
	t.Helper()
	h := c.newHistory("m")
	stopFollowing := c.followLeases(h)
	defer stopFollowing()
	var conns []*grpc.ClientConn
	spares := []*process{c.joiner("n4"), c.joiner("n5")}
	everybody := append(slices.Clone(c.nodes), spares...)
	for _, p := range everybody {
		conns = append(conns, p.dial())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	stop := func() {
		cancel()
		wg.Wait()
	}
	defer stop()
	for i := range 6 {
		first := i % len(everybody)
		cl := c.client(append(slices.Clone(everybody[first:]), everybody[:first]...)...)
		w := h.client(cl, conns, rand.New(rand.NewPCG(seed, uint64(i))))
		wg.Go(func() {
			tick := time.NewTicker(15 * time.Millisecond)
			defer tick.Stop()
			w.run(ctx, func() { <-tick.C }, func(d time.Duration) { pause(ctx, d) })
		})
	}
	m := &memberChanges{c: c, cl: c.client(everybody...), spares: spares, rng: rand.New(rand.NewPCG(seed, 2000))}
	for range changes {
		h.wait(t, 20+m.rng.IntN(100))
		m.change()
	}
	h.wait(t, 50)
	stop()
	c.waitReady()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	h.finish(t, c.client(), func() { <-tick.C })
	stopFollowing()
	if err := h.record.check(leasePromise{}); err != nil { // how late depends on the machine
		t.Error(err)
	}
	c.caughtUp()
	if out := c.run("verify"); !strings.Contains(out, fmt.Sprintf("all %d members hold the same registry", len(c.nodes))) {
		t.Errorf("rollcall verify: %s", out)
	}
	return h
}

// memberChanges makes one change of members after the other. A disk is taken away only when all others are voters.
type memberChanges struct {
	c      *processes
	cl     *client.Client
	spares []*process // belong to no cluster, and do not run
	rng    *rand.Rand
	number int
}

// change makes one change while something fails, and waits until it is done.
func (m *memberChanges) change() {
	t := m.c.t
	t.Helper()
	voter, none := rollcallv1.MemberPhase_MEMBER_PHASE_VOTER, rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED
	switch p := m.c.nodes[m.rng.IntN(len(m.c.nodes))]; {
	case m.rng.IntN(3) == 0:
		t.Logf("replace %s", p.name)
		p.kill()
		p.wipe()
		p.start()
		m.until(p, func(ctx context.Context, o client.WriteOptions) error {
			_, err := m.cl.ReplaceMember(ctx, client.MemberChange{Name: p.name}, o)
			return err
		})
		m.c.waitPhase(p.name, voter)
	case len(m.c.nodes) == 3 || len(m.spares) > 0 && m.rng.IntN(2) == 0:
		p = m.spares[0]
		t.Logf("add %s", p.name)
		p.start()
		m.until(p, func(ctx context.Context, o client.WriteOptions) error {
			_, err := m.cl.AddMember(ctx, client.MemberChange{Name: p.name, PeerAddress: p.peer}, o)
			return err
		})
		m.c.waitPhase(p.name, voter)
		m.spares, m.c.nodes = m.spares[1:], append(m.c.nodes, p)
	default:
		t.Logf("remove %s", p.name)
		m.until(p, func(ctx context.Context, o client.WriteOptions) error {
			_, err := m.cl.RemoveMember(ctx, client.MemberChange{Name: p.name}, o)
			return err
		})
		m.c.nodes = slices.DeleteFunc(m.c.nodes, func(n *process) bool { return n == p })
		m.c.waitPhase(p.name, none)
		if code := p.waitExit(); code != 7 {
			t.Errorf("%s, removed, ended with exit status %d", p.name, code)
		}
		// It may come back, under its name, with another directory.
		p.wipe()
		p.join = nil
		for _, n := range m.c.nodes {
			p.join = append(p.join, n.peer)
		}
		m.spares = append(m.spares, p)
	}
}

// until repeats a change, with one request id as long as it may have been made, until it is done, while a process fails, or its links. That of the
// member that changes may be the one.
func (m *memberChanges) until(changes *process, try func(ctx context.Context, o client.WriteOptions) error) {
	t := m.c.t
	t.Helper()
	m.number++
	o := client.WriteOptions{RequestID: fmt.Sprintf("change-%d", m.number), Reason: "a change"}
	victim := m.c.nodes[m.rng.IntN(len(m.c.nodes))]
	if m.rng.IntN(2) == 0 {
		victim = m.c.leader()
	}
	how, later := m.rng.IntN(4), time.Duration(m.rng.IntN(int(6*time.Second)))
	length := time.Duration(m.rng.IntN(int(2 * time.Second)))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		pause(t.Context(), later)
		if !victim.running() {
			return // it was removed
		}
		switch how {
		case 0, 1:
			t.Logf("%s later: kill %s", later, victim.name)
			victim.kill()
			pause(t.Context(), length)
			victim.start()
		case 2:
			t.Logf("%s later: SIGSTOP %s for %s", later, victim.name, length)
			victim.signal(syscall.SIGSTOP)
			pause(t.Context(), length)
			victim.signal(syscall.SIGCONT)
		case 3:
			t.Logf("%s later: cut the links into %s for %s", later, victim.name, length)
			victim.proxy.setCut(true)
			pause(t.Context(), length)
			victim.proxy.setCut(false)
		}
	})
	var last error
	eventually(t, "a change of "+changes.name, func(ctx context.Context) bool {
		err := try(ctx, o)
		if err != nil && (last == nil || err.Error() != last.Error()) {
			t.Logf("%s: %v", o.RequestID, err)
		}
		last = err
		if e := (*client.Error)(nil); errors.As(err, &e) && e.Written == client.WrittenNo {
			m.number++ // it was refused for sure, and is another request now
			o.RequestID = fmt.Sprintf("change-%d", m.number)
		}
		return err == nil
	})
}
