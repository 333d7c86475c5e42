package cluster_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// oneWay has nobody connect to a node, which can connect to all; or, with only, one node not.
func (c *virtual) oneWay(how memnet.Cut, to *virtualNode, only ...*virtualNode) {
	if len(only) == 0 {
		only = c.others(to)
	}
	for _, from := range only {
		c.net.OneWay(how, from.cfg.Name, to.cfg.Name)
	}
}

// askAll is GetStatus as callers see it.
func (n *virtualNode) askAll() *rollcallv1.GetStatusResponse {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	res, err := rollcallv1.NewClusterClient(n.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	if err != nil {
		n.c.t.Fatalf("status of %s: %v", n.cfg.Name, err)
	}
	return res
}

// setThrough writes through one node, once.
func (n *virtualNode) setThrough(service string) error {
	cl := n.c.client(n)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	_, err := cl.Set(ctx, service, serving, client.WriteOptions{})
	return err
}

func problemWith(res *rollcallv1.GetStatusResponse, text string) bool {
	return slices.ContainsFunc(res.GetProblems(), func(p string) bool { return strings.Contains(p, text) })
}

// untilSeconds is until for what takes seconds and is costly to ask.
func (c *virtual) untilSeconds(what string, holds func() bool) time.Duration {
	c.t.Helper()
	return c.until(what, func() bool {
		time.Sleep(500 * time.Millisecond)
		return holds()
	})
}

// listedOthers are the names of the other two.
func listedOthers(c *virtual, n *virtualNode) string {
	rest := c.others(n)
	return rest[0].cfg.Name + " and " + rest[1].cfg.Name
}

var oneWayCuts = map[string]memnet.Cut{"links stall": memnet.Stall, "links refuse": memnet.Refuse}

// TestVirtualLeaderCutOneWay: a leader that nobody can connect to was leader for ever, and writes through the others
// failed. It hands over, then writes go through all but it at least; and each node says in the meantime what is wrong.
func TestVirtualLeaderCutOneWay(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, how := range oneWayCuts {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				old := c.leader()
				rest := c.others(old)
				time.Sleep(20 * time.Second)
				start := time.Now()
				c.oneWay(how, old)
				// All the time, a write goes through a node that says so.
				named := false
				for handed := false; !handed; {
					for _, n := range rest {
						res := n.askAll()
						handed = handed || res.GetLeader() != old.cfg.Name && res.GetLeader() != ""
						if named = named || problemWith(res, "cannot connect to "+old.cfg.Name); problemWith(res, "cannot connect to "+old.cfg.Name) && res.GetLeader() == old.cfg.Name && res.GetWritable() {
							t.Errorf("%s says that writes go: %v", n.cfg.Name, res.GetProblems())
						}
					}
					if time.Since(start) > time.Minute {
						t.Fatalf("%s leads for a minute: %v", old.cfg.Name, rest[0].askAll())
					}
					time.Sleep(time.Second)
				}
				if !named {
					t.Error("no node has named the cut")
				}
				t.Logf("another led after %s", time.Since(start))
				next := c.leader(rest...)
				for _, n := range rest {
					if err := n.setThrough("payments"); err != nil {
						t.Errorf("a write through %s: %v", n.cfg.Name, err)
					}
					if res := n.askAll(); !res.GetWritable() || res.GetLeader() != next.cfg.Name {
						t.Errorf("%s says %v", n.cfg.Name, res)
					}
				}
				// The old leader hears nobody, but it can ask.
				time.Sleep(10 * time.Second)
				if err := old.setThrough("orders"); err != nil {
					t.Errorf("a write through the old leader: %v", err)
				}
				res := old.askAll()
				if !res.GetWritable() || !problemWith(res, "cannot connect to "+old.cfg.Name+" ("+old.cfg.Members[0].PeerAddress[:len("127.0.0.")]) || !problemWith(res, old.cfg.Name+" gets no changes") {
					t.Errorf("the old leader says %v", res)
				}
				if got := old.check(rollcallv1.OwnReady); got != notServing {
					t.Errorf(`"" of a node that misses changes: %s`, got)
				}
				term := next.status().GetTerm()
				c.net.Heal()
				c.waitReady()
				c.caughtUp()
				if got := next.status().GetTerm(); got != term {
					t.Errorf("healing moved leadership: term %d became %d", term, got)
				}
				c.untilSeconds("no problem to be left", func() bool { return len(old.askAll().GetProblems()) == 0 })
			})
		})
	}
}

