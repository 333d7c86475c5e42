package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// virtualWatch is a stock client's watch of one service on one node, which opens it again when it
// ends, as gRPC's own health checking does. Each stream is checked as it goes.
type virtualWatch struct {
	mu       sync.Mutex
	statuses []client.Status
}

func (w *virtualWatch) seen() []client.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.statuses)
}

func (w *virtualWatch) last() client.Status {
	if s := w.seen(); len(s) > 0 {
		return s[len(s)-1]
	}
	return unknown
}

func (c *virtual) watch(n *virtualNode, service string) *virtualWatch {
	w := &virtualWatch{}
	conn, ctx := n.dial(), c.ctx
	c.wg.Go(func() {
		for ctx.Err() == nil {
			stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
			if err == nil {
				first := true
				for {
					resp, err := stream.Recv()
					if err != nil {
						break
					}
					w.mu.Lock()
					if !first && len(w.statuses) > 0 && w.statuses[len(w.statuses)-1] == resp.GetStatus() {
						c.t.Errorf("a watch of %s on %s repeats %s", service, n.cfg.Name, resp.GetStatus())
					}
					first = false
					w.statuses = append(w.statuses, resp.GetStatus())
					w.mu.Unlock()
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return w
}

// TestVirtualP2LinearizableWrites increments counters by compare-and-set from many clients through
// all nodes, while the leader is cut off now and then. Every acknowledged write has a revision of its
// own; revisions follow real time; and of two writes with one expected revision one succeeds.
func TestVirtualP2LinearizableWrites(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		type write struct {
			begun, ended       time.Time
			service            string
			expected, revision int64
		}
		var (
			mu     sync.Mutex
			writes []write
			lost   int
		)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var wg sync.WaitGroup
		for i := range 6 {
			cl := c.client(c.nodes[i%3])
			defer cl.Close()
			service := fmt.Sprintf("counter/%d", i%2) // each is fought over by three
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					var expected int64
					if got, err := cl.Get(ctx, service); err == nil {
						expected = got.GetService().GetReport().GetRevision()
					}
					s := serving
					if n%2 == 0 {
						s = notServing
					}
					attempt, done := context.WithTimeout(context.Background(), time.Second)
					begun := time.Now()
					resp, err := cl.Set(attempt, service, s, client.WriteOptions{IfRevision: &expected, Reason: fmt.Sprintf("%d of %d", n, i)})
					done()
					mu.Lock()
					if err == nil {
						writes = append(writes, write{begun, time.Now(), service, expected, resp.GetRevision()})
					} else if e := (*client.Error)(nil); errors.As(err, &e) && e.Written == client.WrittenUnknown {
						lost++
					}
					mu.Unlock()
					time.Sleep(time.Duration(29+i) * time.Millisecond)
				}
			})
		}
		for range 3 {
			time.Sleep(2 * time.Second)
			leader := c.leader()
			c.net.Isolate(memnet.Stall, leader.cfg.Name)
			time.Sleep(3 * time.Second)
			c.net.Heal()
		}
		time.Sleep(2 * time.Second)
		cancel()
		wg.Wait()

		t.Logf("%d acknowledged, %d unknown", len(writes), lost)
		if len(writes) < 100 {
			t.Errorf("only %d writes were acknowledged", len(writes))
		}
		slices.SortFunc(writes, func(a, b write) int { return int(a.revision - b.revision) })
		seen := map[string]int64{}
		for i, w := range writes {
			if i > 0 && writes[i-1].revision == w.revision {
				t.Errorf("revision %d was given twice", w.revision)
			}
			// Later in the order must not mean over before an earlier one began.
			for _, later := range writes[i+1:] {
				if later.ended.Before(w.begun) {
					t.Errorf("revision %d ended before revision %d began", later.revision, w.revision)
				}
			}
			// Nothing acknowledged lies between what it expected and what it made.
			if last := seen[w.service]; last > w.expected {
				t.Errorf("%s: revision %d expected %d, but %d had been acknowledged", w.service, w.revision, w.expected, last)
			}
			seen[w.service] = w.revision
		}
	})
}

