package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node"
)

// memberRecords are clusters whose members are changed in the registry; nobody runs the new ones.
type memberRecords struct{ notes }

// command sends a command of members from a follower to the leader.
func (c *memberRecords) command(cmd *logv1.Command) *logv1.Result {
	c.t.Helper()
	leader := c.leader()
	from := c.others(leader)[0]
	conn, err := grpc.NewClient("passthrough:///leader", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return from.node.DialPeer(ctx, leader.cfg.Name) }))
	must(c.t, err)
	defer conn.Close()
	cmd.Actor, cmd.Reason = &logv1.Actor{Name: "ann"}, "test"
	answer, err := forward(context.Background(), peerv1.NewPeerClient(conn), cmd)
	must(c.t, err)
	if r := answer.GetResult().GetRefusal(); r != nil {
		c.t.Fatalf("%v: %v", cmd, r)
	}
	return answer.GetResult()
}

// members requires every node to hold these members and removed ones, as of the same revision.
func (c *memberRecords) members(want string) {
	c.t.Helper()
	c.caughtUp()
	for _, n := range c.nodes {
		f := c.fold(n)
		var have []string
		f.ListRecords(logv1.Kind_KIND_MEMBER, "", func(key string, v fsm.Value) bool {
			have = append(have, fmt.Sprint(key, " ", v.(*logv1.Member).GetJoined()))
			return true
		})
		f.ListRecords(logv1.Kind_KIND_REMOVED_MEMBER, "", func(key string, v fsm.Value) bool {
			have = append(have, fmt.Sprint("-", key, v.(*logv1.RemovedMember).GetReplacedBy()))
			return true
		})
		if got := strings.Join(have, ", "); got != want || f.MembersRevision() != c.fold(c.nodes[0]).MembersRevision() {
			c.t.Errorf("%s holds %s as of %d, want %s", n.cfg.Name, got, f.MembersRevision(), want)
		}
		if n.mismatched() != 0 {
			c.t.Errorf("%s saw other state hashes", n.cfg.Name)
		}
		if s, compared, err := f.ScrubRegistryFile(context.Background(), 1); err != nil || !compared || !s.Agrees() {
			c.t.Errorf("a scrub of %s: %+v, %v", n.cfg.Name, s, err)
		}
	}
}

// TestVirtualMemberRecords: who is a member and who was outlives compaction, restarts and a snapshot for a follower that
// was away, and is right on disk. A new cluster from a backup has none of it.
func TestVirtualMemberRecords(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		c := &memberRecords{notes{kinds: fsm.DefaultKinds(), folds: map[string]*fsm.FSM{}}}
		c.virtual = newVirtual(t, 3, c.configure)
		defer func() { c.close() }()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.until("the level to rise", func() bool { return c.fold(c.leader()).Level() >= logv1.LevelMembers })
		replica := func(name, directory string) *logv1.Member {
			return &logv1.Member{Name: name, ApiAddress: "10.0.0.99:1", PeerAddress: "10.0.0.99:2", DirectoryId: directory, Level: logv1.LevelMembers, Replica: true}
		}
		c.caughtUp()
		away := c.others(c.leader())[1]
		away.stop()
		c.command(logv1.AddMemberCommand(replica("r1", "e1")))
		c.command(logv1.AddMemberCommand(replica("r2", "e2")))
		c.command(logv1.ReplaceMemberCommand(replica("r1", "f1"), "", false))
		removal := c.command(logv1.RemoveMemberCommand("r2", "", false))
		cl := c.client(c.others(away)...)
		for i := range 120 {
			c.set(cl, fmt.Sprint("s/", i%3), []client.Status{serving, notServing}[i/3%2])
		}
		c.until("the history to be compacted", func() bool { return c.fold(c.leader()).Horizon() > removal.GetRevision() })
		cl.Close()
		away.start()
		c.waitReady()
		const want = "n1 false, n2 false, n3 false, r1 true, -e1f1, -e2"
		c.members(want)

		var backup bytes.Buffer
		cl = c.client()
		_, err := cl.ExportSnapshot(context.Background(), &backup, client.ExportOptions{})
		must(t, err)
		cl.Close()
		verified := func(n *virtualNode, members, removed int) {
			t.Helper()
			checks, err := node.VerifyData(n.cfg.DataDir)
			must(t, err)
			for _, check := range checks {
				if len(check.Problems) > 0 {
					t.Errorf("%s of %s: %q", check.Name, n.cfg.Name, check.Problems)
				}
				if check.Name == "registry" && (!strings.Contains(check.Looked, fmt.Sprintf(" %d members,", members)) || !strings.Contains(check.Looked, fmt.Sprintf(" %d removed members;", removed))) {
					t.Errorf("verify of %s looked at %s", n.cfg.Name, check.Looked)
				}
			}
		}
		for _, n := range c.nodes {
			n.stop()
			verified(n, 4, 2)
			n.start()
			c.waitReady()
		}
		c.command(logv1.PromoteMemberCommand("r1"))
		c.members(want)
		c.close()

		file := filepath.Join(t.TempDir(), "backup")
		must(t, os.WriteFile(file, backup.Bytes(), 0o600))
		c.virtual, c.folds = newVirtual(t, 3, c.configure), map[string]*fsm.FSM{}
		token := ""
		for _, n := range c.nodes {
			restored, err := node.Restore(file, n.cfg, token)
			must(t, err)
			token = restored.Token
			verified(n, 0, 0)
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.members("n1 false, n2 false, n3 false")
		c.command(logv1.AddMemberCommand(replica("r2", "e2"))) // of the old cluster: this one knows nothing of it
		c.members("n1 false, n2 false, n3 false, r2 true")
		for _, n := range c.nodes {
			n.stop()
			verified(n, 4, 0)
		}
	})
}
