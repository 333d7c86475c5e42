package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/store"
)

// newer is a node whose binary can change members, in a cluster that is at that level.
var newer = testOptions{level: logv1.LevelMembers, maxLevel: logv1.LevelMembers}

// openNewer forms a cluster of three whose members may change.
func openNewer(t *testing.T) (*testCluster, *testNode) {
	t.Helper()
	return openThree(t, map[string]testOptions{"n1": newer, "n2": newer, "n3": newer})
}

// joins is how a node is opened that waits to be made a member: at an address that its name gives, with the addresses of
// some members.
func joins(name, address string, seeds ...string) testOptions {
	return testOptions{level: logv1.LevelMembers, maxLevel: logv1.LevelMembers, config: func(cfg *Config) {
		cfg.Members, cfg.PeerAddress, cfg.Join = nil, address, seeds
	}}
}

func (c *testCluster) seed(name string) string {
	for _, m := range c.members {
		if m.Name == name {
			return m.PeerAddress
		}
	}
	c.t.Fatalf("there is no %s", name)
	return ""
}

// belonging are the names of the open nodes that vote.
func (c *testCluster) belonging() []string {
	var names []string
	for name, n := range c.nodes {
		if slices.Contains(n.Status().Voters, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// propose has the leader do what a command says of the members.
func (c *testCluster) propose(cmd *logv1.Command) {
	c.t.Helper()
	if _, err := c.leader(c.belonging()...).Propose(c.t.Context(), cmd); err != nil {
		c.t.Fatal(err)
	}
}

// memberOf is what a node tells of itself to who makes it a member.
func memberOf(n *testNode) *logv1.Member {
	return &logv1.Member{Name: n.cfg.Node, PeerAddress: n.cfg.PeerAddress, DirectoryId: n.directoryID}
}

// votes waits until raft's configuration has a member, or has it no more: the reconciler makes it so.
func (c *testCluster) votes(name string, want bool) {
	c.t.Helper()
	for range 1200 {
		for _, other := range c.belonging() {
			if s := c.nodes[other].Status(); s.Leading && slices.Contains(s.Voters, name) == want {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%s votes: not %v within a minute", name, want)
}

// announce has each founder in the fold, as node/announce.go does.
func (c *testCluster) announce() {
	c.t.Helper()
	for _, m := range c.members {
		c.propose(&logv1.Command{Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{
			Name: m.Name, PeerAddress: m.PeerAddress, DirectoryId: c.nodes[m.Name].directoryID}}}})
	}
}

// caughtUp waits until a node has applied all that is written from now on.
func (c *testCluster) caughtUp(n *testNode) {
	c.t.Helper()
	var r testResult
	for try := 0; r.Index == 0; try++ {
		got, err := c.leader(c.belonging()...).Propose(c.t.Context(), command(fmt.Sprint("caught-up", try)))
		if err == nil {
			r = got.(testResult)
		} else if time.Sleep(10 * time.Millisecond); try > 100 {
			c.t.Fatal(err)
		}
	}
	if err := n.fold.WaitIndex(c.t.Context(), r.Index); err != nil {
		c.t.Fatal(err)
	}
}

// leadBy makes a voter lead that was added.
func (c *testCluster) leadBy(n *testNode, among ...string) {
	c.t.Helper()
	name := n.cfg.Node
	for try := 0; !n.Status().Leading; try++ {
		leader := c.leader(among...)
		err := leader.raft.Load().LeadershipTransferToServer(raft.ServerID(name), serveraddress.Of(name, n.directoryID)).Error()
		if time.Sleep(2 * time.Second); try > 50 {
			c.t.Fatalf("%s does not lead: %v", name, err)
		}
	}
}

// TestNodeJoins: it waits and says what to run, keeps its directory over restarts, and once it was added takes part:
// also with a leader that its Founding does not name.
func TestNodeJoins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openNewer(t)
		defer c.closeAll()
		c.announce()
		opt := joins("n4", "127.0.0.1:7641", c.seed("n2"))
		n4 := c.open("n4", opt)
		n4.neverForms(t)
		want := fmt.Sprintf(`n4 is not a member of cluster %s, to which n2 (127.0.0.1:7611) belongs; to make it one, run "rollcall member add n4 --peer 127.0.0.1:7641"`,
			leader.Status().ClusterID[:4])
		if got := n4.Status().Waiting; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		directory := n4.directoryID
		c.close("n4")
		n4 = c.open("n4", opt)
		if n4.directoryID != directory {
			t.Errorf("the directory %s became %s", directory, n4.directoryID)
		}
		c.propose(logv1.AddMemberCommand(memberOf(n4)))
		n4.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
		id := n4.dir.Identity()
		if !id.Joined || id.Roster == nil || len(id.Roster.Members) != 4 || id.Founding.ClusterID != leader.Status().ClusterID {
			t.Errorf("it noted %+v", id)
		}
		c.votes("n4", true)
		c.caughtUp(n4)
		if s := n4.Status(); !slices.Equal(s.Voters, []string{"n1", "n2", "n3", "n4"}) {
			t.Errorf("%+v", s)
		}
		// Another one joins when n4 leads: the founding of n5 does not name it.
		c.leadBy(n4, c.belonging()...)
		n5 := c.open("n5", joins("n5", "127.0.0.1:7651", c.seed("n3")))
		c.propose(logv1.AddMemberCommand(memberOf(n5)))
		n5.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
		c.votes("n5", true)
		c.caughtUp(n5)
		// A restart without --join's seeds, from what stands in identity.json.
		c.close("n5")
		n5 = c.open("n5", joins("n5", "127.0.0.1:7651", "127.0.0.1:9"))
		c.caughtUp(n5)
	})
}

// TestReplacedFounderNeverBootstraps: n1 is the first by name, so a founder with its name would write the first entry of a
// log. One that was killed after it had noted that it joined, and before its first entry, must not.
func TestReplacedFounderNeverBootstraps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		c.writeAnywhere("before")
		c.close("n1")
		c.wipe("n1")
		n1 := c.open("n1", newer) // with the old list of members
		n1.neverForms(t)
		if got := n1.Status().Waiting; !strings.HasSuffix(got, `start n1 with that one; if it is lost, run "rollcall member replace n1"`) {
			t.Error(got)
		}
		old := c.nodes["n2"].fold.Members()["n1"].GetDirectoryId()
		leader := c.leader("n2", "n3")
		if _, err := leader.Propose(t.Context(), logv1.ReplaceMemberCommand(memberOf(n1), old, false)); err != nil {
			t.Fatal(err)
		}
		n1.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
		c.close("n1")
		c.close("n2")
		c.close("n3")
		n1 = c.open("n1", newer) // alone: nobody tells it that the cluster runs
		time.Sleep(time.Minute)
		if s := n1.Status(); s.LastIndex > 0 || s.Term > 0 || !s.Formed || !n1.dir.Identity().Joined {
			t.Fatalf("it wrote the first entry of a log: %+v", s)
		}
		c.open("n2", newer)
		c.open("n3", newer)
		c.leader("n2", "n3")
		c.votes("n1", true)
		c.caughtUp(n1)
		if got := n1.fold.requestIDs(); !strings.HasPrefix(got[0], "before") {
			t.Errorf("n1 applied %v", got)
		}
	})
}

