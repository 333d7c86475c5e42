package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// received is a message of a WatchEvents in short: its revisions, and up to where it goes.
func received(t *testing.T, stream interface {
	Recv() (*rollcallv1.WatchEventsResponse, error)
}) string {
	t.Helper()
	m, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var revisions []int64
	for _, e := range m.GetEvents() {
		revisions = append(revisions, e.GetRevision())
	}
	return fmt.Sprint(revisions, " to ", m.GetRevision())
}

func watchEvents(t *testing.T, ctx context.Context, n *testNode, req *rollcallv1.WatchEventsRequest) rollcallv1.Registry_WatchEventsClient {
	t.Helper()
	stream, err := n.reads().WatchEvents(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func wantReceived(t *testing.T, stream rollcallv1.Registry_WatchEventsClient, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := received(t, stream); got != w {
			t.Fatalf("received %s, want %s", got, w)
		}
	}
}

func TestWatchEvents(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	n.registry.set("shop/a", serving)
	n.registry.setAll(notServing, "shop/a", "other/b", "shop/c")
	all := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{FromRevision: 1})
	shop := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{FromRevision: 2, Prefixes: []string{"shop/", "none"}})
	now := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{})
	ahead := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{FromRevision: 6})
	wantReceived(t, all, "[] to 0", "[1 2 3 4] to 4")
	wantReceived(t, shop, "[] to 1", "[2 4] to 4")
	wantReceived(t, now, "[] to 4")
	wantReceived(t, ahead, "[] to 5")
	n.registry.set("shop/a", serviceUnknown)
	wantReceived(t, all, "[5] to 5")
	wantReceived(t, shop, "[5] to 5")
	wantReceived(t, now, "[5] to 5") // before the next, with which it could come in one message
	n.registry.set("shop/b", serving)
	wantReceived(t, now, "[6] to 6")
	wantReceived(t, ahead, "[6] to 6")
}

// A quiet watch hears where it is: at once, after ten seconds in which others had events, and after a
// thousand events.
func TestBookmarks(t *testing.T) {
	bubble(t, "bookmarks", func(t *testing.T) {
		n := single(t)
		stream := watchEvents(t, timeout(t, time.Hour), n, &rollcallv1.WatchEventsRequest{Prefixes: []string{"shop/"}})
		wantReceived(t, stream, "[] to 0")
		begun := time.Now()
		time.Sleep(time.Minute) // in which nothing happens
		for range 3 {
			n.registry.set("other", serving)
			time.Sleep(time.Second)
		}
		wantReceived(t, stream, "[] to 1", "[] to 3")
		if took := time.Since(begun); took < time.Minute || took > time.Minute+20*time.Second {
			t.Errorf("the bookmark came after %s", took)
		}
		begun = time.Now()
		for range bookmarkRevisions {
			n.registry.set("other", serving)
		}
		m, err := stream.Recv()
		if err != nil || m.GetRevision() != 1003 || time.Since(begun) > bookmarkInterval {
			t.Errorf("%v, %v after %s", m, err, time.Since(begun))
		}
	})
}

func TestWatchServices(t *testing.T) {
	n := single(t)
	n.registry.set("shop/a", serving)
	n.registry.set("other", serving)
	ctx := patient(t)
	stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Prefixes: []string{"shop/"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 1} { // as the fake begins
		m, err := stream.Recv()
		if err != nil || len(m.GetServices()) != want || !m.GetSynced() {
			t.Fatalf("%v %v", m, err)
		}
	}
	n.registry.mu.Lock()
	n.registry.oldest = 2
	n.registry.mu.Unlock()
	behind, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
	if err == nil {
		_, err = behind.Recv()
	}
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonFellBehind, "", nil, "begin it anew"})
}

