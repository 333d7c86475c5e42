package server

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

const (
	joiningPhase = rollcallv1.MemberPhase_MEMBER_PHASE_JOINING
	replicaPhase = rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	leavingPhase = rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING
)

// alterEverywhere changes a member as all nodes know it.
func (c *testCluster) alterEverywhere(name string, change func(*rollcallv1.Member)) {
	for _, n := range c.nodes {
		n.agreement.change(func(st *NodeStatus) {
			st.Members = slices.Clone(st.Members)
			for i, m := range st.Members {
				if m.GetName() == name {
					st.Members[i] = proto.CloneOf(m)
					change(st.Members[i])
				}
			}
		})
	}
}

// TestProblemsOfMembers: quorums are of voters. What a change of members waits for is told by every node, as the leader
// knows it.
func TestProblemsOfMembers(t *testing.T) {
	is := func(phase rollcallv1.MemberPhase, detail string) func(*rollcallv1.Member) {
		return func(m *rollcallv1.Member) {
			m.Phase, m.PhaseDetail, m.Voter = phase, detail, phase == leavingPhase
		}
	}
	leaderSays := func(c *testCluster, name, detail string) {
		c.nodes["n2"].agreement.change(func(st *NodeStatus) {
			for i, m := range st.Members {
				if m.GetName() == name {
					st.Members[i] = proto.CloneOf(m)
					st.Members[i].PhaseDetail = detail
				}
			}
		})
	}
	for name, tt := range map[string]struct {
		nodes    int
		prepare  func(c *testCluster)
		later    time.Duration
		problems []string
		details  map[string]string
	}{
		"a replica is away": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(replicaPhase, ""))
			c.refuseDials("n4", errRefused)
		}, 0, []string{"n4 (replica): connection refused"}, nil},
		"a voter is away, replicas do not count": {5, func(c *testCluster) {
			c.alterEverywhere("n4", is(replicaPhase, ""))
			c.alterEverywhere("n5", is(replicaPhase, ""))
			c.refuseDials("n3", errRefused)
		}, 0, []string{"n3: connection refused; one more failure stops writes"}, nil},
		"one that joins is away": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			leaderSays(c, "n4", "waits: n4 does not answer")
			c.refuseDials("n4", errRefused)
		}, 5 * time.Second, []string{"n4 (joining): connection refused for 5s"}, map[string]string{"n4": "waits: n4 does not answer"}},
		"one that joins is behind": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			leaderSays(c, "n4", "1,234 entries behind")
		}, 0, nil, map[string]string{"n4": "1,234 entries behind"}},
		"one that joins waits": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			leaderSays(c, "n4", "waits: n3 does not answer, and without it there is no quorum")
		}, 0, []string{"n4 (joining) waits: n3 does not answer, and without it there is no quorum"}, nil},
		"one that joins has not caught up": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			c.nodes["n4"].agreement.change(func(st *NodeStatus) { st.Leader = "" })
			c.stale = "n4"
		}, 0, nil, nil},
		"one that leaves is silent": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(leavingPhase, ""))
			c.refuseDials("n4", errRefused)
		}, time.Minute, nil, nil},
		"one that leaves waits": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(leavingPhase, ""))
			leaderSays(c, "n4", "waits: it is the only voter")
			c.refuseDials("n4", errRefused)
		}, 0, []string{"n4 (leaving) waits: it is the only voter"}, nil},
		"the leader's word is of another phase": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(replicaPhase, ""))
			c.nodes["n2"].agreement.change(func(st *NodeStatus) {
				st.Members[3] = proto.CloneOf(st.Members[3])
				is(joiningPhase, "waits: for something")(st.Members[3])
			})
		}, 0, nil, map[string]string{"n4": ""}},
		"one is away for very long": {3, func(c *testCluster) {
			c.refuseDials("n3", errRefused)
		}, 10 * time.Minute, []string{"n3: connection refused for 10m0s; one more failure stops writes; if its data is lost, start it with an empty data directory and run: rollcall member replace n3"}, nil},
		"one has lost its data": {3, func(c *testCluster) {
			c.refuseDials("n3", errors.New("n3 belongs to no cluster yet"))
			c.nodes["n1"].members.answer("n3:7601", waitingNode("n3", "e0000000-1111"), nil)
		}, 5 * time.Second, []string{"n3 has lost its data: it waits with an empty data directory for 5s; one more failure stops writes; run: rollcall member replace n3"}, nil},
		"one that joins has not heard of it": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			c.refuseDials("n4", errors.New("n4 belongs to no cluster yet"))
			c.nodes["n1"].members.answer("n4:7601", waitingNode("n4", directoryOf(3)), nil)
		}, 0, []string{"n4 (joining): n4 belongs to no cluster yet"}, nil},
		"one that joins does not look for this cluster": {4, func(c *testCluster) {
			c.alterEverywhere("n4", is(joiningPhase, ""))
			c.refuseDials("n4", errors.New("n4 belongs to no cluster yet"))
			c.nodes["n1"].members.answer("n4:7601", waitingNode("n4", directoryOf(3)), nil)
		}, 12 * time.Second, []string{"n4 (joining) runs, but has not found this cluster for 12s; its log says for what it waits; start it with --join and the peer address of a member"}, nil},
		"another node waits in its place": {3, func(c *testCluster) {
			c.refuseDials("n3", errRefused)
			c.nodes["n1"].members.answer("n3:7601", waitingNode("n4", "e0000000-1111"), nil)
		}, 0, []string{"n3: connection refused; one more failure stops writes"}, nil},
		"two are away for very long": {3, func(c *testCluster) {
			c.refuseDials("n3", errRefused)
			c.refuseDials("n2", errRefused)
		}, 10 * time.Minute, []string{
			"leader n2 does not answer: writes through this node are refused until it does or another leads",
			"n2: connection refused for 10m0s", "n3: connection refused for 10m0s",
		}, nil},
		"a directory that was replaced still counts": {3, func(c *testCluster) {
			c.alterEverywhere("n3", is(joiningPhase, ""))
			for _, n := range c.nodes {
				n.agreement.change(func(st *NodeStatus) { st.GoneVoters, st.Leader, st.Leading = []string{"n3"}, "", false })
			}
		}, 0, []string{"no leader: writes are refused; 2 of 3 voters needed"}, nil},
	} {
		bubble(t, name, func(t *testing.T) {
			c := memberCluster(t, tt.nodes)
			c.elect("n2")
			tt.prepare(c)
			ask := func() *rollcallv1.GetStatusResponse {
				t.Helper()
				for name, n := range c.nodes {
					if n.setFresh(time.Now()); name == c.stale {
						n.setFresh(time.Time{})
					}
				}
				res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
				if err != nil {
					t.Fatal(err)
				}
				return res
			}
			res := ask()
			if tt.later > 0 {
				time.Sleep(tt.later)
				res = ask()
			}
			if !slices.Equal(res.GetProblems(), tt.problems) {
				t.Errorf("problems are %q\nwant         %q", res.GetProblems(), tt.problems)
			}
			if len(res.GetMembers()) != tt.nodes {
				t.Errorf("%d members, want %d", len(res.GetMembers()), tt.nodes)
			}
			for _, m := range res.GetMembers() {
				if want, ok := tt.details[m.GetMember().GetName()]; ok && m.GetMember().GetPhaseDetail() != want {
					t.Errorf("%s: %q, want %q", m.GetMember().GetName(), m.GetMember().GetPhaseDetail(), want)
				}
			}
		})
	}
}

