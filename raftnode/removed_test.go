package raftnode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
)

func removedError(t *testing.T, n *testNode) *RemovedError {
	t.Helper()
	select {
	case err := <-n.failures:
		e, ok := errors.AsType[*RemovedError](err)
		if !ok {
			t.Fatalf("failed with a %T: %v", err, err)
		}
		return e
	case <-time.After(time.Minute):
		t.Fatalf("%s does not stop: %+v", n.cfg.Node, n.Status())
		return nil
	}
}

// TestRemovedMemberStops: a member that folds its own removal goes on until it counts no more, stops, and says so at each
// start. The others forget it.
func TestRemovedMemberStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		n3 := c.nodes["n3"]
		c.propose(logv1.RemoveMemberCommand("n3", n3.directoryID, false))
		e := removedError(t, n3)
		// By whom it knows only if it has folded its removal before another member told it.
		want := fmt.Sprintf("it was removed from cluster %s ", n3.Status().ClusterID[:4])
		if got := e.Error(); !strings.HasPrefix(got, want) || !strings.Contains(got, "), and the data directory "+c.path("n3")+" is never a member again; ") {
			t.Errorf("got %s\nwant %s…", got, want)
		}
		c.close("n3")
		for range 2 {
			if _, err := c.tryOpen("n3", newer); err == nil || err.Error() != e.Error() {
				t.Errorf("got  %v\nwant %v", err, e)
			}
		}
		time.Sleep(10 * time.Second)
		for _, name := range []string{"n1", "n2"} {
			s := c.nodes[name].Status()
			if slices.ContainsFunc(s.Peers, func(p PeerStatus) bool { return p.Name == "n3" }) {
				t.Errorf("%s has not forgotten n3: %+v", name, s.Peers)
			}
			if slices.ContainsFunc(s.Clocks, func(o ClockOffset) bool { return o.Member == "n3" }) {
				t.Errorf("%s has not forgotten the clock of n3: %+v", name, s.Clocks)
			}
			if _, known := c.nodes[name].view().Known["n3"]; known {
				t.Errorf("%s still knows n3", name)
			}
		}
	})
}

// TestRemovedMemberThatIsNeededStays: it was removed while another one is down, so its vote makes the majority. It goes on
// until the other one is back.
func TestRemovedMemberThatIsNeededStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		c.close("n2")
		n3 := c.nodes["n3"]
		c.propose(logv1.RemoveMemberCommand("n3", n3.directoryID, false))
		c.caughtUp(n3)
		time.Sleep(time.Minute)
		select {
		case err := <-n3.failures:
			t.Fatalf("it stopped, and with it all writes: %v", err)
		default:
		}
		c.writeAnywhere("with n3")
		c.open("n2", newer)
		removedError(t, n3)
		c.close("n3")
		c.writeAnywhere("without n3")
	})
}

// TestRemovedLeaderStops: it hands over, and the next one takes it out of raft's configuration without a word to it.
func TestRemovedLeaderStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		leader := c.leader()
		c.propose(logv1.RemoveMemberCommand(leader.cfg.Node, leader.directoryID, false))
		removedError(t, leader)
		c.close(leader.cfg.Node)
		c.writeAnywhere("after")
	})
}

// TestRemovalThatWasMissed: the old directory of a member that was replaced, or removed, comes back, or was cut off
// meanwhile. It is told, stops, and neither term nor leader change.
func TestRemovalThatWasMissed(t *testing.T) {
	t.Parallel()
	for _, replaced := range []bool{true, false} {
		for _, restarts := range []bool{true, false} {
			t.Run(fmt.Sprintf("replaced %v, restarts %v", replaced, restarts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := openNewer(t)
					defer c.closeAll()
					c.announce()
					c.writeAnywhere("before")
					old := c.nodes["n3"]
					c.network.Isolate(memnet.Stall, "n3")
					if restarts {
						c.close("n3")
					}
					leader := c.leader("n1", "n2")
					cmd := logv1.RemoveMemberCommand("n3", old.directoryID, false)
					if replaced {
						cmd = logv1.ReplaceMemberCommand(&logv1.Member{Name: "n3", DirectoryId: "0d3f6c3e-7c1c-4c8e-8a86-8a7a0f4be001", PeerAddress: "127.0.0.1:7691"}, old.directoryID, false)
					}
					if _, err := leader.Propose(t.Context(), cmd); err != nil {
						t.Fatal(err)
					}
					for slices.Contains(leader.Status().Voters, "n3") {
						time.Sleep(100 * time.Millisecond)
					}
					leader.write(t, "after")
					before := leader.Status()
					c.network.Heal()
					var text string
					if restarts {
						_, err := c.tryOpen("n3", newer)
						if e, ok := errors.AsType[*RemovedError](err); !ok {
							t.Fatalf("open: %v", err)
						} else {
							text = e.Error()
						}
					} else {
						text = removedError(t, old).Error()
					}
					want := fmt.Sprintf("it was removed from cluster %s (revision ", before.ClusterID[:4])
					next := `run "rollcall member add"`
					if replaced {
						next = "begins with 0d3f6c3e"
					}
					if !strings.HasPrefix(text, want) || !strings.HasSuffix(text, next) {
						t.Errorf("got  %s\nwant %s…%s", text, want, next)
					}
					time.Sleep(30 * time.Second)
					if now := c.leader("n1", "n2").Status(); now.Term != before.Term || now.Leader != before.Leader {
						t.Errorf("term and leader were %d %s, are %d %s", before.Term, before.Leader, now.Term, now.Leader)
					}
				})
			})
		}
	}
}

func TestRemovedErrorText(t *testing.T) {
	at := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	for want, e := range map[string]*RemovedError{
		`it was removed from cluster 3f9a by cert:ops at 2026-11-29T03:00:00Z (revision 9, disk), and the data directory /data is never a member again; the data directory that took its place begins with 0d3f6c3e`: {
			Cluster: "3f9a0000", Directory: "/data", Removal: store.Removal{Revision: 9, Time: at, Actor: "cert:ops", Reason: "disk", ReplacedBy: "0d3f6c3e-7c1c-4c8e-8a86-8a7a0f4be001"}},
		`it was removed from cluster 3f9a (revision 9), and the data directory /data is never a member again; to make the node a member again, start it with an empty data directory and --join, and run "rollcall member add"`: {
			Cluster: "3f9a0000", Directory: "/data", Removal: store.Removal{Revision: 9}},
		`it was removed from its cluster (revision 9), and the data directory /data is never a member again; to make the node a member again, start it with an empty data directory and --join, and run "rollcall member add"`: {
			Directory: "/data", Removal: store.Removal{Revision: 9}},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
