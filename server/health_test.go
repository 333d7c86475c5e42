package server

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func TestCheck(t *testing.T) {
	n := single(t)
	ctx := patient(t)
	for _, s := range []Status{unknown, serving, notServing} {
		n.registry.set("svc", s)
		res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
		if err != nil || res.GetStatus() != s {
			t.Errorf("got %v %v, want %v", res, err, s)
		}
	}
	for _, own := range []string{rollcallv1.OwnReady, rollcallv1.OwnLive, rollcallv1.OwnReads, rollcallv1.OwnLeader} {
		res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: own})
		if err != nil || res.GetStatus() != serving {
			t.Errorf("%q: got %v %v, want SERVING", own, res, err)
		}
	}
	for name, w := range map[string]want{
		"none":                   {codes.NotFound, rpcerror.ReasonNotFound, "", nil, "unknown service"},
		"rollcall.nonsense":      {codes.NotFound, rpcerror.ReasonNotFound, "", nil, "unknown service"},
		"has space, and *":       {codes.NotFound, rpcerror.ReasonNotFound, "", nil, "unknown service"},
		strings.Repeat("x", 256): {codes.NotFound, rpcerror.ReasonNotFound, "", nil, "unknown service"},
		strings.Repeat("x", 257): {codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "257 bytes"},
		"a\nb":                   {codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "control character"},
	} {
		_, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: name})
		checkError(t, err, w)
	}
}

func TestList(t *testing.T) {
	n := single(t, func(c *Config) { c.HealthListLimit = 3 })
	ctx := patient(t)
	n.registry.set("a", serving)
	n.registry.set("b", notServing)
	res, err := n.health().List(ctx, &healthpb.HealthListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.GetStatuses(); len(got) != 3 || got[""].GetStatus() != serving || got["a"].GetStatus() != serving || got["b"].GetStatus() != notServing {
		t.Errorf("got %v", got)
	}
	for _, more := range []string{"c", "d"} {
		n.registry.set(more, serving)
		_, err = n.health().List(ctx, &healthpb.HealthListRequest{})
		checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, "3 services"})
	}
}

func TestWatchFollowsIntoAndOutOfExistence(t *testing.T) {
	n := single(t)
	stream, err := n.health().Watch(patient(t), &healthpb.HealthCheckRequest{Service: "svc"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Status{serviceUnknown, serving, notServing, serviceUnknown, serving} {
		if s != serviceUnknown || n.registry.Revision() > 0 {
			n.registry.set("svc", s)
		}
		res, err := stream.Recv()
		if err != nil || res.GetStatus() != s {
			t.Fatalf("got %v %v, want %v", res, err, s)
		}
	}
}

func TestWatchRefusesBadNames(t *testing.T) {
	n := single(t)
	stream, err := n.health().Watch(patient(t), &healthpb.HealthCheckRequest{Service: strings.Repeat("x", 257)})
	if err == nil {
		_, err = stream.Recv()
	}
	checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "257 bytes"})
}

func TestStopEndsWatchesSoThatClientsMove(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	ctx := patient(t)
	stream, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	ready, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := ready.Recv(); err != nil || res.GetStatus() != serving {
		t.Fatal(res, err)
	}

	n.BeginDrain()
	if res, err := ready.Recv(); err != nil || res.GetStatus() != notServing {
		t.Errorf(`"" while draining: %v %v, want NOT_SERVING`, res, err)
	}
	for name, w := range map[string]Status{rollcallv1.OwnReads: notServing, rollcallv1.OwnLeader: notServing, rollcallv1.OwnLive: serving, "svc": serving} {
		res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: name})
		if err != nil || res.GetStatus() != w {
			t.Errorf("%q while draining: %v %v, want %v", name, res, err, w)
		}
	}
	_, err = n.admin().SetServingStatus(ctx, setRequest("svc", notServing))
	checkError(t, err, want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, "stopping"})

	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range []grpc.ServerStreamingClient[healthpb.HealthCheckResponse]{stream, ready} {
		_, err := s.Recv()
		checkError(t, err, want{codes.Unavailable, rpcerror.ReasonStopping, "", nil, "stopping"})
	}
	if err := n.Stop(ctx); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestServicesOfEachPort(t *testing.T) {
	n := single(t)
	for port, tt := range map[string]struct {
		server *grpc.Server
		want   []string
	}{
		"API": {n.api, []string{
			"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
			"rollcall.v1.Access", "rollcall.v1.Admin", "rollcall.v1.Cluster", "rollcall.v1.Registry",
		}},
		"peer": {n.peer, []string{"rollcall.peer.v1.Peer", "rollcall.v1.Cluster"}},
	} {
		if got := slices.Sorted(maps.Keys(tt.server.GetServiceInfo())); !slices.Equal(got, tt.want) {
			t.Errorf("%s port: %v, want %v", port, got, tt.want)
		}
	}
}

