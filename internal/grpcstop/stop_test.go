package grpcstop

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// watched is a server whose Watch ends when the server says so, and whose Check hangs until its client is gone.
type watched struct {
	healthpb.UnimplementedHealthServer
	ends chan struct{}
}

func (w *watched) Watch(_ *healthpb.HealthCheckRequest, s healthpb.Health_WatchServer) error {
	if err := s.Send(&healthpb.HealthCheckResponse{}); err != nil {
		return err
	}
	select {
	case <-w.ends:
		return status.Error(codes.Unavailable, "stopping")
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

func (w *watched) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestStop: the connection has GOAWAY before the streams end; a call that hangs ends with the context.
func TestStop(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := bufconn.Listen(64 << 10)
			w := &watched{ends: make(chan struct{})}
			g := grpc.NewServer()
			healthpb.RegisterHealthServer(g, w)
			served := make(chan error, 1)
			go func() { served <- g.Serve(l) }()
			conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			cl := healthpb.NewHealthClient(conn)
			stream, err := cl.Watch(t.Context(), &healthpb.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			called := make(chan error, 1)
			if hangs {
				go func() {
					_, err := cl.Check(t.Context(), &healthpb.HealthCheckRequest{})
					called <- err
				}()
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			begun, ended := time.Now(), time.Duration(0)
			err = Stop(ctx, g, func() {
				ended = time.Since(begun)
				if got := conn.GetState(); got != connectivity.Idle {
					t.Errorf("the streams end and the connection is %v: it had no GOAWAY", got)
				}
				close(w.ends)
			})
			if hangs != errors.Is(err, context.DeadlineExceeded) || !hangs && err != nil {
				t.Errorf("Stop returns %v", err)
			}
			if took := time.Since(begun); ended != GoAwayPause || took > 2*time.Second || hangs != (took == 2*time.Second) {
				t.Errorf("the streams end after %v, Stop took %v", ended, took)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("the stream ends with %v", err)
			}
			if hangs {
				if err := <-called; err == nil {
					t.Error("the call that hangs has an answer")
				}
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("the call that hangs ends after %v", took)
				}
			}
			if err := <-served; err != nil {
				t.Errorf("Serve returns %v", err)
			}
		})
	}
}