// What ends, refuses and counts watches of services does so with those of events, of all services and of names.
func TestWatchesOfTheRegistryEnd(t *testing.T) {
	open := func(t *testing.T, n *testNode, ctx context.Context) (recv []func() error) {
		t.Helper()
		events := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{})
		services, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		names, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Services: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		return []func() error{
			func() error { _, err := events.Recv(); return err },
			func() error { _, err := services.Recv(); return err },
			func() error { _, err := names.Recv(); return err },
		}
	}
	opened := func(t *testing.T, n *testNode, ctx context.Context) []func() error {
		t.Helper()
		recv := open(t, n, ctx)
		for _, r := range recv {
			if err := r(); err != nil {
				t.Fatal(err)
			}
		}
		return recv
	}
	check := func(t *testing.T, recv []func() error, w want) {
		t.Helper()
		for _, r := range recv {
			checkError(t, r(), w)
		}
	}
	t.Run("with the node", func(t *testing.T) {
		n := single(t)
		recv := opened(t, n, patient(t))
		if n.OpenWatches() != 3 {
			t.Errorf("%d watches are counted", n.OpenWatches())
		}
		if err := n.Stop(patient(t)); err != nil {
			t.Error(err)
		}
		check(t, recv, want{codes.Unavailable, rpcerror.ReasonStopping, "", nil, ""})
	})
	t.Run("when it diverges", func(t *testing.T) {
		n := single(t)
		ctx := patient(t)
		recv := opened(t, n, ctx)
		n.Diverged(42)
		diverged := want{codes.Unavailable, rpcerror.ReasonDiverged, "", map[string]string{rpcerror.MetaIndex: "42"}, ""}
		check(t, recv, diverged)
		check(t, open(t, n, ctx), diverged)
		_, err := n.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{})
		checkError(t, err, diverged)
	})
	t.Run("at the limit", func(t *testing.T) {
		n := single(t, func(c *Config) { c.MaxWatchesPerConnection = 3 })
		ctx, cancel := context.WithCancel(patient(t))
		opened(t, n, ctx)
		check(t, open(t, n, ctx), want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, "--max-watches-per-connection"})
		cancel()
	})
	t.Run("without a leader", func(t *testing.T) {
		bubble(t, "virtual", func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect("n1")
			n := c.nodes["n1"]
			recv := opened(t, n, metadata.AppendToOutgoingContext(timeout(t, time.Hour), freshness.MetadataRequireLeader, "true"))
			n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "", false })
			check(t, recv, want{codes.Unavailable, rpcerror.ReasonNoLeader, "", nil, ""})
		})
	})
	t.Run("which wait for a revision", func(t *testing.T) {
		bubble(t, "virtual", func(t *testing.T) {
			n := single(t)
			ctx := metadata.AppendToOutgoingContext(timeout(t, time.Hour), freshness.MetadataMinRevision, "3")
			check(t, open(t, n, ctx), want{codes.Unavailable, rpcerror.ReasonRevisionNotReached, "", nil, ""})
			n.registry.setAll(serving, "a", "b", "c")
			stream := watchEvents(t, ctx, n, &rollcallv1.WatchEventsRequest{})
			header, err := stream.Header()
			if err != nil || !slices.Equal(header.Get(freshness.MetadataRevision), []string{"3"}) {
				t.Errorf("%v %v", header, err)
			}
		})
	})
}

func TestBadWatchesOfTheRegistryAreRefused(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	n.registry.set("a", serving)
	n.registry.set("a", notServing)
	n.registry.oldest = 2
	for name, tt := range map[string]struct {
		req *rollcallv1.WatchEventsRequest
		w   want
	}{
		"before zero":       {&rollcallv1.WatchEventsRequest{FromRevision: -1}, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "from_revision is -1"}},
		"a long prefix":     {&rollcallv1.WatchEventsRequest{Prefixes: []string{"", strings.Repeat("x", 257)}}, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "prefixes[1] is 257"}},
		"many prefixes":     {&rollcallv1.WatchEventsRequest{Prefixes: make([]string, 101)}, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "prefixes has 101"}},
		"below the horizon": {&rollcallv1.WatchEventsRequest{FromRevision: 1}, want{codes.OutOfRange, rpcerror.ReasonCompacted, "", map[string]string{rpcerror.MetaOldestRevision: "2"}, "before revision 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := watchEvents(t, ctx, n, tt.req).Recv()
			checkError(t, err, tt.w)
		})
	}
	stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Prefixes: []string{"a\x00"}})
	if err == nil {
		_, err = stream.Recv()
	}
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "prefixes[0]"})
	if status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// TestP8AWatchOfEventsThatIsNotReadKeepsOnePage: while a client reads nothing, no further page is made
// than the one that gRPC holds; what comes then is whole.
func TestP8AWatchOfEventsThatIsNotReadKeepsOnePage(t *testing.T) {
	bubble(t, "virtual", func(t *testing.T) {
		n := single(t)
		name := strings.Repeat("x", 200)
		stream := watchEvents(t, timeout(t, time.Hour), n, &rollcallv1.WatchEventsRequest{FromRevision: 1})
		total := 0
		for range 50 {
			for range 100 {
				n.registry.set(name, serving)
			}
			total += 100
			time.Sleep(time.Millisecond) // lets everything run that can
		}
		time.Sleep(time.Minute)
		messages, got := 0, int64(0)
		for got < int64(total) {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range m.GetEvents() {
				if got++; e.GetRevision() != got {
					t.Fatalf("revision %d follows %d", e.GetRevision(), got-1)
				}
			}
			messages++
		}
		// The client's window takes the first few; the rest came in one.
		if messages > 10 {
			t.Errorf("%d messages were made for a client that did not read", messages)
		}
	})
}

// A watcher that does not read what was sent to it does not keep the node from stopping.
func TestAStuckWatchDoesNotHoldUpTheStop(t *testing.T) {
	n := single(t)
	for range 3000 {
		n.registry.set(strings.Repeat("x", 200), serving)
	}
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
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := patient(t)
	stream, err := rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
	if err != nil {
		t.Fatal(err)
	}
	wantReceived(t, stream, "[] to 0") // and nothing more is read
	if err := srv.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
