package server

import (
	"context"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestNodesWithoutAClusterChangeNoMembers: a node that waits says so at once. A client that has it among its endpoints
// goes on to a member, and would else wait for all its time.
func TestNodesWithoutAClusterChangeNoMembers(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := memberCluster(t, 3)
		n := c.nodes["n1"]
		n.agreement.change(func(st *NodeStatus) { st.Formed, st.Leader = false, "" })
		for name, do := range map[string]func(*testNode, context.Context) error{
			"add": add("n4", "10.0.0.4:7601"), "replace": replace("n2", "10.0.0.2:7601", false),
			"transfer": func(n *testNode, ctx context.Context) error {
				_, err := n.cluster().TransferLeadership(ctx, &rollcallv1.TransferLeadershipRequest{})
				return err
			},
		} {
			began := time.Now()
			err := do(n, timeout(t, time.Minute))
			if info := infoOf(err); info.GetReason() != "NOT_WRITTEN" || !strings.Contains(err.Error(), "belongs to no cluster yet; ask a member") || time.Since(began) > 0 {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
		}
	})
}
