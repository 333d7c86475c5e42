package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestVirtualLargeWritesForwardedOverSlowLinks: a write gets through a link that takes longer to carry it than a
// small write may take, and so does a small one behind it. It goes over two such links: to the leader, and on to
// the others.
func TestVirtualLargeWritesForwardedOverSlowLinks(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 3, nil)
		defer c.close()
		for _, link := range [][2]string{{"n1", "n2"}, {"n1", "n3"}, {"n2", "n3"}} {
			c.net.Throttle(500_000, link[0], link[1])
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		follower := c.nodes[0]
		if c.leader() == follower {
			follower = c.nodes[1]
		}
		batch := func(reason string) *rollcallv1.BatchSetServingStatusRequest {
			req := &rollcallv1.BatchSetServingStatusRequest{Reason: reason}
			for i := range 10_000 {
				name := fmt.Sprintf("%s/%05d/", reason, i)
				req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: name + strings.Repeat("n", 250-len(name)), Status: serving.Enum()})
			}
			return req
		}
		for _, own := range []time.Duration{0, time.Minute} { // the caller's deadline
			ctx := c.ctx
			if own > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, own)
				defer cancel()
			}
			admin := rollcallv1.NewAdminClient(follower.dial())
			began := time.Now()
			small := make(chan error, 1)
			go func() {
				time.Sleep(time.Second)
				_, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "payments", Status: serving.Enum()})
				small <- err
			}()
			if _, err := admin.BatchSetServingStatus(ctx, batch(own.String())); err != nil {
				t.Errorf("with a deadline of %s: %v", own, err)
			}
			t.Logf("the large write took %s", time.Since(began))
			if err := <-small; err != nil {
				t.Errorf("a small write behind it, with a deadline of %s: %v", own, err)
			}
			t.Logf("both took %s", time.Since(began))
		}
	})
}
