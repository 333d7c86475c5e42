package server

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// overloaded is how the room below says that a limit of the leader's is reached.
type overloaded struct{ quota string }

func (e overloaded) Error() string    { return "not written: " + e.quota + ": 10000" }
func (e overloaded) NotWritten() bool { return true }
func (e overloaded) Quota() string    { return e.quota }

// TestALimitOfTheLeaderEndsAWriteAtOnce: no other node could help, and trying again makes it worse.
func TestALimitOfTheLeaderEndsAWriteAtOnce(t *testing.T) {
	for _, quota := range []string{"pending-changes", "pending-change-bytes", "change-bytes"} {
		for _, leader := range []string{"n1", "n2"} {
			bubble(t, fmt.Sprintf("%s, %s leads", quota, leader), func(t *testing.T) {
				c := newTestCluster(t, 2)
				c.elect(leader)
				l := c.nodes[leader]
				l.agreement.onPropose(func(context.Context, *logv1.Command) (*logv1.Result, error) {
					return nil, fmt.Errorf("propose: %w", overloaded{quota})
				})
				start := time.Now()
				_, err := c.nodes["n1"].admin().SetServingStatus(timeout(t, time.Minute), setRequest("a", serving))
				checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, rpcerror.WrittenNo, map[string]string{rpcerror.MetaNode: leader}, quota})
				if got := quotaOf(err); got != quota {
					t.Errorf("the quota is %q, want %q", got, quota)
				}
				if took := time.Since(start); took != 0 || l.agreement.count() != 1 {
					t.Errorf("took %v and %d tries", took, l.agreement.count())
				}
				if _, err := c.nodes["n1"].Propose(timeout(t, time.Minute), &logv1.Command{Kind: &logv1.Command_AnnounceMember{
					AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{Name: "n1"}}}}); err == nil {
					t.Error("a command of the node's own was written")
				} else if not, ok := err.(interface{ NotWritten() bool }); ok && not.NotWritten() {
					t.Errorf("%v reads as if it could be tried again at once", err)
				}
			})
		}
	}
}

// TestAFullForwardStreamEndsAWriteAtOnce: the leader takes nothing any more.
func TestAFullForwardStreamEndsAWriteAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2, func(cfg *Config) { cfg.MaxForwarded = 10 })
		c.elect("n2")
		release := make(chan struct{})
		c.nodes["n2"].agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			<-release
			return c.nodes["n2"].agreement.apply(cmd), nil
		})
		n := c.nodes["n1"]
		answers := make(chan error, 100)
		for i := range 10 {
			go func() {
				_, err := n.admin().SetServingStatus(timeout(t, 4*time.Second), setRequest(fmt.Sprint("svc", i), serving))
				answers <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		_, err := n.admin().SetServingStatus(timeout(t, time.Minute), setRequest("one-more", serving))
		checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, rpcerror.WrittenNo, nil, "wait"})
		if got := quotaOf(err); got != "forwarded-changes" {
			t.Errorf("the quota is %q", got)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		close(release)
		for range 10 {
			if err := <-answers; err != nil {
				t.Errorf("what was forwarded before: %v", err)
			}
		}
		if _, err := n.admin().SetServingStatus(timeout(t, time.Minute), setRequest("later", serving)); err != nil {
			t.Errorf("when there is room again: %v", err)
		}
	})
}