// TestVirtualFollowerCannotConnect: a follower that cannot connect to the leader refuses writes at once, surely not
// written, and says why; as soon as the way is open it takes them.
func TestVirtualFollowerCannotConnect(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, how := range oneWayCuts {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				leader := c.leader()
				f := c.others(leader)[0]
				time.Sleep(20 * time.Second) // until then what was found of a node may be of before its start
				c.oneWay(how, leader, f)
				took := c.untilSeconds("it to know", func() bool {
					return !f.status().GetWritable() && problemWith(f.status(), "cannot connect to "+leader.cfg.Name)
				})
				if took > 30*time.Second {
					t.Errorf("it knew after %s", took)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				start := time.Now()
				_, err := rollcallv1.NewAdminClient(f.dial()).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "payments", Status: serving.Enum()})
				if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not written: "+f.cfg.Name+" cannot connect to leader "+leader.cfg.Name+" (127.0.0.") {
					t.Errorf("a write: %v", err)
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("it took %s", took)
				}
				res := f.askAll()
				if res.GetWritable() || !problemWith(res, f.cfg.Name+" cannot connect to "+leader.cfg.Name) {
					t.Errorf("it says %v", res)
				}
				if res := leader.askAll(); !res.GetWritable() || !problemWith(res, f.cfg.Name+" cannot connect to "+leader.cfg.Name) {
					t.Errorf("the leader says %v", res)
				}
				if got := f.check(rollcallv1.OwnReads); got != serving {
					t.Errorf("its reads: %s", got)
				}
				// A client that knows the others goes on through them.
				cl := c.client(f, c.others(leader)[1])
				defer cl.Close()
				start = time.Now()
				if _, err := cl.Set(ctx, "payments", serving, client.WriteOptions{}); err != nil || time.Since(start) > time.Second {
					t.Errorf("a client of two nodes: %v after %s", err, time.Since(start))
				}
				c.net.Heal()
				took = c.untilSeconds("it to take writes", func() bool { return f.askAll().GetWritable() && f.setThrough("orders") == nil })
				if took > 10*time.Second {
					t.Errorf("it took writes %s after healing", took)
				}
			})
		})
	}
}

// TestVirtualFollowerCutOneWay: a follower that nobody can connect to hears no leader. It disturbs nobody, says why it is
// not ready, and brings writes to the leader, which it can connect to.
func TestVirtualFollowerCutOneWay(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, how := range oneWayCuts {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				leader := c.leader()
				f := c.others(leader)[0]
				term := leader.status().GetTerm()
				c.oneWay(how, f)
				// As long as nothing changes it shows all there is: the leader says so, whom it can ask.
				if err := leader.setThrough("orders"); err != nil {
					t.Fatal(err)
				}
				c.untilSeconds("it to know", func() bool {
					return f.check(rollcallv1.OwnReady) == notServing && f.status().GetLeader() == leader.cfg.Name
				})
				if err := f.setThrough("payments"); err != nil {
					t.Errorf("a write: %v", err)
				}
				if got := leader.check("payments"); got != serving {
					t.Errorf("the leader shows %s", got)
				}
				for _, n := range c.nodes {
					c.untilSeconds(n.cfg.Name+" to name the cut", func() bool {
						res := n.askAll()
						return problemWith(res, listedOthers(c, f)+" cannot connect to "+f.cfg.Name+" (127.0.0.") && problemWith(res, f.cfg.Name+" gets no changes")
					})
				}
				if res := f.askAll(); !res.GetWritable() {
					t.Errorf("it says %v", res)
				}
				time.Sleep(time.Minute)
				if got := leader.status(); got.GetTerm() != term || got.GetLeader() != leader.cfg.Name {
					t.Errorf("term %d became %d", term, got.GetTerm())
				}
				c.net.Heal()
				c.waitReady()
				c.caughtUp()
				if got := leader.status().GetTerm(); got != term {
					t.Errorf("healing moved leadership: term %d became %d", term, got)
				}
			})
		})
	}
}