func TestStopIsBounded(t *testing.T) {
	c := newTestCluster(t, 1)
	c.elect("n1")
	n := c.nodes["n1"]

	// A connection that never says a word, and a change that does not end by itself.
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Node, cfg.Logger = "n1", n.log
	srv, err := New(cfg, Deps{Statuses: n.registry, Registry: n.registry, Layers: n.registry, Leases: &n.leases, Access: &n.access, Lessor: &n.lessor, Followers: n.registry, History: n.registry, Agreement: n.agreement, Node: n.agreement, Members: &n.members, Peers: peerFunc(c.dial)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis, bufconn.Listen(bufSize)) }()
	dialed := time.Now()
	mute, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	// The server greets with its settings, then waits for the client's.
	if _, err := io.ReadFull(mute, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	proposing := make(chan struct{})
	n.agreement.onPropose(proposeUntilDone(proposing))
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	called := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := rollcallv1.NewAdminClient(conn).SetServingStatus(ctx, setRequest("a", serving))
		called <- err
	}()
	<-proposing

	if err := srv.Stop(timeout(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop returned %v, want that it ran out of time", err)
	}
	if since := time.Since(dialed); since >= handshakeTimeout { // when gRPC itself gives it up, at the earliest
		t.Errorf("Stop ended %v after a connection that says nothing was dialed", since)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := <-called; status.Code(err) != codes.Unavailable || rpcerror.InfoOf(status.Convert(err)) != nil {
		t.Errorf("the call that was cut off got %v, want a bare UNAVAILABLE", err)
	}
}

// TestCheckIsSharedSafely would fail under -race if gRPC modified the shared answers.
func TestCheckIsSharedSafely(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	ctx := patient(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
				if err != nil || res.GetStatus() != serving {
					t.Errorf("%v %v", res, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// quietStatuses answers as the fold does: without a lock or an allocation.
type quietStatuses struct{ Statuses }

func (quietStatuses) Status(name string) (Status, bool) { return serving, name == "svc" }

func hotHealth() (*health, context.Context) {
	h := newHealth(readsOf(freshness.Reads{Node: "n1", Registry: newFakeRegistry(), Incoming: freshness.NewIncoming(), Timeout: time.Second}, &fakeAccess{}), quietStatuses{}, 100)
	// What grpc-go's own client sends.
	ctx := metadata.NewIncomingContext(context.Background(), metadata.MD{
		":authority": {"localhost:7600"}, "content-type": {"application/grpc"}, "user-agent": {"grpc-go/1.85.0"},
	})
	return h, ctx
}

func TestCheckDoesNotAllocate(t *testing.T) {
	h, ctx := hotHealth()
	for name, req := range map[string]*healthpb.HealthCheckRequest{"known": {Service: "svc"}, "unknown": {Service: "none"}} {
		if got := testing.AllocsPerRun(1000, func() { _, _ = h.Check(ctx, req) }); got != 0 {
			t.Errorf("Check of a %s service allocates %v times", name, got)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	h, ctx := hotHealth()
	req := &healthpb.HealthCheckRequest{Service: "svc"}
	b.Run("rollcall", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = h.Check(ctx, req)
		}
	})
	b.Run("grpc-go", func(b *testing.B) {
		theirs := grpchealth.NewServer()
		theirs.SetServingStatus("svc", serving)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = theirs.Check(ctx, req)
		}
	})
}

// BenchmarkMetadata is why incoming reads the map where it stands.
func BenchmarkMetadata(b *testing.B) {
	h, ctx := hotHealth()
	b.Run("in-place", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Incoming.Asks(ctx)
		}
	})
	b.Run("FromIncomingContext", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			freshness.Incoming{}.Asks(ctx)
		}
	})
	b.Run("ValueFromIncomingContext-4-keys", func(b *testing.B) { // which misses typos
		b.ReportAllocs()
		for b.Loop() {
			for _, k := range []string{freshness.MetadataMinRevision, "rollcall-consistency", "rollcall-max-staleness", "rollcall-require-leader"} {
				metadata.ValueFromIncomingContext(ctx, k)
			}
		}
	})
}

func BenchmarkCheckOverTheWire(b *testing.B) {
	run := func(b *testing.B, srv healthpb.HealthServer, opts ...grpc.ServerOption) {
		lis := bufconn.Listen(bufSize)
		s := grpc.NewServer(opts...)
		healthpb.RegisterHealthServer(s, srv)
		go func() { _ = s.Serve(lis) }()
		defer s.Stop()
		conn, err := grpc.NewClient("passthrough:///b", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		c := healthpb.NewHealthClient(conn)
		req := &healthpb.HealthCheckRequest{Service: "svc"}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Check(context.Background(), req); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.Run("rollcall", func(b *testing.B) {
		h, _ := hotHealth()
		run(b, h, apiOptions(DefaultConfig())...)
	})
	b.Run("grpc-go", func(b *testing.B) {
		theirs := grpchealth.NewServer()
		theirs.SetServingStatus("svc", serving)
		run(b, theirs)
	})
}
