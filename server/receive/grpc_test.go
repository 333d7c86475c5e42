package receive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

type health struct {
	healthpb.UnimplementedHealthServer
	transport chan bool
}

func (h *health) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	h.transport <- transportOf(ctx) != nil
	return &healthpb.HealthCheckResponse{}, nil
}

func (h *health) Watch(req *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	h.transport <- transportOf(s.Context()) != nil
	return s.Send(&healthpb.HealthCheckResponse{})
}

// serve has l receive the requests of h, with gRPC. What it returns makes a connection.
func serve(t *testing.T, l *Limits, h healthpb.HealthServer) func() *grpc.ClientConn {
	s := grpc.NewServer(grpc.ForceServerCodecV2(encoding.GetCodecV2(encodingproto.Name)))
	healthpb.RegisterHealthServer(l.Streams(l.Methods(s)), h)
	lis := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(lis)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return func() *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// TestReadsRequestsItself: this version of gRPC has the methods that transport.go needs, and calls with a
// reader of their own work as they do with gRPC's.
func TestReadsRequestsItself(t *testing.T) {
	l := newLimits(1<<20, 1<<20)
	h := &health{transport: make(chan bool, 1)}
	conn := serve(t, l, h)()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "k", "v")
	c := healthpb.NewHealthClient(conn)
	for _, size := range []int{10, 100_000} {
		for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
			req := &healthpb.HealthCheckRequest{Service: string(bytes.Repeat([]byte("n"), size))}
			if _, err := c.Check(ctx, req, opts...); err != nil {
				t.Errorf("Check: %v", err)
			}
			if !<-h.transport {
				t.Fatal("gRPC reads the requests: its stream has other methods now")
			}
			w, err := c.Watch(ctx, req, opts...)
			if err == nil {
				_, err = w.Recv()
			}
			if err == nil {
				_, err = w.Recv()
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("Watch: %v", err)
			}
			<-h.transport
		}
	}
	if used(l) != 0 {
		t.Errorf("%d bytes stay counted", used(l))
	}
	// The limits are asked, so it is they who receive.
	l.node = 0
	if _, err := c.Check(ctx, &healthpb.HealthCheckRequest{Service: string(bytes.Repeat([]byte("n"), 100_000))}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("over the limit of the node: %v", err)
	}
}

// echo answers at once.
type echo struct {
	healthpb.UnimplementedHealthServer
}

func (echo) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{}, nil
}

func (echo) Watch(_ *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return s.Send(&healthpb.HealthCheckResponse{})
}

// TestManyClientsAtOnce: calls that end in every way, cut off, refused, cancelled and half sent, beside others.
// Whoever is received is answered, and nothing stays counted.
func TestManyClientsAtOnce(t *testing.T) {
	l := newLimits(1<<20, 400<<10)
	l.active.Add(uncounted)
	connect := serve(t, l, echo{})
	var clients sync.WaitGroup
	for i := range 8 {
		conn := connect()
		clients.Go(func() {
			var calls sync.WaitGroup
			defer calls.Wait()
			for n := range 60 {
				calls.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					req := &healthpb.HealthCheckRequest{Service: strings.Repeat("n", []int{10, 2_000, 100_000}[(i+n)%3])}
					var err error
					switch n % 5 {
					case 0:
						_, err = healthpb.NewHealthClient(conn).Check(ctx, req)
					case 1:
						_, err = healthpb.NewHealthClient(conn).Check(ctx, req, grpc.UseCompressor("gzip"))
					case 2:
						var w healthpb.Health_WatchClient
						if w, err = healthpb.NewHealthClient(conn).Watch(ctx, req); err == nil {
							_, err = w.Recv()
						}
					case 3: // the request is complete, but the client does not say so, and leaves
						var call grpc.ClientStream
						if call, err = conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, healthpb.Health_Check_FullMethodName); err == nil {
							err = call.SendMsg(req)
						}
						cancel()
					case 4: // two requests
						var call grpc.ClientStream
						if call, err = conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, healthpb.Health_Check_FullMethodName); err == nil {
							_ = call.SendMsg(req)
							_ = call.SendMsg(req)
							_ = call.CloseSend()
							if err = call.RecvMsg(new(healthpb.HealthCheckResponse)); err == nil {
								t.Error("two requests have an answer")
							}
						}
					}
					switch c := status.Code(err); {
					case c == codes.OK || c == codes.ResourceExhausted || errors.Is(err, io.EOF):
					case c == codes.Internal && n%5 == 4:
					default:
						t.Errorf("call %d: %v", n, err)
					}
				})
			}
		})
	}
	clients.Wait()
	conn := connect()
	for l.active.Load() > uncounted { // those who left are noticed in a moment
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used != 0 || len(l.connections) != 0 {
		t.Errorf("%d bytes of %d connections stay counted", l.used, len(l.connections))
	}
}