// TestVerifyCountsVoters: a majority is of those that vote. Who has no registry yet, or need not have one, is not asked.
func TestVerifyCountsVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memberCluster(t, 7)
		c.elect("n1")
		hold := func(name, hash string) {
			r := &c.nodes[name].replica
			r.mu.Lock()
			defer r.mu.Unlock()
			r.hashes = map[uint64]*logv1.StateHash{7: {Version: 1, Index: 7, Hash: []byte(hash)}}
		}
		for name, hash := range map[string]string{"n1": "a", "n2": "a", "n3": "b", "n4": "b", "n5": "c", "n6": "c", "n7": "b"} {
			hold(name, hash)
		}
		for _, name := range []string{"n3", "n4"} {
			c.alterEverywhere(name, func(m *rollcallv1.Member) { m.Voter, m.Phase = false, replicaPhase })
		}
		c.alterEverywhere("n5", func(m *rollcallv1.Member) { m.Voter, m.Phase = false, joiningPhase })
		c.alterEverywhere("n6", func(m *rollcallv1.Member) { m.Phase = leavingPhase })
		c.alterEverywhere("n7", func(m *rollcallv1.Member) { m.Voter, m.Phase = false, replicaPhase })
		res, err := c.nodes["n1"].cluster().Verify(timeout(t, time.Minute), &rollcallv1.VerifyRequest{})
		if err != nil || res.GetAgree() || !strings.HasPrefix(res.GetVerdict(), "the registry of n3, n4 and n7 is not what n1 and n2 hold") {
			t.Errorf("%v, %v", res, err)
		}
	})
}

