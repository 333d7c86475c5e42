package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

// clocks are the wall clocks of a cluster's nodes: how far each is ahead, in nanoseconds.
type clocks map[string]*atomic.Int64

// skewable gives each node a clock of its own.
func skewable(cfg *node.Config, all clocks) {
	ahead := &atomic.Int64{}
	all[cfg.Name] = ahead
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
}

// withClocks runs test with a cluster that is ready and whose nodes have measured each other's clocks.
func withClocks(t *testing.T, size int, configure func(*node.Config), test func(t *testing.T, c *virtual, all clocks)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		all := clocks{}
		c := newVirtual(t, size, func(cfg *node.Config) {
			skewable(cfg, all)
			if configure != nil {
				configure(cfg)
			}
		})
		defer c.close()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		time.Sleep(15 * time.Second)
		test(t, c, all)
	})
}

// wantHistory wants every event from revision 1 on, each stamped with about the true time.
func (c *virtual) wantHistory(when string, began time.Time) {
	c.t.Helper()
	revision := c.caughtUp()
	for _, n := range c.nodes {
		cl := c.client(n)
		next := int64(1)
		for e, err := range cl.ListEvents(context.Background(), client.ListEventsOptions{From: 1}) {
			if err != nil {
				c.t.Errorf("%s, on %s: %v", when, n.cfg.Name, err)
				break
			}
			if at := e.GetTime().AsTime(); at.Before(began) || at.After(time.Now().Add(time.Second)) {
				c.t.Errorf("%s: revision %d is stamped %s; it is %s, and the test began at %s", when, e.GetRevision(), at, time.Now().UTC(), began.UTC())
			}
			if e.GetRevision() != next {
				c.t.Errorf("%s, on %s: revision %d follows %d", when, n.cfg.Name, e.GetRevision(), next-1)
			}
			next = e.GetRevision() + 1
		}
		if next != revision+1 {
			c.t.Errorf("%s, on %s: the events end before revision %d; the newest is %d", when, n.cfg.Name, next, revision)
		}
		cl.Close()
	}
}

// oldestEvent is the first one that is kept.
func (c *virtual) oldestEvent() *rollcallv1.Event {
	c.t.Helper()
	cl := c.client()
	defer cl.Close()
	for e, err := range cl.ListEvents(context.Background(), client.ListEventsOptions{}) {
		if err != nil {
			c.t.Fatal(err)
		}
		return e
	}
	return nil
}

// clockProblems are what a node's status says of clocks.
func (n *virtualNode) clockProblems() (list []string) {
	for _, p := range n.status().GetProblems() {
		if strings.Contains(p, "clock") {
			list = append(list, p)
		}
	}
	return list
}

func (c *virtual) wantClockProblem(want ...string) {
	c.t.Helper()
	for _, n := range c.nodes {
		if got := n.clockProblems(); strings.Join(got, "; ") != strings.Join(want, "; ") {
			c.t.Errorf("status of %s: %q, want %q", n.cfg.Name, got, want)
		}
	}
}

