package cluster_test

import (
	"context"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessLeaderCutOneWay closes all ways to a leader that keeps its own ways to the others, under load: each process
// that is asked names the cut, the leader hands over, and nothing acknowledged is lost. Then the same for the follower
// that it has become: it disturbs nobody.
func TestProcessLeaderCutOneWay(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{proxies: true})
	old := c.leader()
	rest := c.others(old)
	l := startPacedLoad(t, c.client(), 100)
	l.wait(100)
	statusOf := func(p *process, want string) func(context.Context) bool {
		return func(context.Context) bool {
			out, _, _ := runBinary(t, "status", "--endpoints", p.api)
			return strings.Contains(out, want)
		}
	}
	old.proxy.setCut(true)
	both := rest[0].name + " and " + rest[1].name + " cannot connect to " + old.name + " (" + old.peer + ")"
	eventually(t, "the old leader to name the cut", statusOf(old, both+", which can connect to them: "))
	eventually(t, "another leader", func(ctx context.Context) bool {
		for _, p := range rest {
			if p.check(ctx, rollcallv1.OwnLeader) == serving {
				return true
			}
		}
		return false
	})
	if log := old.log.String(); !strings.Contains(log, "this leader hands over: a majority of the voters cannot connect to it") {
		t.Errorf("the old leader did not hand over by itself")
	}
	l.wait(200)
	for _, p := range rest {
		eventually(t, p.name+" to take writes", statusOf(p, "writes ok"))
		eventually(t, p.name+" to say what is missing", statusOf(p, ": "+old.name+" gets no changes; look at firewalls, and at the peer address of "+old.name))
	}
	// It hears nobody, and brings writes to the leader all the same.
	eventually(t, "the old leader to know whom to ask", statusOf(old, "writes ok"))
	c.set("through/"+old.name, serving, old)
	next := c.leader()
	before := statusNow(t, next)
	old.proxy.setCut(false)
	old.waitStatus("", serving)
	l.wait(100)
	l.stop()
	c.caughtUp()
	for _, p := range c.nodes {
		l.verify(p)
	}
	if after := statusNow(t, next); after.GetTerm() != before.GetTerm() || after.GetLeader() != before.GetLeader() {
		t.Errorf("healing moved leadership: %s in term %d, then %s in term %d", before.GetLeader(), before.GetTerm(), after.GetLeader(), after.GetTerm())
	}
	t.Logf("%d writes were acknowledged, %d were not; the slowest took %s", l.acked.Load(), l.failed.Load(), time.Duration(l.slowest.Load()))
}

// statusNow is GetStatus of a process alone.
func statusNow(t *testing.T, p *process) *rollcallv1.GetStatusResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := rollcallv1.NewClusterClient(p.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return res
}
