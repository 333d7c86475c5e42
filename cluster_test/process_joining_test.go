package cluster_test

import (
	"context"
	"strings"
	"syscall"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessJoiningNodeWaits: a node with --join answers, is not ready, and says in its log, its status and its readiness
// which command makes it a member, over restarts too.
func TestProcessJoiningNodeWaits(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	n4 := c.newNode("n4")
	n4.replica = true
	for _, p := range c.nodes {
		n4.join = append(n4.join, p.peer)
	}
	want := "rollcall member add n4 --peer " + n4.peer
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		n4.start()
		eventually(t, "n4 to say what to run", func(ctx context.Context) bool {
			resp, err := rollcallv1.NewClusterClient(n4.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
			return err == nil && strings.Contains(strings.Join(resp.GetProblems(), "\n"), want)
		})
		n4.waitStatus("", notServing)
		n4.waitStatus(rollcallv1.OwnReady, notServing)
		if log := n4.log.String(); !strings.Contains(log, want) || !strings.Contains(log, "waiting to be made a member of the cluster") {
			t.Errorf("the log does not say what to run:\n%s", tail(log, 2000))
		}
		n4.end(how)
	}
	c.waitReady() // nobody else was harmed
}
