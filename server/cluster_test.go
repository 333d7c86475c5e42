package server

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestGetStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		c.elect("n2")
		c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.AppliedIndex, st.CommitIndex = 90, 100 })
		c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.AppliedIndex, st.CommitIndex = 100, 100 })
		c.nodes["n3"].agreement.change(func(st *NodeStatus) { st.AppliedIndex, st.CommitIndex = 40, 50 })
		c.nodes["n3"].registry.set("a", serving)
		end := time.Now().Add(100 * time.Hour)
		c.nodes["n3"].agreement.change(func(st *NodeStatus) { st.CertificateExpires = end })
		res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if res.GetNode() != "n1" || res.GetLeader() != "n2" || res.GetTerm() != 1 || !res.GetWritable() || res.GetClusterId() != "3f9a" || len(res.GetProblems()) != 0 {
			t.Errorf("got %v", res)
		}
		var names []string
		lag := map[string]uint64{"n1": 10, "n2": 0, "n3": 60}
		for _, m := range res.GetMembers() {
			name := m.GetMember().GetName()
			names = append(names, name)
			if m.GetLagEntries() != lag[name] {
				t.Errorf("%s lags %d entries, want %d", name, m.GetLagEntries(), lag[name])
			}
			if told := m.GetCertificateExpires(); (name == "n3") != (told != nil) || told != nil && !told.AsTime().Equal(end) {
				t.Errorf("the certificate of %s ends at %v", name, told)
			}
			if !m.GetReady() || m.GetVersion() != "v0.1.0" || m.GetMember().GetApiAddress() != name+":7600" || m.GetStartTime() == nil || m.GetLeaderAge() == nil || m.GetStorage().GetLogBytes() != 7 {
				t.Errorf("%v", m)
			}
		}
		if !slices.Equal(names, c.names) {
			t.Errorf("members are %v, want %v", names, c.names)
		}
	})
}

func TestGetStatusLocalOnly(t *testing.T) {
	c := newTestCluster(t, 3)
	c.elect("n2")
	for _, n := range c.names {
		c.refuseDials(n, errRefused)
	}
	res, err := c.nodes["n1"].cluster().GetStatus(patient(t), &rollcallv1.GetStatusRequest{LocalOnly: true})
	if err != nil || len(res.GetMembers()) != 1 || res.GetMembers()[0].GetMember().GetName() != "n1" || len(res.GetProblems()) != 0 || !res.GetWritable() {
		t.Errorf("%v %v", res, err)
	}
}

func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes    int
		prepare  func(c *testCluster)
		later    time.Duration // after which it is asked again
		problems []string
		writable bool
	}{
		"one of three is down": {3, func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n3", errRefused)
		}, 41 * time.Second, []string{"n3: connection refused for 41s; one more failure stops writes"}, true},
		"one of five is down": {5, func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n3", errRefused)
		}, 0, []string{"n3: connection refused"}, true},
		"no quorum": {3, func(c *testCluster) {
			c.refuseDials("n2", errRefused)
			c.refuseDials("n3", errRefused)
		}, 2 * time.Second, []string{
			"no leader: writes are refused; 2 of 3 voters needed, 1 of them answered; if the others are lost for good: \"rollcall recover --help\"",
			"n2: connection refused for 2s", "n3: connection refused for 2s",
		}, false},
		"an election": {3, func(*testCluster) {}, 0, []string{"no leader: writes are refused; 2 of 3 voters needed"}, false},
		"the leader is cut off from here": {3, func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n2", errRefused)
		}, 0, []string{
			"leader n2 does not answer: writes through this node are refused until it does or another leads",
			"n2: connection refused",
		}, false},
		"forming": {3, func(c *testCluster) {
			for _, n := range c.nodes {
				n.agreement.change(func(st *NodeStatus) { st.Formed, st.Waiting = false, "waiting for n2 to form the cluster" })
			}
			c.refuseDials("n2", errRefused)
		}, 0, []string{"waiting for n2 to form the cluster", "n2: connection refused"}, false},
		"one that failed": {3, func(c *testCluster) {
			c.elect("n2")
			c.nodes["n3"].agreement.change(func(st *NodeStatus) { st.Failed = "state differs at index 7" })
		}, 0, []string{"n3: state differs at index 7"}, true},
		"one that heard no leader": {3, func(c *testCluster) {
			c.elect("n2")
			c.nodes["n3"].agreement.change(func(st *NodeStatus) { st.Leader = "" })
			c.nodes["n3"].setFresh(time.Time{})
		}, 0, []string{"n3: not ready: it has heard no leader lately"}, true},
		"this one heard no leader": {3, func(c *testCluster) {
			c.elect("n2")
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "" })
			c.nodes["n1"].setFresh(time.Time{})
		}, 0, []string{
			"n1 knows no leader: writes through it are refused; n2 leads",
			"n1: not ready: it has heard no leader lately",
		}, false},
		"the leader drains": {3, func(c *testCluster) {
			c.elect("n2")
			c.nodes["n2"].BeginDrain()
		}, 0, []string{"leader n2 does not take writes yet", "n2: stopping"}, false},
		"one that does not answer": {3, func(c *testCluster) {
			c.elect("n2")
			c.wrap = func(to string, conn net.Conn) net.Conn {
				if to == "n3" {
					conn.Close()
					a, b := net.Pipe()
					c.t.Cleanup(func() { a.Close(); b.Close() })
					go func() { // swallows all it hears
						buf := make([]byte, 1024)
						for {
							if _, err := b.Read(buf); err != nil {
								return
							}
						}
					}()
					return a
				}
				return conn
			}
		}, 0, []string{"n3: no answer; one more failure stops writes"}, true},
	} {
		bubble(t, name, func(t *testing.T) {
			c := newTestCluster(t, tt.nodes)
			tt.prepare(c)
			ask := func() *rollcallv1.GetStatusResponse {
				t.Helper()
				// Those who last heard a leader at the election would not be ready any more.
				for _, n := range c.nodes {
					if !n.freshness.At().IsZero() {
						n.setFresh(time.Now())
					}
				}
				start := time.Now()
				res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v", took)
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
			if res.GetWritable() != tt.writable {
				t.Errorf("writable is %v, want %v", res.GetWritable(), tt.writable)
			}
			if len(res.GetMembers()) != tt.nodes {
				t.Errorf("%d members, want all %d", len(res.GetMembers()), tt.nodes)
			}
		})
	}
}

func TestDownSinceIsForgottenWhenAMemberAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		c.elect("n1")
		var toN3 []net.Conn
		c.wrap = func(to string, conn net.Conn) net.Conn {
			if to == "n3" {
				toN3 = append(toN3, conn)
			}
			return conn
		}
		ask := func() []string {
			res, err := c.nodes["n1"].cluster().GetStatus(context.Background(), &rollcallv1.GetStatusRequest{}, grpc.WaitForReady(true))
			if err != nil {
				t.Fatal(err)
			}
			return res.GetProblems()
		}
		for range 2 {
			c.refuseDials("n3", errRefused)
			if got := ask(); len(got) != 1 || got[0] != "n3: connection refused; one more failure stops writes" {
				t.Errorf("down: %q", got)
			}
			time.Sleep(3 * time.Second)
			c.refuseDials("n3", nil)
			if got := ask(); len(got) != 0 {
				t.Errorf("up: %q", got)
			}
			// Its connection ends, as when its process does.
			for _, conn := range toN3 {
				conn.Close()
			}
			toN3 = nil
			synctest.Wait()
		}
	})
}
