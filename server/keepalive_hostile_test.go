package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestKeepAliveCountsAsAWatch in the limits.
func TestKeepAliveCountsAsAWatch(t *testing.T) {
	n := single(t, func(cfg *Config) { cfg.MaxWatches, cfg.MaxWatchesPerConnection = 3, 2 })
	ctx := patient(t)
	for range 2 {
		ask(t, openKeepAlive(t, ctx, n), "a")
	}
	_, err := openKeepAlive(t, ctx, n).Recv()
	checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, "--max-watches-per-connection"})
}

// TestP8KeepAliveThatIsNotRead: a client that sends message after message and reads nothing costs two answers, and
// does not hold up others.
func TestP8KeepAliveThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		ctx, cancel := context.WithCancel(timeout(t, time.Hour))
		defer cancel()
		var sending sync.WaitGroup
		for _, size := range []int{1, 100, 10_000} {
			ids := make([]string, size)
			for i := range ids {
				ids[i] = fmt.Sprintf("%064d", i)
			}
			stream := openKeepAlive(t, ctx, n)
			sending.Go(func() {
				for stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids}) == nil {
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		before, _ := n.lessor.count()
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls, _ := n.lessor.count(); calls != before {
			t.Errorf("%d more questions were asked for clients that read nothing", calls-before)
		}
		if res := ask(t, openKeepAlive(t, ctx, n), "other"); told(res) != `["other"] lost [] waiting [] after 333.333333ms` {
			t.Errorf("another stream: %s", told(res))
		}
		cancel()
		sending.Wait()
		synctest.Wait()
		for _, b := range n.Budgets() {
			if b.Used != 0 {
				t.Errorf("%d bytes of %s are not given back", b.Used, b.Name)
			}
		}
	})
}

// TestAStuckKeepAliveDoesNotHoldUpTheStop: a client that does not read its answers is cut off.
func TestAStuckKeepAliveDoesNotHoldUpTheStop(t *testing.T) {
	n := single(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Node, cfg.Logger = "n1", n.log
	srv, err := New(cfg, Deps{Statuses: n.registry, Registry: n.registry, Layers: n.registry, Leases: &n.leases, Access: &n.access, Lessor: &n.lessor, Followers: n.registry, History: n.registry,
		Agreement: n.agreement, Node: n.agreement, Members: &n.members, Peers: peerFunc(nil)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis, bufconn.Listen(bufSize)) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("%064d", i)
	}
	stream, err := rollcallv1.NewAdminClient(conn).KeepAlive(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids}); err != nil { // and nothing is read
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil { // it comes before the answer
		t.Fatal(err)
	}
	if err := srv.Stop(patient(t)); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestP8LargeRenewalsAreCounted: 10,000 ids a message on very many streams take no more memory than a connection may
// have. Small ones beside them are served.
func TestP8LargeRenewalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t, func(cfg *Config) { cfg.ClientMemory = MinClientMemory })
		release := make(chan struct{})
		n.lessor.onRenew(func(ctx context.Context, ids []string) ([]string, error) {
			if len(ids) > 1 {
				<-release
			}
			return nil, nil
		})
		ids := make([]string, 10_000)
		for i := range ids {
			ids[i] = fmt.Sprintf("%064d", i)
		}
		ctx := timeout(t, time.Hour)
		answers := make(chan error, 20)
		for range 20 { // about 1.9 MB each, of 12 MiB for a connection
			stream := openKeepAlive(t, ctx, n)
			go func() {
				_ = stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids})
				_, err := stream.Recv()
				answers <- err
			}()
			synctest.Wait()
		}
		refused := len(answers)
		if refused < 10 || refused > 16 {
			t.Errorf("%d of 20 were refused", refused)
		}
		for range refused {
			err := <-answers
			checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, "memory"})
			if got := quotaOf(err); got != "answer-bytes-per-connection" {
				t.Errorf("the quota is %q", got)
			}
		}
		if res := ask(t, openKeepAlive(t, ctx, n), "small"); len(res.GetRenewedLeaseIds()) != 1 {
			t.Errorf("a small one beside them: %v", res)
		}
		close(release)
		for range 20 - refused {
			if err := <-answers; err != nil {
				t.Errorf("one that waited: %v", err)
			}
		}
		synctest.Wait()
		for _, b := range n.Budgets() {
			if b.Used != 0 {
				t.Errorf("%d bytes of %s are not given back", b.Used, b.Name)
			}
		}
	})
}

// TestP8IdleKeepAlivesAreNoIncompleteRequests: thousands of streams that wait for their next message take nothing of
// what incomplete requests may hold, so others are received.
func TestP8IdleKeepAlivesAreNoIncompleteRequests(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	for range 100 { // answers come in rounds
		var streams []keepAliveStream
		for range 10 {
			s := openKeepAlive(t, ctx, n)
			if err := s.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{"a"}}); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		for _, s := range streams {
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if used, _, _ := n.requests.Use(); used != 0 {
		t.Errorf("idle streams hold %d bytes of incomplete requests", used)
	}
}

// TestHalfOpenKeepAlive: a client that vanished is found by the node's own pings, and its stream ends.
func TestHalfOpenKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		var gone atomic.Bool
		conn, err := grpc.NewClient("passthrough:///n1", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				c, err := n.apiLis.DialContext(ctx)
				return vanishing{c, &gone}, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := rollcallv1.NewAdminClient(conn).KeepAlive(timeout(t, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		ask(t, stream, "a")
		gone.Store(true)
		synctest.Wait()
		if n.watches.leases.Load() != 1 {
			t.Fatal("the stream is not open")
		}
		time.Sleep(keepaliveTime + keepaliveTimeout + time.Second)
		synctest.Wait()
		if n.watches.leases.Load() != 0 || n.watches.open.Load() != 0 {
			t.Error("the stream of a client that vanished stays open")
		}
	})
}
