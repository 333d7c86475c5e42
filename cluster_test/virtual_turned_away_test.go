package cluster_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestVirtualStrangersDoNotFillTheLog: what callers may not do makes no log entry, whichever way it comes, and who was
// granted something is not turned away by any node.
func TestVirtualStrangersDoNotFillTheLog(t *testing.T) {
	beside(t, ofVirtualTime)
	withAccess(t, func(t *testing.T, c *guarded) {
		leader := c.leader()
		token := c.create(c.as(c.root), leader, "ci", "reporter", "svc/*")
		c.enforce(c.as(c.root), leader, "viewer")
		if _, err := leader.admin().SetServingStatus(c.as(token), set("svc/a")); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			n.dial()
		}
		time.Sleep(2 * time.Second) // what nodes do by themselves after a start is done
		applied := func() uint64 { return leader.status().GetMembers()[0].GetAppliedIndex() }
		before := applied()
		const tries = 50
		for _, n := range c.nodes {
			var callers sync.WaitGroup
			for i := range tries {
				callers.Go(func() {
					req := set("svc/a")
					req.RequestId = fmt.Sprintf("%s-%d", n.cfg.Name, i)
					_, err := n.admin().SetServingStatus(c.patiently(), req)
					c.refused("a stranger's write by "+n.cfg.Name, err, codes.PermissionDenied, "DENIED")
					_, err = n.admin().SetServingStatus(c.as(token), set("pay/a"))
					c.refused("a token's write by "+n.cfg.Name, err, codes.PermissionDenied, "DENIED")
					_, err = n.admin().GrantLease(c.patiently(), &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)})
					c.refused("a stranger's lease by "+n.cfg.Name, err, codes.PermissionDenied, "DENIED")
					_, err = n.access().SetAuth(c.patiently(), &rollcallv1.SetAuthRequest{})
					c.refused("a stranger's change of access by "+n.cfg.Name, err, codes.PermissionDenied, "DENIED")
				})
			}
			callers.Wait()
			c.deniedByStream(c.as(token), n, tries)
		}
		if grown := applied() - before; grown > 5 {
			t.Errorf("%d log entries were made of commands that were denied", grown)
		}
		for i, n := range c.nodes {
			late := c.create(c.as(c.root), c.nodes[(i+1)%len(c.nodes)], fmt.Sprint("late", i), "reporter", "pay/*")
			if _, err := leader.admin().SetServingStatus(c.as(late), set("pay/a")); err != nil {
				t.Errorf("a token that was just made by %s: %v", n.cfg.Name, err)
			}
		}
	})
}

// deniedByStream has writes of a stream be denied, all of one message at once.
func (c *guarded) deniedByStream(ctx context.Context, n *virtualNode, tries int) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := n.admin().WriteStream(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	req := &rollcallv1.WriteStreamRequest{}
	for i := range tries {
		req.Writes = append(req.Writes, &rollcallv1.StreamedWrite{Id: uint64(i + 1), Write: &rollcallv1.StreamedWrite_Set{Set: set("pay/a")}})
	}
	if err := stream.Send(req); err != nil && err != io.EOF {
		c.t.Fatal(err)
	}
	for answered := 0; answered < tries; {
		res, err := stream.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range res.GetResults() {
			answered++
			c.refused("a token's streamed write by "+n.cfg.Name, status.FromProto(r.GetError()).Err(), codes.PermissionDenied, "DENIED")
		}
	}
}