// TestMemberThatWasAwayFindsItsWayBack: while it was away, or cut off, another member was replaced, and leads.
func TestMemberThatWasAwayFindsItsWayBack(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{true, false} {
		t.Run(fmt.Sprint("restarts ", restarts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := []string{"n1", "n2", "n3", "n4", "n5"}
				c := newTestCluster(t, names...)
				defer c.closeAll()
				for _, name := range names {
					c.open(name, newer)
				}
				c.announce()
				c.writeAnywhere("before")
				if leader := c.leader(); leader.cfg.Node == "n1" {
					if err := leader.TransferLeadership(t.Context()); err != nil {
						t.Fatal(err)
					}
					c.leader()
				}
				if restarts {
					c.close("n1")
				} else {
					c.network.Isolate(memnet.Stall, "n1")
				}
				lost := c.nodes["n3"].directoryID
				c.close("n3")
				c.wipe("n3")
				rest := []string{"n2", "n4", "n5"}
				c.leader(rest...)
				n3 := c.open("n3", joins("n3", c.seed("n3"), c.seed("n2")))
				leader := c.leader(rest...)
				if _, err := leader.Propose(t.Context(), logv1.ReplaceMemberCommand(memberOf(n3), lost, false)); err != nil {
					t.Fatal(err)
				}
				n3.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
				c.votes("n3", true)
				c.leadBy(n3, append(rest, "n3")...)
				written := n3.write(t, "while n1 was away")
				if restarts {
					c.open("n1", newer)
				} else {
					c.network.Heal()
				}
				n1 := c.nodes["n1"]
				if err := n1.fold.WaitIndex(t.Context(), written.Index); err != nil {
					t.Fatal(err)
				}
				if got := n1.await(t, "it follows n3", func(s Status) bool { return s.Leader == "n3" }); got.Role != RoleFollower {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestJoiningNodesThatHelpNobody: seeds that are the node itself, that belong to no cluster, or to two, and two nodes that
// wait with the same name.
func TestJoiningNodesThatHelpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, "n1", "n2")
		defer c.closeAll()
		waits := func(n *testNode, want string) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if got := n.Status().Waiting; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		n8 := c.open("n8", joins("n8", "127.0.0.1:7681", "127.0.0.1:7681"))
		waits(n8, "waiting for a member of a cluster: each address of --join is this node's own")
		n9 := c.open("n9", joins("n9", "127.0.0.1:7691", "127.0.0.1:7691", "127.0.0.1:7681", "127.0.0.1:7"))
		waits(n9, "waiting for a member of a cluster at 127.0.0.1:7681, 127.0.0.1:7: n8 (127.0.0.1:7681) belongs to no cluster yet; 127.0.0.1:7: connection refused")

		alone := func(i int) testOptions {
			return testOptions{level: logv1.LevelMembers, maxLevel: logv1.LevelMembers, config: func(cfg *Config) { cfg.Members = c.members[i : i+1] }}
		}
		n1, n2 := c.open("n1", alone(0)), c.open("n2", alone(1))
		n1.await(t, "it leads", func(s Status) bool { return s.Leading })
		_, err := c.tryOpen("n7", joins("n7", "127.0.0.1:7671", "127.0.0.1:7601", "127.0.0.1:7611"))
		want := fmt.Sprintf("n1 (127.0.0.1:7601) belongs to cluster %s, but n2 (127.0.0.1:7611) belongs to cluster %s", n1.Status().ClusterID[:4], n2.Status().ClusterID[:4])
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}

		// Two with one name, on two machines: the cluster takes one directory, the other waits on and harms nobody.
		first := c.open("n6", joins("n6", "127.0.0.1:7661", "127.0.0.1:7601"))
		delete(c.nodes, "n6")
		opt := joins("n6", "127.0.0.1:7662", "127.0.0.1:7601", "127.0.0.1:7661")
		opt.path = c.path("other")
		second := c.open("n6", opt)
		defer second.closeBoth(t, first)
		delete(c.nodes, "n6")
		if _, err := n1.Propose(t.Context(), logv1.AddMemberCommand(memberOf(second))); err != nil {
			t.Fatal(err)
		}
		second.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
		waits(first, fmt.Sprintf(`cluster %s knows n6 by another data directory than %s, which is empty; start n6 with that one; if it is lost, run "rollcall member replace n6 --peer 127.0.0.1:7661"`,
			n1.Status().ClusterID[:4], c.path("n6")))
	})
}

