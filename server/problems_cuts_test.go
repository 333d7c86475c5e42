package server

import (
	"slices"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestCutProblems: what is cut one way is named by whoever is asked, and a node through which no change would go does
// not say that one would.
func TestCutProblems(t *testing.T) {
	cut := func(c *testCluster, from, to string, d time.Duration, calls bool) {
		c.nodes[from].agreement.change(func(st *NodeStatus) {
			st.CannotReach = append(st.CannotReach, Unreached{Member: to, For: d, Why: to + ":7601: no answer", Calls: calls})
		})
	}
	const long = 12 * time.Second
	for name, tt := range map[string]struct {
		prepare  func(c *testCluster)
		problems []string
		local    []string
		writable bool
	}{
		"the others cannot connect to this leader": {func(c *testCluster) {
			c.elect("n1")
			cut(c, "n2", "n1", long, true)
			cut(c, "n3", "n1", long, true)
		}, []string{"n2 and n3 cannot connect to n1 (n1:7601), which can connect to them: writes through them fail; look at firewalls, and at the peer address of n1"}, nil, true},
		"and no voter could lead better": {func(c *testCluster) {
			c.elect("n1")
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Unsucceeded = true })
			cut(c, "n2", "n1", long, true)
			cut(c, "n3", "n1", long, true)
		}, []string{"n2 and n3 cannot connect to n1 (n1:7601), which can connect to them: writes through them fail, and no voter is known that could lead better; look at firewalls, and at the peer address of n1"}, nil, true},
		"this node and another cannot connect to the leader": {func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n2", errRefused)
			cut(c, "n1", "n2", long, true)
			cut(c, "n3", "n2", long, true)
		},
			[]string{"n1 and n3 cannot connect to n2 (n2:7601: no answer): writes through them fail; look at firewalls, and at the peer address of n2"},
			[]string{"n1 cannot connect to n2 (n2:7601: no answer), which can connect to it: writes through it fail; look at firewalls, and at the peer address of n2"}, false},
		"this node cannot make a new connection, and an old one goes on": {func(c *testCluster) {
			c.elect("n2")
			if conn, err := c.nodes["n1"].pool.Get("n2"); err != nil || conn.Ready(patient(c.t), true) != nil {
				c.t.Error("not connected")
			}
			cut(c, "n1", "n2", long, true)
		},
			[]string{"n1 cannot connect to n2 (n2:7601: no answer), which can connect to it: writes through it fail as soon as its old connection ends; look at firewalls, and at the peer address of n2"},
			[]string{"n1 cannot connect to n2 (n2:7601: no answer), which can connect to it: writes through it fail as soon as its old connection ends; look at firewalls, and at the peer address of n2"}, true},
		"what stops writes first": {func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n2", errRefused)
			cut(c, "n3", "n1", long, true)
			cut(c, "n1", "n2", long, true)
		},
			[]string{
				"n1 cannot connect to n2 (n2:7601: no answer), which can connect to it: writes through it fail; look at firewalls, and at the peer address of n2",
				"n3 cannot connect to n1 (n1:7601), which can connect to it: writes through it would fail if n1 led; look at firewalls, and at the peer address of n1",
			},
			[]string{"n1 cannot connect to n2 (n2:7601: no answer), which can connect to it: writes through it fail; look at firewalls, and at the peer address of n2"}, false},
		"not for long": {func(c *testCluster) {
			c.elect("n2")
			cut(c, "n1", "n2", cutAfter-1, true)
		}, nil, nil, true},
		"the leader cannot connect to this node": {func(c *testCluster) {
			c.elect("n2")
			cut(c, "n2", "n1", long, true)
			cut(c, "n3", "n1", long, true)
		}, []string{"n2 and n3 cannot connect to n1 (n1:7601), which can connect to them: n1 gets no changes; look at firewalls, and at the peer address of n1"}, nil, true},
		"two followers, one way": {func(c *testCluster) {
			c.elect("n1")
			cut(c, "n2", "n3", long, true)
		}, []string{"n2 cannot connect to n3 (n3:7601), which can connect to it: writes through it would fail if n3 led; look at firewalls, and at the peer address of n3"}, nil, true},
		"to a read replica": {func(c *testCluster) {
			c.elect("n1")
			for _, n := range c.nodes {
				n.agreement.change(func(st *NodeStatus) { st.Members[2].Voter = false })
			}
			cut(c, "n2", "n3", long, true)
		}, []string{"n2 cannot connect to n3 (n3:7601), which can connect to it; look at firewalls, and at the peer address of n3"}, nil, true},
		"two followers, both ways": {func(c *testCluster) {
			c.elect("n1")
			cut(c, "n2", "n3", long, false)
			cut(c, "n3", "n2", long, false)
		}, []string{
			"n3 cannot connect to n2 (n2:7601): writes through it would fail if n2 led; look at firewalls, and at the peer address of n2",
			"n2 cannot connect to n3 (n3:7601): writes through it would fail if n3 led; look at firewalls, and at the peer address of n3",
		}, nil, true},
		"one that is down is not cut off": {func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n3", errRefused)
			cut(c, "n1", "n3", long, false)
			cut(c, "n2", "n3", long, false)
		}, []string{"n3: connection refused; one more failure stops writes"}, nil, true},
		"one that lives does not count as down": {func(c *testCluster) {
			c.elect("n2")
			c.refuseDials("n3", errRefused)
			cut(c, "n1", "n3", long, true)
		},
			[]string{"n1 cannot connect to n3 (n3:7601: no answer), which can connect to it: writes through it would fail if n3 led; look at firewalls, and at the peer address of n3"},
			[]string{"n1 cannot connect to n3 (n3:7601: no answer), which can connect to it: writes through it would fail if n3 led; look at firewalls, and at the peer address of n3"}, true},
	} {
		bubble(t, name, func(t *testing.T) {
			c := newTestCluster(t, 3)
			tt.prepare(c)
			time.Sleep(justStarted)
			for _, n := range c.nodes {
				n.setFresh(time.Now())
			}
			for _, local := range []bool{false, true} {
				want, what := tt.problems, "all"
				if local {
					want, what = tt.local, "this node alone"
				}
				res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{LocalOnly: local})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(res.GetProblems(), want) {
					t.Errorf("%s: problems are\n%q, want\n%q", what, res.GetProblems(), want)
				}
				if res.GetWritable() != tt.writable {
					t.Errorf("%s: writable is %v, want %v", what, res.GetWritable(), tt.writable)
				}
			}
		})
	}
	bubble(t, "one that has just started is not cut off", func(t *testing.T) {
		c := newTestCluster(t, 3)
		c.elect("n2")
		cut(c, "n2", "n1", long, true) // of before its start
		cut(c, "n1", "n3", long, true)
		for _, after := range []time.Duration{justStarted - 1, 1} {
			time.Sleep(after)
			for _, n := range c.nodes {
				n.setFresh(time.Now())
			}
			res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
			if want := map[bool]int{false: 0, true: 2}[after == 1]; err != nil || len(res.GetProblems()) != want {
				t.Errorf("%q, %v; want %d problems", res.GetProblems(), err, want)
			}
		}
	})
	bubble(t, "members tell it", func(t *testing.T) {
		c := newTestCluster(t, 3)
		c.elect("n1")
		cut(c, "n2", "n3", long, true)
		cut(c, "n2", "n1", time.Second, true)
		res, err := c.nodes["n1"].cluster().GetStatus(timeout(t, 5*time.Second), &rollcallv1.GetStatusRequest{})
		if err != nil || !slices.Equal(res.GetMembers()[1].GetCannotReach(), []string{"n3"}) || res.GetMembers()[0].GetCannotReach() != nil {
			t.Errorf("%v, %v", res.GetMembers(), err)
		}
	})
}
