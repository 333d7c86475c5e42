package cluster_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

var (
	hostileFlips  = flag.Int("hostile-flips", 1_000, "flips in TestP8NeverReading")
	hostileNames  = flag.Int("hostile-names", 50_000, "names in TestP8RandomNames")
	hostileResets = flag.Int("hostile-resets", 50_000, "streams in TestP8RapidResets")
)

// TestP8NeverReading has watchers that never take an answer: some do not read at all, some answer
// every ping but give the server no window.
func TestP8NeverReading(t *testing.T) {
	needProcesses(t)
	const each = 300
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest) // warm
	before := measure()

	deaf := dialRaw(t, s.api)
	var wg sync.WaitGroup
	mean := dialRaw(t, s.api, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	mean.listen(&wg, nil)
	name := "payments"
	for range each {
		deaf.mustOpen(&name)
		mean.mustOpen(&name)
	}
	s.watches(2*each + 1)

	s.flip("payments", *hostileFlips, honest)

	full := measure()
	hostile := s.node.OpenWatches() - 1
	if hostile < each {
		t.Errorf("%d hostile watches are left; those that answer pings should be", hostile)
	}
	deaf.conn.Close()
	mean.conn.Close()
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	// The registry keeps the newest events in memory.
	after := s.settles(before, 8<<20+int64(*hostileFlips)*250)
	perWatch := (full.heap - after.heap) / int64(max(1, hostile))
	t.Logf("%d flips: each of %d watches that never read had %d bytes", *hostileFlips, hostile, perWatch)
	// One that reads has about 3,000. gRPC alone would keep some 150 more for each flip.
	if perWatch > 30_000 {
		t.Errorf("each watch that never reads has %d bytes after %d flips", perWatch, *hostileFlips)
	}
}

// TestVirtualP8HalfOpen has clients that go without a word, at every stage. In virtual time, as finding them
// takes up to 40 s.
func TestVirtualP8HalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 1, nil)
		defer c.close()
		n := c.nodes[0]
		n.start()
		c.waitReady()
		c.leader()
		synctest.Wait()
		before := runtime.NumGoroutine()
		dial := func() net.Conn {
			conn, err := c.dialer(c.ctx, n.api)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		name := "payments"
		for range 10 {
			dial()                                                          // not a word
			newRaw(t, dial())                                               // a greeting
			newRaw(t, dial()).mustOpen(&name)                               // a watch
			newRaw(t, dial()).mustOpen(nil)                                 // the beginning of one
			if _, err := io.WriteString(dial(), "PRI * HTTP"); err != nil { // half a greeting
				t.Fatal(err)
			}
		}
		c.until("20 watches", func() bool { return n.node.OpenWatches() == 20 })
		took := c.until("all watches to be found", func() bool { return n.node.OpenWatches() == 0 })
		if took > 41*time.Second {
			t.Errorf("they were found after %s", took)
		}
		// Goroutines of the node's own come and go meanwhile, so this is not timed.
		c.until("their goroutines to end", func() bool {
			synctest.Wait()
			return runtime.NumGoroutine() <= before
		})
		if n.check(rollcallv1.OwnReads) != serving {
			t.Error("the node does not serve")
		}
	})
}

// TestP8RapidResets opens and resets streams as fast as it can.
func TestP8RapidResets(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()
	peak := peakGoroutines()

	var wg sync.WaitGroup
	name := "payments"
	conns := []*raw{dialRaw(t, s.api), dialRaw(t, s.api)}
	for _, r := range conns {
		r.listen(&wg, nil)
		wg.Go(func() {
			for range *hostileResets / len(conns) {
				id, err := r.open(&name)
				if err == nil {
					err = r.reset(id)
				}
				if err != nil {
					return // the server may well hang up on it
				}
			}
		})
	}
	s.flip("payments", 100, honest)
	eventually(t, "the resets to be over", func(context.Context) bool {
		for _, r := range conns {
			r.mu.Lock()
			next := r.next
			r.mu.Unlock()
			if int(next/2) < *hostileResets/len(conns) {
				return false
			}
		}
		return true
	})
	for _, r := range conns {
		r.conn.Close()
	}
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	s.settles(before, 8<<20+peak()*goroutineBytes)
}

