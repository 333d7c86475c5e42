package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode"
)

// members are those that a node shows, of all that it asks.
func (n *virtualNode) members() []*rollcallv1.MemberStatus {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := rollcallv1.NewClusterClient(n.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	if err != nil {
		n.c.t.Fatalf("status of %s: %v", n.cfg.Name, err)
	}
	return resp.GetMembers()
}

// untilMember waits until a node shows a member in a phase.
func (c *virtual) untilMember(n *virtualNode, name string, phase rollcallv1.MemberPhase) {
	c.t.Helper()
	c.until(fmt.Sprintf("%s to show %s as %s", n.cfg.Name, name, phase), func() bool {
		return slices.ContainsFunc(n.members(), func(m *rollcallv1.MemberStatus) bool {
			return m.GetMember().GetName() == name && m.GetMember().GetPhase() == phase
		})
	})
}

// atLevelOfMembers waits until the cluster's members may change.
func (c *virtual) atLevelOfMembers() {
	c.t.Helper()
	c.until("the level at which members change", func() bool {
		return c.nodes[0].status().GetLevel() >= logv1.LevelMembers
	})
}

// waitsFor waits until a node says that it waits for a command.
func (c *virtual) waitsFor(n *virtualNode, command string) {
	c.t.Helper()
	c.until(n.cfg.Name+" to say what to run", func() bool {
		return strings.Contains(strings.Join(n.status().GetProblems(), "\n"), command)
	})
	if got := n.check(""); got != notServing {
		c.t.Errorf("%s waits and says \"\" %s", n.cfg.Name, got)
	}
}

// TestVirtualNodeJoinsAndIsRemoved: whole nodes. It waits, is added, holds what the cluster does, and is removed: it ends
// itself, says so at each start, and the others forget it.
func TestVirtualNodeJoinsAndIsRemoved(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.atLevelOfMembers()
		cl := c.client()
		defer cl.Close()
		ctx := context.Background()
		for i := range 20 {
			if _, err := cl.Set(ctx, fmt.Sprintf("team/s%d", i), serving, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		n4 := c.joining("n4", 4)
		n4.start()
		defer func() {
			n4.stop()
			n4.dial().Close()
		}()
		c.waitsFor(n4, `run "rollcall member add n4 --peer 127.0.0.4:7601"`)
		if _, err := cl.AddMember(ctx, client.MemberChange{Name: "n4", PeerAddress: "127.0.0.4:7601"}, client.WriteOptions{Reason: "grow"}); err != nil {
			t.Fatal(err)
		}
		c.untilMember(n4, "n4", rollcallv1.MemberPhase_MEMBER_PHASE_VOTER)
		c.until("n4 to be ready", func() bool { return n4.check("") == serving })
		if got := n4.services(); len(got) != 20 {
			t.Errorf("n4 holds %d services", len(got))
		}

		n2 := c.nodes[1]
		if _, err := cl.RemoveMember(ctx, client.MemberChange{Name: "n2"}, client.WriteOptions{Reason: "shrink"}); err != nil {
			t.Fatal(err)
		}
		var failed error
		c.until("n2 to end itself", func() bool {
			select {
			case failed = <-n2.node.Failed():
				return true
			default:
				return false
			}
		})
		removed, ok := errors.AsType[*raftnode.RemovedError](failed)
		if !ok || !strings.Contains(failed.Error(), "), and the data directory "+n2.cfg.DataDir+" is never a member again; ") {
			t.Fatalf("n2 ended with %v", failed)
		}
		n2.stop()
		if again, err := node.Open(ctx, n2.cfg); err == nil || !strings.Contains(err.Error(), removed.Error()) {
			t.Errorf("opened again: %v, %v", again, err)
		}
		time.Sleep(time.Minute)
		for _, n := range []*virtualNode{c.nodes[0], c.nodes[2], n4} {
			if len(n.members()) != 3 || slices.ContainsFunc(n.members(), func(m *rollcallv1.MemberStatus) bool { return m.GetMember().GetName() == "n2" }) {
				t.Errorf("%s still shows n2", n.cfg.Name)
			}
		}
		if _, err := cl.Set(ctx, "team/after", serving, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// TestVirtualWipedFounderIsReplaced: the first by name loses its disk and is started as before. It waits, is replaced by
// one command, and the old list of members does it no harm; nor a restart of all with that list.
func TestVirtualWipedFounderIsReplaced(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.atLevelOfMembers()
		cl := c.client()
		defer cl.Close()
		ctx := context.Background()
		if _, err := cl.Set(ctx, "team/before", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.caughtUp()
		n1 := c.nodes[0]
		n1.stop()
		if err := os.RemoveAll(n1.cfg.DataDir); err != nil {
			t.Fatal(err)
		}
		n1.start()
		c.waitsFor(n1, `run "rollcall member replace n1"`)
		rest := c.client(c.nodes[1:]...)
		defer rest.Close()
		if _, err := rest.ReplaceMember(ctx, client.MemberChange{Name: "n1"}, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.untilMember(c.nodes[1], "n1", rollcallv1.MemberPhase_MEMBER_PHASE_VOTER)
		c.waitReady()
		c.caughtUp()
		if _, ok := n1.services()["team/before"]; !ok {
			t.Error("n1 lacks what was written before")
		}
		for _, n := range c.nodes {
			n.stop()
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		if _, err := cl.Set(ctx, "team/after", serving, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		c.caughtUp()
	})
}