func (n *testNode) closeBoth(t *testing.T, other *testNode) {
	for _, n := range []*testNode{n, other} {
		if err := n.Node.Close(); err != nil {
			t.Error(err)
		}
		n.closeStores(t)
	}
}

// TestJoiningOutlivesAFullDisk: identity.json cannot be written when the node was added. It fails, and joins with the same
// directory when there is room.
func TestJoiningOutlivesAFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		opt := joins("n4", "127.0.0.1:7641", c.seed("n1"))
		n4 := c.open("n4", opt)
		full := blockIdentity(t, c.path("n4"))
		c.propose(logv1.AddMemberCommand(memberOf(n4)))
		select {
		case err := <-n4.failures:
			if !strings.Contains(err.Error(), "identity.json") {
				t.Errorf("failed with %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it has not failed")
		}
		directory := n4.directoryID
		c.close("n4")
		full()
		n4 = c.open("n4", opt)
		if n4.directoryID != directory {
			t.Errorf("the directory %s became %s", directory, n4.directoryID)
		}
		c.votes("n4", true)
		c.caughtUp(n4)
	})
}

// TestOldLogMakesNoJoinerRefuseTheLeader: the log of a joiner names, at its beginning, members by directories that were
// replaced since. While it replays, what it was told when it joined counts.
func TestOldLogMakesNoJoinerRefuseTheLeader(t *testing.T) {
	founding := &store.Founding{ClusterID: "3f9a000000000000", Members: []store.FoundingMember{{Name: "n1", DirectoryID: "d1"}}}
	f := newTestFold()
	n := &Node{cfg: Config{Node: "n4", State: f}}
	n.founding.Store(founding)
	n.noted.Store(&store.Roster{Revision: 7, Members: []store.RosterMember{{Name: "n1", DirectoryID: "new"}, {Name: "n4", DirectoryID: "d4"}}})
	f.members["n1"] = announced("n1", "d1")
	f.revision = 3
	if got := n.view().Known; got["n1"] != "new" || got["n4"] != "d4" {
		t.Errorf("at revision 3 it knows %v", got)
	}
	f.members["n1"] = announced("n1", "newest")
	f.revision = 9
	if got := n.view().Known; got["n1"] != "newest" {
		t.Errorf("at revision 9 it knows %v", got)
	}
}

