package cluster_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// streamedSets are sets of services that must not exist yet, each with a request id of its own: one that took effect
// twice would be refused.
func streamedSets(n int) (writes []*rollcallv1.StreamedWrite) {
	none := int64(0)
	for i := range n {
		writes = append(writes, &rollcallv1.StreamedWrite{Id: uint64(i), Write: &rollcallv1.StreamedWrite_Set{Set: &rollcallv1.SetServingStatusRequest{
			Service: fmt.Sprint("crowd/", i), Status: serving.Enum(), RequestId: fmt.Sprint("r", i), IfRevision: &none,
		}}})
	}
	return writes
}

// TestVirtualWriteStreamOfADeadLeader: the leader dies with a thousand writes that wait on one stream, through itself or
// through a follower. Each has an outcome that is true, or none; what is tried again as the same request is done once.
func TestVirtualWriteStreamOfADeadLeader(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, through := range []string{"the leader", "a follower"} {
		t.Run(through, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				c.waitReady()
				leader := c.leader()
				n := leader
				if through == "a follower" {
					n = c.others(leader)[0]
				}
				before := c.caughtUp()
				stream, err := n.admin().WriteStream(c.ctx)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				outcomes := map[uint64]*rollcallv1.StreamedResult{}
				ended := make(chan struct{})
				c.wg.Go(func() {
					defer close(ended)
					for len(outcomes) < 1_000 {
						res, err := stream.Recv()
						if err != nil {
							return
						}
						for _, r := range res.GetResults() {
							if outcomes[r.GetId()] != nil {
								t.Errorf("%d was answered twice", r.GetId())
							}
							outcomes[r.GetId()] = r
						}
					}
				})
				// Some entries are stored before the leader is cut off, some are with it alone, some wait.
				leader.storeDelay.Store(int64(150 * time.Millisecond))
				const all = 1_000
				writes := streamedSets(all)
				for i := 0; i < all; i += 100 {
					if err := stream.Send(&rollcallv1.WriteStreamRequest{Writes: writes[i : i+100]}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
				time.Sleep(300 * time.Millisecond)
				c.net.Isolate(memnet.Reset, leader.cfg.Name)
				leader.stop()
				c.net.Heal()
				leader.storeDelay.Store(0)
				leader.start()
				<-ended
				c.waitReady()
				told := map[string]int{}
				again := c.nodes[0].admin()
				for _, w := range writes {
					r := outcomes[w.GetId()]
					said := "nothing"
					switch {
					case r.GetSet() != nil:
						said = "done"
					case r.GetError() != nil:
						said = rpcerror.InfoOf(status.FromProto(r.GetError())).GetMetadata()[rpcerror.MetaWritten]
						if said == "" {
							t.Fatalf("%v says nothing of what became of it", r)
						}
					}
					told[said]++
					if said == rpcerror.WrittenNo {
						if _, there := c.nodes[0].services()[w.GetSet().GetService()]; there && told[said] < 5 {
							t.Errorf("%s is there, and was said not to be written", w.GetSet().GetService())
						}
					}
					if _, err := again.SetServingStatus(c.patiently(), w.GetSet()); err != nil {
						t.Fatalf("%s, of which was said %s, tried again: %v", w.GetSet().GetService(), said, err)
					}
				}
				t.Logf("%v", told)
				if told["done"] == 0 || told["done"] == all {
					t.Errorf("%d of %d were done before the leader died", told["done"], all)
				}
				if got := c.caughtUp() - before; got != all {
					t.Errorf("%d writes made %d events", all, got)
				}
			})
		})
	}
}

// TestVirtualP3StreamedWritesExactlyOnce: a client's writes that wait together go over a stream, and are done once
// each while leaders die beneath them.
func TestVirtualP3StreamedWritesExactlyOnce(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.waitReady()
		before := c.caughtUp()
		cl := c.clientFor(t)
		const writers, each = 200, 10
		none := int64(0)
		for _, n := range c.nodes {
			n.storeDelay.Store(int64(100 * time.Millisecond))
		}
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				for j := range each {
					service := fmt.Sprintf("crowd/%d/%d", i, j)
					if _, err := cl.Set(c.patiently(), service, serving, client.WriteOptions{IfRevision: &none}); err != nil {
						t.Errorf("%s: %v", service, err)
					}
				}
			})
		}
		for range 2 {
			time.Sleep(700 * time.Millisecond)
			leader := c.leader()
			c.net.Isolate(memnet.Reset, leader.cfg.Name)
			leader.stop()
			c.net.Heal()
			leader.start()
		}
		all.Wait()
		if got := c.caughtUp() - before; got != writers*each {
			t.Errorf("%d writes made %d events", writers*each, got)
		}
	})
}