// TestVirtualClockLeaps sets the clock of one node of three wrong for 14 s, under writes: no history is
// lost, a request id is remembered, log time does not move, and status names the member.
func TestVirtualClockLeaps(t *testing.T) {
	beside(t, ofVirtualTime)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name     string
		follower bool
		ahead    time.Duration
		problem  string
	}{
		{"the leader 60 days ahead", false, 60 * day, "its clock is 60 days ahead: check its time service"},
		{"the leader 60 days back", false, -60 * day, "its clock is 60 days behind: check its time service"},
		{"a follower 60 days ahead, which then leads", true, 60 * day, "its clock is 60 days ahead: check its time service"},
		{"a follower a second back, which then leads", true, -time.Second, "its clock is 1s behind: check its time service"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withClocks(t, 3, nil, func(t *testing.T, c *virtual, all clocks) {
				began := time.Now().Add(-time.Minute)
				wrong := c.leader()
				if tt.follower {
					wrong = c.others(wrong)[0]
				}
				s := serving
				done := &rollcallv1.SetServingStatusRequest{Service: "a", Status: &s, RequestId: "done"}
				first, err := c.nodes[0].set(done)
				if err != nil {
					t.Fatal(err)
				}
				write := func(what string) {
					t.Helper()
					st := []client.Status{serving, notServing}[time.Now().UnixNano()/int64(time.Millisecond)%2]
					for i := range 10 {
						n := c.nodes[i%3]
						if n.node == nil {
							continue
						}
						if _, err := n.set(&rollcallv1.SetServingStatusRequest{Service: fmt.Sprint("s", i), Status: &st, Reason: what + fmt.Sprint(time.Now())}); err != nil {
							t.Fatal(what, err)
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
				write("before")
				time.Sleep(20 * time.Second)
				all[wrong.cfg.Name].Store(int64(tt.ahead))
				write("wrong")
				if tt.follower {
					c.leader().stop()
					write("another leads")
					for _, n := range c.nodes {
						if n.node == nil {
							n.start()
						}
					}
					c.waitReady()
				}
				time.Sleep(12 * time.Second)
				c.wantClockProblem(wrong.cfg.Name + ": " + tt.problem)
				c.wantHistory("wrong", began)
				if got, err := c.nodes[1].set(done); err != nil || !proto.Equal(got, first) {
					t.Errorf("the request was done again: %v, %v; first %v", got, err, first)
				}
				all[wrong.cfg.Name].Store(0)
				time.Sleep(15 * time.Second)
				write("right again")
				c.wantClockProblem()
				c.wantHistory("right again", began)
				if got, err := c.nodes[2].set(done); err != nil || !proto.Equal(got, first) {
					t.Errorf("right again, the request was done again: %v, %v; first %v", got, err, first)
				}
				if tt.follower {
					return // the rest does not depend on who was wrong, and costs 6,000 heartbeats
				}
				// The window of request ids did not stop either: it ends after ten minutes.
				time.Sleep(10 * time.Minute)
				write("later")
				if got, err := c.nodes[2].set(done); err != nil || got.GetRevision() == first.GetRevision() {
					t.Errorf("ten minutes later the first answer is still given: %v, %v", got, err)
				}
			})
		})
	}
}

// TestVirtualTwoClocksLeap is the same with two of three.
func TestVirtualTwoClocksLeap(t *testing.T) {
	beside(t, ofVirtualTime)
	withClocks(t, 3, nil, func(t *testing.T, c *virtual, all clocks) {
		began := time.Now().Add(-time.Minute)
		s := serving
		done := &rollcallv1.SetServingStatusRequest{Service: "a", Status: &s, RequestId: "done"}
		first, err := c.nodes[0].set(done)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"n1", "n3"} {
			all[name].Store(int64(60 * 24 * time.Hour))
		}
		for range 30 {
			time.Sleep(time.Second)
			if got, err := c.nodes[1].set(done); err != nil || !proto.Equal(got, first) {
				t.Fatalf("the request was done again: %v, %v; first %v", got, err, first)
			}
		}
		c.wantClockProblem("n1: its clock is 60 days ahead: check its time service", "n3: its clock is 60 days ahead: check its time service")
		c.wantHistory("two are wrong", began)
	})
}

// TestVirtualClockOfOneMember: a step while it runs deletes nothing and is named. A start with a wrong clock
// deletes nothing for an hour. After a stop that truly was long, history ages after that hour.
func TestVirtualClockOfOneMember(t *testing.T) {
	beside(t, ofVirtualTime)
	const day = 24 * time.Hour
	withClocks(t, 1, nil, func(t *testing.T, c *virtual, all clocks) {
		n, ahead := c.nodes[0], all["n1"]
		s := serving
		write := func(name string) {
			t.Helper()
			if _, err := n.set(&rollcallv1.SetServingStatusRequest{Service: name, Status: &s, Reason: fmt.Sprint(time.Now())}); err != nil {
				t.Fatal(err)
			}
		}
		oldest := func() int64 {
			return c.oldestEvent().GetRevision()
		}
		for range 5 {
			write("a")
		}
		ahead.Store(int64(60 * day))
		time.Sleep(14 * time.Second)
		write("b")
		c.wantClockProblem("n1: its clock is 60 days ahead: check its time service")
		ahead.Store(0)
		time.Sleep(75 * time.Minute)
		write("c")
		c.wantClockProblem()
		if oldest() != 1 {
			t.Errorf("a step of the clock: the history begins at %d", oldest())
		}

		n.stop()
		ahead.Store(int64(60 * day))
		n.start()
		c.waitReady()
		time.Sleep(50 * time.Minute)
		if oldest() != 1 {
			t.Errorf("started with a wrong clock: the history begins at %d", oldest())
		}
		n.stop()
		ahead.Store(0)
		n.start()
		c.waitReady()
		time.Sleep(75 * time.Minute)
		if oldest() != 1 {
			t.Errorf("started with a wrong clock, then with the right one: the history begins at %d", oldest())
		}
	})
	withClocks(t, 1, nil, func(t *testing.T, c *virtual, all clocks) {
		n := c.nodes[0]
		s := []client.Status{serving, notServing}
		for i := range 5 {
			if _, err := n.set(&rollcallv1.SetServingStatusRequest{Service: "a", Status: &s[i%2]}); err != nil {
				t.Fatal(err)
			}
		}
		n.stop()
		time.Sleep(40 * day)
		n.start()
		c.waitReady()
		if _, err := n.set(&rollcallv1.SetServingStatusRequest{Service: "b", Status: &s[0]}); err != nil {
			t.Fatal(err)
		}
		c.wantClockProblem()
		time.Sleep(50 * time.Minute)
		if got := c.oldestEvent().GetRevision(); got != 1 {
			t.Errorf("50 minutes after a long stop the history begins at %d", got)
		}
		time.Sleep(20 * time.Minute)
		if e := c.oldestEvent(); e.GetRevision() == 1 || time.Since(e.GetTime().AsTime()) > 2*time.Hour {
			t.Errorf("70 minutes after a long stop the history begins with %v", e)
		}
	})
}