// TestRosterIsWrittenWhenMembersChange: not while they are those of the founding, so that an older binary can read
// identity.json.
func TestRosterIsWrittenWhenMembersChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		for _, n := range c.nodes {
			c.caughtUp(n)
			if r := n.dir.Identity().Roster; r != nil {
				t.Errorf("%s wrote %+v", n.cfg.Node, r)
			}
		}
		full := blockIdentity(t, c.path("n1"))
		n4 := c.open("n4", joins("n4", "127.0.0.1:7641", c.seed("n3")))
		c.propose(logv1.AddMemberCommand(memberOf(n4)))
		for _, name := range threeNames {
			c.caughtUp(c.nodes[name])
		}
		time.Sleep(time.Second)
		for name, want := range map[string]bool{"n1": false, "n2": true, "n3": true} {
			if r := c.nodes[name].dir.Identity().Roster; (r != nil) != want {
				t.Errorf("%s wrote %+v", name, r)
			}
		}
		full()
		time.Sleep(2 * notePause) // it is tried again
		if r := c.nodes["n1"].dir.Identity().Roster; r == nil || len(r.Members) != 4 {
			t.Errorf("n1 wrote %+v", r)
		}
	})
}

// TestListThatDiffersIsWarnedOf: once, and the node starts.
func TestListThatDiffersIsWarnedOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := openNewer(t)
		defer c.closeAll()
		c.announce()
		n4 := c.open("n4", joins("n4", "127.0.0.1:7641", c.seed("n3")))
		c.propose(logv1.AddMemberCommand(memberOf(n4)))
		n4.await(t, "it belongs to the cluster", func(s Status) bool { return s.Formed })
		c.votes("n4", true)
		c.propose(logv1.RemoveMemberCommand("n3", c.nodes["n3"].directoryID, false))
		removedError(t, c.nodes["n3"])
		c.close("n3")
		c.caughtUp(c.nodes["n2"])
		c.close("n2")
		logged := &logBuffer{}
		opt := newer
		opt.config = func(cfg *Config) { cfg.Logger = textLog(logged) }
		n2 := c.open("n2", opt)
		c.caughtUp(n2)
		time.Sleep(time.Minute)
		const want = `differs="[n3 is listed and is no member n4 at 127.0.0.1:7641 is a member and not listed]"`
		if got := logged.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, want) {
			t.Errorf("want one warning with %s, got:\n%s", want, got)
		}
		if slices.ContainsFunc(n2.Status().Peers, func(p PeerStatus) bool { return p.Name == "n3" }) {
			t.Errorf("it shows a member that is none: %+v", n2.Status().Peers)
		}
	})
}

func textLog(to *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// blockIdentity lets no identity.json be written, as a full disk does, until the returned function is called.
func blockIdentity(t *testing.T, path string) (unblock func()) {
	t.Helper()
	name := filepath.Join(path, "identity.json")
	if err := errors.Join(os.Rename(name, name+".kept"), os.MkdirAll(filepath.Join(name, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.RemoveAll(name), os.Rename(name+".kept", name)); err != nil {
			t.Fatal(err)
		}
	}
}
