package raftnode

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// answers has somebody answer each hello at an address with what change makes of a waiting node's, until the test ends.
func (c *testCluster) answers(address string, change func(h *peerv1.Hello)) net.Listener {
	c.t.Helper()
	l, err := c.network.Listen(address)
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := peerport.ReadHello(conn); err == nil {
				h := &peerv1.Hello{Protocol: 1, Node: "n9", Level: 2, Waiting: &peerv1.Waiting{}}
				change(h)
				_ = peerport.WriteHello(conn, h)
			}
			_ = conn.Close()
		}
	}()
	return l
}

// TestWhoIsProbedIsNotBelieved: the address of a node that is to be added comes with a request. Whoever answers there
// neither removes this node nor tells it who belongs to the cluster, whatever it knows.
func TestWhoIsProbedIsNotBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openNewer(t)
		defer c.closeAll()
		c.announce()
		for _, name := range []string{"n9", c.members[0].Name, leader.cfg.Node} {
			l := c.answers("127.0.0.1:7691", func(h *peerv1.Hello) {
				h.Node, h.Waiting, h.DirectoryId, h.ClusterId = name, nil, leader.directoryID, leader.Status().ClusterID
				h.Removed = &peerv1.Removed{Revision: 1 << 60, DirectoryId: leader.directoryID}
				h.Roster = &peerv1.Roster{Revision: 1 << 60, Members: []*peerv1.RosterMember{{Name: "n9", PeerAddress: "127.0.0.1:7691"}}}
			})
			if h, err := leader.ProbeAddress(t.Context(), "127.0.0.1:7691"); h == nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-leader.failures:
				t.Errorf("%s: the leader stopped: %v", name, err)
			default:
			}
			if r := leader.cfg.Directory.Identity().Roster; r != nil || strings.Contains(strings.Join(leader.others(), " "), "n9") {
				t.Errorf("%s: the leader took %v; others: %v", name, r, leader.others())
			}
		}
	})
}

// TestProbedDirectoryIsAnID: an id that no data directory has would go into the registry, and from there into no
// identity.json and no roster.
func TestProbedDirectoryIsAnID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, leader := openNewer(t)
		defer c.closeAll()
		for id, want := range map[string]string{
			"d4": "", "n4/d4": "", "0B6E2F0A-4C5E-4B58-9A49-2D9A9A6C9D11": "", "": "",
			"0b6e2f0a-4c5e-4b58-9a49-2d9a9a6c9d11": "0b6e2f0a-4c5e-4b58-9a49-2d9a9a6c9d11",
		} {
			l := c.answers("127.0.0.1:7691", func(h *peerv1.Hello) { h.DirectoryId = id })
			h, _ := leader.ProbeAddress(t.Context(), "127.0.0.1:7691")
			if h == nil || h.GetDirectoryId() != want {
				t.Errorf("%q: got %v, want the id %q", id, h, want)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