// TestP8RandomNames watches names that do not exist, a batch at a time.
func TestP8RandomNames(t *testing.T) {
	needProcesses(t)
	const batch = 1_000
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()

	var wg sync.WaitGroup
	r := dialRaw(t, s.api)
	answers := make(chan struct{}, batch) // as many as may come before they are counted
	r.listen(&wg, func() { answers <- struct{}{} })
	random := rand.NewChaCha8([32]byte{1})
	for done := 0; done < *hostileNames; done += batch {
		ids := make([]uint32, batch)
		for i := range ids {
			name := fmt.Sprintf("random/%0100x", random.Uint64())
			ids[i] = r.mustOpen(&name)
		}
		for range ids {
			<-answers
		}
		for _, id := range ids {
			if err := r.reset(id); err != nil {
				t.Fatal(err)
			}
		}
		if done%(10*batch) == 0 {
			s.flip("payments", 2, honest)
		}
	}
	r.conn.Close()
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	// 100 bytes for each name would be seen.
	s.settles(before, min(int64(*hostileNames)*100, 8<<20))
}

// TestP8Limits opens more than is allowed: what is over is refused and named, what is below goes on.
func TestP8Limits(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, func(c *node.Config) {
		c.MaxWatches, c.MaxWatchesPerConnection, c.MaxConnections = 25, 10, 5
	})
	s.set("payments", serving)
	first := s.watch("payments")
	s.next(first, serving)
	dial := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	open := func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	refused := func(err error, quota string) {
		t.Helper()
		if got := quotaOf(err); status.Code(err) != codes.ResourceExhausted || got != quota {
			t.Errorf("got %v with quota %q, want RESOURCE_EXHAUSTED with %q", err, got, quota)
		}
	}
	greedy, leave := context.WithCancel(ctx)
	one, two, three := dial(), dial(), dial()
	for range 10 {
		if err := open(greedy, one); err != nil {
			t.Fatal(err)
		}
	}
	refused(open(ctx, one), "watches-per-connection")
	// The connection's limit leaves room for its calls.
	if resp, err := healthpb.NewHealthClient(one).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || resp.GetStatus() != serving {
		t.Errorf("Check on a connection that is full of watches: %v %v", resp, err)
	}
	for range 10 {
		if err := open(greedy, two); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if err := open(ctx, three); err != nil {
			t.Fatal(err)
		}
	}
	refused(open(ctx, three), "watches")
	s.watches(25)

	// One connection more is accepted, the next is not; a closed one makes room.
	if err := open(ctx, dial()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the last connection got %v", err)
	}
	over := dial()
	if err := open(ctx, over); status.Code(err) != codes.Unavailable {
		t.Errorf("a connection too many got %v, want UNAVAILABLE", err)
	}
	leave()
	one.Close()
	s.watches(5)
	eventually(t, "room for a connection", func(ctx context.Context) bool {
		return open(ctx, dial()) == nil // a new one, which has no backoff
	})
	s.set("payments", notServing)
	s.next(first, notServing)
}

// TestP8ManyHeaders is refused by its size, and costs nobody else anything.
func TestP8ManyHeaders(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, nil)
	honest := s.watch("payments")
	s.next(honest, noService)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := dialRaw(t, s.api)
	var wg sync.WaitGroup
	r.listen(&wg, nil)
	// Headers that never end: continuation after continuation.
	r.mu.Lock()
	r.head.Reset()
	if err := r.enc.WriteField(hpack.HeaderField{Name: "x-long", Value: string(bytes.Repeat([]byte{'x'}, 8<<10))}); err != nil {
		t.Fatal(err)
	}
	err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.head.Bytes()})
	r.mu.Unlock()
	for n := 0; err == nil; n++ {
		if n > 10_000 {
			t.Fatal("the server reads headers without end")
		}
		r.mu.Lock()
		err = r.fr.WriteContinuation(1, false, r.head.Bytes())
		r.mu.Unlock()
	}
	wg.Wait() // it hung up
	if got := s.check(ctx, ""); got != serving {
		t.Errorf("Check answers %v", got)
	}
	s.set("payments", serving)
	s.next(honest, serving)
}

// quotaOf is the subject of an error's QuotaFailure.
func quotaOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if q, ok := d.(*errdetails.QuotaFailure); ok && len(q.GetViolations()) > 0 {
			return q.GetViolations()[0].GetSubject()
		}
	}
	return ""
}
