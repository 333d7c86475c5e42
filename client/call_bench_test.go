package client_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// prompt answers every call at once.
type prompt struct {
	healthpb.UnimplementedHealthServer
	rollcallv1.UnimplementedAdminServer
}

func (prompt) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: serving}, nil
}

func (prompt) SetServingStatus(context.Context, *rollcallv1.SetServingStatusRequest) (*rollcallv1.SetServingStatusResponse, error) {
	return &rollcallv1.SetServingStatusResponse{Revision: 1, ClusterId: "3f9a"}, nil
}

// BenchmarkCall is one call after the other over memory: what the client adds to gRPC, whose own part is "grpc".
func BenchmarkCall(b *testing.B) {
	l := bufconn.Listen(64 << 10)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, prompt{})
	rollcallv1.RegisterAdminServer(s, prompt{})
	go s.Serve(l)
	defer s.Stop()
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	cfg := client.DefaultConfig()
	cfg.DialOptions = []grpc.DialOption{dial}
	c, err := client.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	run := func(name string, call func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	conn, err := grpc.NewClient("passthrough:///n1", grpc.WithTransportCredentials(insecure.NewCredentials()), dial)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	health := healthpb.NewHealthClient(conn)
	run("grpc", func() error {
		_, err := health.Check(b.Context(), &healthpb.HealthCheckRequest{Service: "a"})
		return err
	})
	run("Check", func() error {
		_, err := c.Check(b.Context(), "a")
		return err
	})
	run("Set", func() error {
		_, err := c.Set(b.Context(), "a", serving, client.WriteOptions{})
		return err
	})
}
