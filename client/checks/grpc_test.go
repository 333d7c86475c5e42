package checks

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// serveGRPC serves on a new listener of network until the end of the test.
func serveGRPC(t *testing.T, network, addr string, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

type fakeHealth struct {
	healthpb.UnimplementedHealthServer
	check func(context.Context) (*healthpb.HealthCheckResponse, error)
}

func (f *fakeHealth) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return f.check(ctx)
}

func TestGRPC(t *testing.T) {
	h := health.NewServer()
	h.SetServingStatus("off", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("odd", healthpb.HealthCheckResponse_UNKNOWN)
	register := func(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) }
	addr := serveGRPC(t, "tcp", "127.0.0.1:0", register)
	wantOK(t, within(t, GRPC("x", addr), 5*time.Second))
	wantOK(t, within(t, GRPC("x", "dns:///"+addr), 5*time.Second))
	wantFailure(t, within(t, GRPC("x", addr, GRPCService("off")), 5*time.Second), addr+": answered NOT_SERVING, wanted SERVING")
	wantFailure(t, within(t, GRPC("x", addr, GRPCService("odd")), 5*time.Second), "answered UNKNOWN")
	wantFailure(t, within(t, GRPC("x", addr, GRPCService("none")), 5*time.Second), `it does not know the service "none"`)
	socket := filepath.Join(t.TempDir(), "s")
	serveGRPC(t, "unix", socket, register)
	wantOK(t, within(t, GRPC("x", "unix:"+socket), 5*time.Second))

	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantOK(t, within(t, GRPCConn("x", conn, ""), 5*time.Second))
	wantFailure(t, within(t, GRPCConn("x", conn, "off"), 5*time.Second), "NOT_SERVING")

	wantFailure(t, within(t, GRPC("x", serveGRPC(t, "tcp", "127.0.0.1:0", func(*grpc.Server) {})), 5*time.Second), "it does not serve grpc.health.v1.Health")
	wantFailure(t, within(t, GRPC("x", closedPort(t)), 5*time.Second), "connection refused")
	wantFailure(t, within(t, GRPC("x", "unix:"+socket+"-none"), 5*time.Second), "the socket does not exist")
	wantFailure(t, within(t, GRPC("x", addr, GRPCTLS(&tls.Config{})), 5*time.Second), "it does not speak TLS there")
}

func TestGRPCErrors(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Unauthenticated: "UNAUTHENTICATED", codes.PermissionDenied: "PERMISSION_DENIED", codes.Internal: "Internal: oops", codes.Canceled: "ended the call",
		codes.Unavailable: "oops", codes.DeadlineExceeded: "no answer within",
	} {
		addr := serveGRPC(t, "tcp", "127.0.0.1:0", func(s *grpc.Server) {
			healthpb.RegisterHealthServer(s, &fakeHealth{check: func(context.Context) (*healthpb.HealthCheckResponse, error) {
				return nil, status.Error(code, "oops\n\x00")
			}})
		})
		wantFailure(t, within(t, GRPC("x", addr), 5*time.Second), want)
	}
}

func TestGRPCThatHangs(t *testing.T) {
	begun := make(chan struct{}, 2)
	addr := serveGRPC(t, "tcp", "127.0.0.1:0", func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, &fakeHealth{check: func(ctx context.Context) (*healthpb.HealthCheckResponse, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
	})
	wantLate(t, within(t, GRPC("x", addr), hang), addr+": no answer")
	select {
	case <-begun:
	default: // a busy machine may have had no time to begin
	}
	stopped(t, GRPC("x", addr), begun)

	silent := listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	wantLate(t, within(t, GRPC("x", silent), hang), "no answer")
	wantLate(t, within(t, GRPC("x", silent, GRPCTLS(&tls.Config{})), hang), "no answer")
}

func TestGRPCGarbage(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	wantFailure(t, within(t, GRPC("x", web.Listener.Addr().String()), 5*time.Second))
	wantFailure(t, within(t, GRPC("x", listen(t, func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-x\r\n\r\n") })), 5*time.Second))
	wantFailure(t, within(t, GRPC("x", listen(t, func(net.Conn) {})), 5*time.Second))
}

func TestGRPCOfNothing(t *testing.T) {
	refuses(t, GRPC("x", "http://x:80"), "without http://")
	refuses(t, GRPC("x", "x:80", GRPCTLS(nil)), "nil")
	refuses(t, GRPCConn("x", nil, ""), "nil")
	refuses(t, GRPCConn("x", (*grpc.ClientConn)(nil), ""), "nil")
}
