package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

// TestVirtualP6Compacted follows across a compaction: who is too late is told so, with the oldest
// revision there is, the same by every node, and goes on from there.
func TestVirtualP6Compacted(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) { cfg.HistoryEvents = 50 }, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(c.ctx)
		cl := c.client()
		defer cl.Close()
		c.set(cl, "shop/a", serving)
		// The one that does not read: it would hold up the restart by what it does not read.
		var mu sync.Mutex // guards conns
		var conns []net.Conn
		stuckConfig := client.DefaultConfig()
		stuckConfig.KeepOrder = true
		stuckConfig.Endpoints = []string{c.nodes[0].api, c.nodes[1].api, c.nodes[2].api}
		stuckConfig.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := c.dialer(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				conns = append(conns, conn)
			}
			return conn, err
		})}
		stuck, err := client.New(stuckConfig)
		must(t, err)
		defer stuck.Close()
		defer cancel() // before the clients are closed
		log := newEventLog()
		slow, prompt := &eventFollower{log: log}, &eventFollower{log: log}
		wait, resume := make(chan struct{}), make(chan struct{})
		ended := make(chan error, 1)
		c.wg.Go(func() {
			waited := false
			for b, err := range stuck.WatchEvents(ctx, client.WatchEventsOptions{From: 1}) {
				if err == nil {
					err = slow.take(b.Events, b.Revision)
				}
				if err != nil {
					ended <- err
					return
				}
				if len(b.Events) > 0 && !waited {
					waited = true
					close(wait)
					select {
					case <-resume:
					case <-ctx.Done():
					}
				}
			}
		})
		<-wait
		var at atomic.Int64
		c.wg.Go(func() { c.followClient(ctx, cl, prompt, &at, map[string]bool{}) })
		for i := range 150 { // more than lies on the way to who does not read
			if _, err := cl.Set(ctx, "shop/a", serving, client.WriteOptions{Reason: strings.Repeat("r", 1000) + fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second) // for the compactor
		// What was in memory is gone with a restart; so is the stream.
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		for _, n := range c.nodes {
			n.stop()
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		revision := c.caughtUp()
		close(resume)
		var oldest int64
		select {
		case err := <-ended:
			e := (*client.Error)(nil)
			if !errors.As(err, &e) || e.Code != codes.OutOfRange || e.Reason != client.ReasonCompacted || e.OldestRevision < revision-60 || e.OldestRevision > revision-49 {
				t.Fatalf("the slow one, at %d of %d, ended with %v", slow.at, revision, err)
			}
			oldest = e.OldestRevision
		case <-time.After(virtualPatience):
			t.Fatal("the slow one was not told")
		}
		c.until("the prompt one to go on", func() bool { return at.Load() == revision })
		for _, n := range c.nodes {
			one := c.client(n)
			defer one.Close()
			for _, from := range []int64{1, oldest - 1, oldest} {
				for b, err := range one.WatchEvents(ctx, client.WatchEventsOptions{From: from}) {
					e := (*client.Error)(nil)
					if compacted := errors.As(err, &e) && e.OldestRevision == oldest; compacted != (from < oldest) {
						t.Errorf("from %d on %s, with %d the oldest: %v, %v", from, n.cfg.Name, oldest, b, err)
					}
					break
				}
			}
			for _, at := range []int64{oldest - 2, oldest - 1} {
				_, err := one.GetAt(ctx, "shop/a", client.AtRevision(at))
				if (err == nil) != (at == oldest-1) {
					t.Errorf("at %d on %s, with %d the oldest: %v", at, n.cfg.Name, oldest, err)
				}
			}
		}
	})
}
