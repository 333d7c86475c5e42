package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// handsOver has a node hand leadership over, to n3 if nobody else is asked for, and take some time for it.
func (c *testCluster) handsOver(name string, takes time.Duration) (asked *[]string) {
	asked = new([]string)
	c.nodes[name].members.change(func(f *fakeMembers) {
		f.transfer = func(ctx context.Context, to string) error {
			*asked = append(*asked, to)
			if !sleepFor(ctx, takes) {
				return ctx.Err()
			}
			if to == "" {
				to = "n3"
			}
			c.elect(to)
			return nil
		}
	})
	return asked
}

func transfer(t *testing.T, n *testNode, to string) (*rollcallv1.TransferLeadershipResponse, error) {
	t.Helper()
	return n.cluster().TransferLeadership(timeout(t, time.Minute), &rollcallv1.TransferLeadershipRequest{To: to})
}

// TestTransferLeadership: the leader does it, whichever node is called, and is asked once.
func TestTransferLeadership(t *testing.T) {
	for _, entry := range []string{"n1", "n2"} {
		for _, to := range []string{"", "n3", "n2"} {
			bubble(t, "by "+entry+" to "+to, func(t *testing.T) {
				c := memberCluster(t, 3)
				c.elect("n1")
				asked := c.handsOver("n1", 100*time.Millisecond)
				want := to
				if to == "" {
					want = "n3"
				}
				res, err := transfer(t, c.nodes[entry], to)
				if err != nil || res.GetLeader() != want || res.GetTerm() != 2 || len(*asked) != 1 || (*asked)[0] != to {
					t.Errorf("%v, %v; asked for %q", res, err, *asked)
				}
				if leader, _ := c.nodes[entry].agreement.Leader(); leader != want {
					t.Errorf("answered before %s leads", want)
				}
			})
		}
	}
	bubble(t, "to who leads", func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		for _, entry := range c.names {
			if res, err := transfer(t, c.nodes[entry], "n1"); err != nil || res.GetLeader() != "n1" || res.GetTerm() != 1 {
				t.Errorf("by %s: %v, %v", entry, res, err)
			}
		}
	})
	bubble(t, "of who has just stopped leading", func(t *testing.T) {
		for _, entry := range []string{"n1", "n2"} {
			c := memberCluster(t, 3)
			c.elect("n1")
			c.nodes["n1"].members.change(func(f *fakeMembers) {
				f.transfer = func(context.Context, string) error {
					c.elect("n2")
					return ErrNotLeading
				}
			})
			asked := c.handsOver("n2", 0)
			if res, err := transfer(t, c.nodes[entry], "n3"); err != nil || res.GetLeader() != "n3" || len(*asked) != 1 {
				t.Errorf("by %s: %v, %v; asked for %q", entry, res, err, *asked)
			}
		}
	})
	bubble(t, "during an election", func(t *testing.T) {
		c := memberCluster(t, 3)
		c.handsOver("n1", 0)
		go func() {
			time.Sleep(2 * time.Second)
			c.elect("n1")
		}()
		if res, err := transfer(t, c.nodes["n2"], "n3"); err != nil || res.GetLeader() != "n3" {
			t.Errorf("%v, %v", res, err)
		}
	})
}

// TestTransfersThatFail: each says whether leadership may have changed hands.
func TestTransfersThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(c *testCluster)
		to      string
		code    codes.Code
		reason  string
		written string
		says    string
	}{
		"no node has that name":  {nil, "n 3", codes.InvalidArgument, "INVALID_ARGUMENT", "no", `to is "n 3", which no node is called`},
		"an unknown member":      {nil, "n9", codes.NotFound, "NOT_FOUND", "no", `member "n9" does not exist`},
		"one that does not vote": {func(c *testCluster) { c.joins("n3") }, "n3", codes.FailedPrecondition, "NOT_TRANSFERRED", "no", "n3 does not vote, so it cannot lead: its phase is joining"},
		"it stays": {func(c *testCluster) {
			c.nodes["n1"].members.transfer = func(context.Context, string) error { return errors.New("n3 is 1,000 entries behind") }
		}, "n3", codes.FailedPrecondition, "NOT_TRANSFERRED", "no", "n1 still leads: n3 is 1,000 entries behind"},
		"another takes over": {func(c *testCluster) {
			c.nodes["n1"].members.transfer = func(context.Context, string) error { c.elect("n2"); return nil }
		}, "n3", codes.FailedPrecondition, "NOT_TRANSFERRED", "no", "n2 leads now, and not n3"},
		"nobody takes over": {func(c *testCluster) {
			c.nodes["n1"].members.transfer = func(context.Context, string) error {
				for _, n := range c.nodes {
					n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "", false })
				}
				return nil
			}
		}, "n3", codes.DeadlineExceeded, "OUTCOME_UNKNOWN", "unknown", "does not lead any more, and nobody else is known to lead yet; see rollcall status"},
		"it takes for ever":     {func(c *testCluster) { c.handsOver("n1", time.Hour) }, "n3", codes.FailedPrecondition, "NOT_TRANSFERRED", "no", "n1 still leads: n3 did not take over in time"},
		"the leader is cut off": {func(c *testCluster) { c.refuseDials("n1", errRefused) }, "n3", codes.Unavailable, "NOT_WRITTEN", "no", "leader n1 cannot be reached: connection refused"},
		"the leader is no leader": {func(c *testCluster) {
			c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "n3", false })
		}, "n3", codes.Unavailable, "NOT_WRITTEN", "no", "n1 was asked to hand over: it does not lead"},
		"nobody leads": {func(c *testCluster) { c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.Leader = "" }) }, "n3", codes.Unavailable, "NOT_WRITTEN", "no", "no leader is known, so none can hand over"},
		"the leader falls silent": {func(c *testCluster) {
			c.handsOver("n1", 50*time.Millisecond)
			c.nodes["n1"].members.transfer = c.cutsOff("n1")
		}, "n3", codes.Unknown, "OUTCOME_UNKNOWN", "unknown", "outcome unknown: leader n1 was asked to hand over"},
		"the leader has a defect": {func(c *testCluster) {
			c.nodes["n1"].members.transfer = func(context.Context, string) error { panic("boom") }
		}, "n3", codes.Unknown, "OUTCOME_UNKNOWN", "unknown", "outcome unknown: leader n1 was asked to hand over"},
	} {
		bubble(t, name, func(t *testing.T) {
			c := memberCluster(t, 3)
			c.elect("n1")
			if tt.prepare != nil {
				tt.prepare(c)
			}
			_, err := transfer(t, c.nodes["n2"], tt.to)
			info := infoOf(err)
			if status.Code(err) != tt.code || info.GetReason() != tt.reason || info.GetMetadata()["written"] != tt.written || !strings.Contains(status.Convert(err).Message(), tt.says) {
				t.Errorf("got %v %v, want %v %s, written %s, with %q", err, info, tt.code, tt.reason, tt.written, tt.says)
			}
		})
	}
}

// cutsOff ends the connections to a node while it hands over.
func (c *testCluster) cutsOff(name string) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		c.refuseDials(name, errRefused)
		c.cutConnections(name)
		<-ctx.Done()
		return ctx.Err()
	}
}

// TestTransferEndsWithItsCaller: nobody goes on waiting.
func TestTransferEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memberCluster(t, 3)
		c.elect("n1")
		c.handsOver("n1", time.Hour)
		began := time.Now()
		_, err := c.nodes["n2"].cluster().TransferLeadership(timeout(t, time.Second), &rollcallv1.TransferLeadershipRequest{})
		if took := time.Since(began); err == nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
