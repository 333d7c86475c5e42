package cluster_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// held is what a node holds that need not have a quorum: reports by service, and how many events.
func (p *process) held() (reports map[string]*rollcallv1.Report, events int, revision int64) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl := (&processes{t: p.t, nodes: []*process{p}}).client()
	reports = map[string]*rollcallv1.Report{}
	for r, err := range cl.List(ctx, client.ListOptions{}) {
		if err != nil {
			p.t.Fatalf("list on %s: %v", p.name, err)
		}
		reports[r.GetService()] = r.GetReport()
		revision = max(revision, r.GetReport().GetRevision())
	}
	for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{Prefixes: []string{"load/"}}) {
		if err != nil {
			p.t.Fatalf("events of %s: %v", p.name, err)
		}
		events++
		revision = max(revision, e.GetRevision())
	}
	return reports, events, revision
}

// recover makes a new cluster of one out of a stopped node, and starts it.
func (c *processes) recover(p *process) {
	c.t.Helper()
	out := mustRun(c.t, "recover", "--data", p.data, "--log-store", *logStore)
	c.t.Logf("rollcall recover:\n%s", out)
	p.members, p.join, c.nodes = p.members[:0:0], nil, []*process{p}
	p.members = []string{p.member()}
	p.start()
	p.waitStatus("", serving)
}

// member is how other nodes are told of p by --member.
func (p *process) member() string { return p.name + ",api=" + p.api + ",peer=" + p.peer }

// TestProcessRecoverToThree destroys two of three nodes under load, recovers the third and makes three of it again. What
// the survivor had is there, revisions go on, and a node of the old cluster is refused.
func TestProcessRecoverToThree(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	l := startLoad(t, c.client(), 8)
	l.wait(300)
	survivor := c.others(c.leader())[0]
	var lost []*process
	for _, p := range c.others(survivor) {
		lost = append(lost, p)
		p.kill()
	}
	l.abandon()
	l.stop()
	reports, events, revision := survivor.held()
	if len(reports) == 0 || events < 200 {
		t.Fatalf("the survivor holds %d reports and %d events", len(reports), events)
	}
	survivor.kill()

	// The directory of one of the two is found again later.
	old := lost[1]
	kept := old.data + ".kept"
	if err := os.Rename(old.data, kept); err != nil {
		t.Fatal(err)
	}
	lost[0].wipe()

	c.recover(survivor)
	now, eventsNow, _ := survivor.held()
	for name, was := range reports {
		if is := now[name]; is.GetRevision() < was.GetRevision() {
			t.Errorf("%s is at revision %d, the survivor had %d", name, is.GetRevision(), was.GetRevision())
		}
	}
	if eventsNow < events {
		t.Errorf("there are %d events, the survivor had %d", eventsNow, events)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if res, err := c.client().Set(ctx, "after", serving, client.WriteOptions{}); err != nil || res.GetRevision() <= revision {
		t.Fatalf("a write after it: revision %d, %v; the survivor was at %d", res.GetRevision(), err, revision)
	}

	c.levelRisen()
	for _, p := range lost {
		p.members, p.join = nil, []string{survivor.peer}
		c.add(p)
	}
	c.set("three-again", notServing)
	c.caughtUp()
	if out := c.run("verify"); !strings.Contains(out, "all 3 members hold the same registry") {
		t.Errorf("rollcall verify: %s", out)
	}

	// The old directory, started as it was: it is of no cluster that goes on, and it disturbs none.
	ghost := c.newNode(old.name)
	ghost.data = kept
	ghost.members = []string{survivor.member(), lost[0].member(), ghost.member()}
	before := c.status(survivor)
	ghost.start()
	eventually(t, "the old cluster's node to be refused", func(context.Context) bool {
		return !ghost.running() || strings.Contains(ghost.log.String(), "cluster") && strings.Contains(ghost.log.String(), before.GetClusterId())
	})
	_, err := c.client().AddMember(ctx, client.MemberChange{Name: "n9", PeerAddress: ghost.peer}, client.WriteOptions{})
	var e *client.Error
	if !errors.As(err, &e) || e.Written != client.WrittenNo {
		t.Errorf("a node of the old cluster is added: %v", err)
	}
	c.set("undisturbed", serving)
	if after := c.status(survivor); after.GetTerm() != before.GetTerm() || after.GetLeader() != before.GetLeader() {
		t.Errorf("a node of the old cluster disturbed: leader %s of term %d, was %s of term %d", after.GetLeader(), after.GetTerm(), before.GetLeader(), before.GetTerm())
	}
}

func (c *processes) status(p *process) *rollcallv1.GetStatusResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := rollcallv1.NewClusterClient(p.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
	if err != nil {
		c.t.Fatalf("status of %s: %v", p.name, err)
	}
	return res
}
