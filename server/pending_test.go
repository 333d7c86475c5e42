package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestP8PendingChangesAreBounded: while the log takes nothing, changes wait, here and on the leader, up to
// what one connection and the node may hold; the rest is refused at once, and surely not written.
func TestP8PendingChangesAreBounded(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			c := newTestCluster(t, 2, func(cfg *Config) { cfg.ClientMemory = MinClientMemory })
			c.elect(leader)
			release := make(chan struct{})
			l := c.nodes[leader]
			l.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
				<-release
				return l.agreement.apply(cmd), nil
			})
			n := c.nodes["n1"]
			batch := func(who int) *rollcallv1.BatchSetServingStatusRequest {
				req := &rollcallv1.BatchSetServingStatusRequest{}
				for i := range 5_000 {
					req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("%d/%d/%s", who, i, strings.Repeat("n", 200)), Status: serving.Enum()})
				}
				return req
			}
			answers := make(chan error, 20)
			for i := range 20 { // about 5 MB each, of 12 MiB for a connection
				go func() {
					_, err := n.admin().BatchSetServingStatus(timeout(t, 4*time.Second), batch(i))
					answers <- err
				}()
				synctest.Wait()
			}
			start, refused := time.Now(), len(answers)
			if refused < 15 || refused == 20 {
				t.Errorf("%d of 20 were refused", refused)
			}
			for range refused {
				err := <-answers
				checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, rpcerror.WrittenNo, nil, "memory"})
				if got := quotaOf(err); got != "change-bytes-per-connection" {
					t.Errorf("the quota is %q", got)
				}
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("refusing took %v", took)
			}
			if _, err := n.admin().SetServingStatus(timeout(t, time.Millisecond), setRequest("small", serving)); quotaOf(err) != "" {
				t.Errorf("a small change beside them: %v", err)
			}
			close(release)
			for range 20 - refused {
				if err := <-answers; err != nil {
					t.Errorf("one that waited: %v", err)
				}
			}
			synctest.Wait()
			for _, node := range c.nodes {
				for _, b := range node.Budgets() {
					if b.Used != 0 {
						t.Errorf("%s: %d bytes of %s are not given back", node.name, b.Used, b.Name)
					}
				}
			}
		})
	}
}