// TestDepartedMembersAreForgotten: the connection to a member ends when it is none any more, or has another data
// directory, and since when it has been silent is forgotten.
func TestDepartedMembersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		n := c.nodes["n1"]
		open := map[string]*peerconn.Conn{}
		connect := func(name string) {
			t.Helper()
			conn, err := n.pool.Get(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Ready(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			open[name] = conn
		}
		kept := func(name string) bool {
			t.Helper()
			conn, err := n.pool.Get(name)
			if err != nil {
				t.Fatal(err)
			}
			return conn == open[name]
		}
		connect("n2")
		connect("n3")
		time.Sleep(2 * lookEvery)
		if !kept("n2") || !kept("n3") {
			t.Error("a member's connection is ended")
		}

		// n3 is replaced, and leads on until another does.
		c.alter("n3", func(m *rollcallv1.Member) { m.DirectoryId = "e0000000" })
		n.agreement.change(func(st *NodeStatus) { st.GoneVoters = []string{"n3"} })
		time.Sleep(2 * lookEvery)
		if !kept("n3") {
			t.Error("the connection to who may lead is ended")
		}
		n.agreement.change(func(st *NodeStatus) { st.GoneVoters = nil })
		time.Sleep(2 * lookEvery)
		if kept("n3") || !kept("n2") {
			t.Error("the connection to a directory that was replaced stays, or another one does not")
		}
		if err := open["n3"].Ready(t.Context(), true); err != peerconn.ErrLeft {
			t.Errorf("%v", err)
		}
		connect("n3")

		c.refuseDials("n3", &net.OpError{Op: "dial", Err: net.ErrClosed})
		c.cutConnections("n3")
		synctest.Wait()
		if _, err := n.cluster().GetStatus(timeout(t, time.Minute), &rollcallv1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		n.agreement.change(func(st *NodeStatus) { st.Members = st.Members[:2] })
		time.Sleep(2 * lookEvery)
		if kept("n3") || !kept("n2") {
			t.Error("the connection to a member that was removed stays, or another one does not")
		}
		n.agreement.change(func(st *NodeStatus) {
			st.Members = append(slices.Clone(st.Members), &rollcallv1.Member{Name: "n3", Voter: true})
		})
		res, err := n.cluster().GetStatus(timeout(t, time.Minute), &rollcallv1.GetStatusRequest{})
		if err != nil || !strings.HasPrefix(res.GetProblems()[0], "n3: ") || strings.Contains(res.GetProblems()[0], " for ") {
			t.Errorf("%q, %v", res.GetProblems(), err)
		}
	})
}
