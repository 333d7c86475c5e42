package cluster_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// TestProcessMembers adds, replaces, removes and promotes members under load. No write may fail, and none that was
// acknowledged may be lost, also when members are killed that came later.
func TestProcessMembers(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.levelRisen()
	l := startPacedLoad(t, c.client(), 100)
	l.wait(20)
	n4 := c.joiner("n4")
	t.Logf("added n4: a voter after %s", c.add(n4).Round(time.Millisecond))
	l.wait(20)
	leader := c.leader()
	wiped := c.others(leader)[0]
	t.Logf("replaced %s, wiped: a voter after %s", wiped.name, c.replaceWiped(wiped).Round(time.Millisecond))
	l.wait(20)
	leader = c.leader()
	t.Logf("removed %s, the leader, after %s", leader.name, c.remove(leader).Round(time.Millisecond))
	l.wait(20)
	replica := c.joiner("n5")
	replica.replica = true
	t.Logf("added n5: a replica after %s", c.add(replica).Round(time.Millisecond))
	mustRun(t, "get", "load/w0", "--linearizable", "-e", replica.api)
	c.run("member", "promote", replica.name)
	c.waitPhase(replica.name, rollcallv1.MemberPhase_MEMBER_PHASE_VOTER)
	l.wait(20)
	if failed := l.failed.Load(); failed > 0 {
		t.Errorf("%d writes failed", failed)
	}
	t.Logf("%d writes, the slowest took %s", l.acked.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
	// Four voters: n4, the one that was replaced, n5 and one founder. With any one killed, and all restarted,
	// nothing is missing.
	c.leader().kill()
	l.wait(50)
	l.stop()
	c.killAll()
	c.start()
	c.waitReady()
	c.caughtUp()
	for _, p := range c.nodes {
		l.verify(p)
	}
}

var (
	largeMembers  = flag.Int("members", 0, "changes of revision, in millions, that TestProcessMembersLarge makes before members change; 0: it is skipped")
	memberWrites  = flag.Int("member-writes", 400, "writes a second meanwhile")
	largeServices = 100_000
)

// TestProcessMembersLarge adds a member to a cluster with 100,000 services and a long history, and replaces one that
// was wiped, and restarts all, at 400 writes a second: in plain text, and with TLS. It prints what it measured.
func TestProcessMembersLarge(t *testing.T) {
	if *largeMembers == 0 {
		t.Skip("long: -members=1")
	}
	for name, slowest := range map[string]time.Duration{"plain": 300 * time.Millisecond, "tls": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) { membersLarge(t, name == "tls", slowest) })
	}
}

func membersLarge(t *testing.T, secure bool, slowest time.Duration) {
	o := processOptions{creds: insecure.NewCredentials()}
	var ca *tlstest.CA
	var c *processes
	if secure {
		ca = tlstest.NewCA(t, "ca")
		o.creds = nil
		c, _ = secureProcesses(t, o, "required", ca)
		t.Setenv("ROLLCALL_CA", ca.File)
	} else {
		c = newProcesses(t, o)
	}
	c.start()
	c.waitReady()
	c.levelRisen()
	c.fill(largeServices, *largeMembers*1_000_000)
	c.caughtUp()
	l := startPacedLoad(t, c.client(), *memberWrites)
	l.wait(int64(*memberWrites))
	busy := false // this machine, with other things
	measure := func(what string, change func() time.Duration) {
		t.Helper()
		l.slowest.Store(0)
		begun, acked := time.Now(), l.acked.Load()
		took := change()
		l.wait(int64(*memberWrites))
		failed, most := l.failed.Swap(0), time.Duration(l.slowest.Load())
		t.Logf("%-34s after %8s  writes %6.0f/s  failed %d  slowest %s", what, took.Round(time.Millisecond),
			float64(l.acked.Load()-acked)/time.Since(begun).Seconds(), failed, most.Round(time.Millisecond))
		if failed > 0 {
			t.Errorf("%s: %d writes failed", what, failed)
		}
		if most > slowest && !busy {
			t.Errorf("%s: the slowest write took %s, want at most %s", what, most, slowest)
		}
		if took > time.Minute {
			t.Errorf("%s: took %s, want at most a minute", what, took)
		}
	}
	l.wait(int64(5 * *memberWrites))
	if most := time.Duration(l.slowest.Load()); most > slowest/2 {
		busy = true
		t.Logf("the slowest write took %s while no member changed: this machine is too busy to tell more", most)
	}
	measure("nothing changes", func() time.Duration { l.wait(int64(5 * *memberWrites)); return 0 })
	n4 := c.joiner("n4")
	if secure {
		n4.args = append(n4.args, secureArgs("required", ca.Issue([]string{n4.name, "127.0.0.1"}))...)
	}
	measure("n4 is added: a voter", func() time.Duration { return c.add(n4) })
	wiped := c.others(c.leader())[0]
	measure(wiped.name+" is wiped and replaced: a voter", func() time.Duration { return c.replaceWiped(wiped) })
	for _, p := range c.nodes {
		measure(fmt.Sprintf("%s is restarted: ready", p.name), func() time.Duration {
			p.stop()
			begun := time.Now()
			p.start()
			p.waitStatus("", serving)
			return time.Since(begun)
		})
	}
	follower := c.others(c.leader())[0]
	measure(follower.name+" is removed", func() time.Duration { return c.remove(follower) })
	leader := c.leader()
	measure(leader.name+", the leader, is removed", func() time.Duration { return c.remove(leader) })
	l.stop()
	c.caughtUp()
	for _, p := range c.nodes {
		l.verify(p)
	}
}

// fill makes so many services, and so many changes of them.
func (c *processes) fill(services, changes int) {
	c.t.Helper()
	const batch = 1000
	cl := c.client()
	begun := time.Now()
	for at := 0; at < changes; at += batch {
		status := []client.Status{serving, notServing}[at/services%2]
		var write []client.Change
		for i := range batch {
			write = append(write, client.Change{Service: fmt.Sprintf("fill/%06d", (at+i)%services), Status: status})
		}
		if _, err := cl.SetBatch(c.t.Context(), write, client.WriteOptions{Reason: "fill"}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Logf("%d services and %d changes after %s", services, changes, time.Since(begun).Round(time.Second))
}