// TestVirtualP5WatchConverges follows a service on every node through flips and partitions: each
// stream ends at the latest status, and the client's watch never goes back though it moves.
func TestVirtualP5WatchConverges(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var stock []*virtualWatch
		for _, n := range c.nodes {
			for range 5 {
				stock = append(stock, c.watch(n, "payments"))
			}
		}
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			updates []client.Update
		)
		moving := c.client()
		defer moving.Close()
		wg.Go(func() {
			for u, err := range moving.Watch(ctx, "payments") {
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("the client's watch ended: %v", err)
					}
					return
				}
				mu.Lock()
				updates = append(updates, u)
				mu.Unlock()
			}
		})
		flips, stopFlips := context.WithCancel(ctx)
		cl := c.client()
		defer cl.Close()
		wg.Go(func() { c.flip(flips, cl, "payments") })
		for _, n := range c.nodes {
			time.Sleep(2 * time.Second)
			c.net.Isolate(memnet.Reset, n.cfg.Name)
			time.Sleep(3 * time.Second)
			c.net.Heal()
			// A stop ends the streams on this node: the client's watch moves.
			n.stop()
			time.Sleep(time.Second)
			n.start()
		}
		stopFlips()
		time.Sleep(3 * time.Second)
		for _, last := range []client.Status{serving, notServing, noService, serving} {
			write, done := context.WithTimeout(ctx, virtualPatience)
			var err error
			if last == noService {
				_, err = cl.Delete(write, "payments", client.WriteOptions{})
			} else {
				_, err = cl.Set(write, "payments", last, client.WriteOptions{})
			}
			done()
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range stock {
				c.until(fmt.Sprintf("stock watch %d to see %s", i, last), func() bool { return w.last() == last })
			}
			c.until(fmt.Sprintf("the client's watch to see %s", last), func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(updates) > 0 && updates[len(updates)-1].Status == last
			})
		}
		cancel()
		wg.Wait()
		moved := map[string]bool{}
		for i, u := range updates {
			moved[u.Endpoint] = true
			if i == 0 {
				continue
			}
			if prev := updates[i-1]; u.Revision <= prev.Revision || u.Status == prev.Status {
				t.Errorf("the client's watch went from %s at revision %d to %s at revision %d", prev.Status, prev.Revision, u.Status, u.Revision)
			}
		}
		if len(moved) < 2 {
			t.Errorf("the client's watch never moved: %v", moved)
		}
		t.Logf("the client's watch saw %d statuses on %d nodes", len(updates), len(moved))
	})
}

// TestVirtualP7FailStatic takes the quorum away from under open watches: reads and watches go on,
// writes fail as surely not written, and the watches follow when the quorum is back.
func TestVirtualP7FailStatic(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		cl := c.client()
		defer cl.Close()
		if _, err := cl.Set(ctx, "payments", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.caughtUp()
		left := c.nodes[1]
		open := c.watch(left, "payments")
		c.until("the watch to open", func() bool { return open.last() == serving })
		c.nodes[0].stop()
		c.nodes[2].stop()
		c.until(`"" to notice`, func() bool { return left.check(rollcallv1.OwnReady) == notServing })
		alone := c.client(left)
		defer alone.Close()
		for range 60 { // a minute of it
			for service, want := range map[string]client.Status{"payments": serving, rollcallv1.OwnReads: serving, rollcallv1.OwnLive: serving} {
				if got := left.check(service); got != want {
					t.Fatalf("Check(%q) without a quorum: %s", service, got)
				}
			}
			attempt, done := context.WithTimeout(ctx, 900*time.Millisecond)
			_, err := alone.Set(attempt, "payments", notServing, client.WriteOptions{})
			done()
			var e *client.Error
			if !errors.As(err, &e) || e.Written != client.WrittenNo {
				t.Fatalf("a write without a quorum: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// Without a deadline of the caller's it ends by itself, in five seconds.
		begun := time.Now()
		s := notServing
		_, err := rollcallv1.NewAdminClient(left.dial()).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "payments", Status: &s})
		if status.Code(err) != codes.Unavailable || reason(err) != "NOT_WRITTEN" || time.Since(begun) > 5*time.Second {
			t.Errorf("a write without deadline and quorum: %v after %s", err, time.Since(begun))
		}
		late := c.watch(left, "payments")
		c.until("a watch opened without a quorum", func() bool { return late.last() == serving })

		c.nodes[0].start()
		c.nodes[2].start()
		c.waitReady()
		if _, err := cl.Set(ctx, "payments", notServing, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, w := range []*virtualWatch{open, late} {
			c.until("the watches to follow", func() bool { return w.last() == notServing })
			if got := w.seen(); !slices.Equal(got, []client.Status{serving, notServing}) {
				t.Errorf("a watch across the loss of the quorum saw %v", got)
			}
		}
	})
}

// TestVirtualBatchIsOneCut lists on every node while batches flip two services together.
func TestVirtualBatchIsOneCut(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		cl := c.client()
		defer cl.Close()
		var wg sync.WaitGroup
		for _, n := range c.nodes {
			wg.Go(func() {
				for ctx.Err() == nil {
					all, err := healthpb.NewHealthClient(n.dial()).List(ctx, &healthpb.HealthListRequest{})
					if err != nil {
						continue
					}
					a, b := all.GetStatuses()["pair/a"], all.GetStatuses()["pair/b"]
					if !proto.Equal(a, b) {
						t.Errorf("%s shows half of a batch: %v and %v", n.cfg.Name, a, b)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		for i := range 300 {
			s := serving
			if i%2 == 1 {
				s = notServing
			}
			if _, err := cl.SetBatch(ctx, []client.Change{{Service: "pair/a", Status: s}, {Service: "pair/b", Status: s}}, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		wg.Wait()
	})
}
