package cluster_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/tlsport"
)

// TestVirtualHealthListen: probes in plain text are answered for the node's own names and nothing else, also while the
// ports have TLS, and connections that do nothing keep no probe out.
func TestVirtualHealthListen(t *testing.T) {
	beside(t, ofVirtualTime)
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewCA(t, "ca")
		c, _ := secureVirtual(t, 1, tlsport.Required, ca)
		defer c.close()
		n := c.nodes[0]
		n.cfg.HealthListen = "127.0.0.1:7603"
		n.start()
		c.waitReady()
		cl := c.client()
		defer cl.Close()
		if _, err := cl.Set(t.Context(), "shop", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		dial := func() *grpc.ClientConn {
			conn, err := grpc.NewClient("passthrough:///127.0.0.1:7603", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.dialer))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		conn := dial()
		defer conn.Close()
		probe := healthpb.NewHealthClient(conn)
		for _, name := range []string{rollcallv1.OwnReady, rollcallv1.OwnLive, rollcallv1.OwnReads, rollcallv1.OwnLeader} {
			if resp, err := probe.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}); err != nil || resp.GetStatus() != serving {
				t.Errorf("%q: %v %v", name, resp, err)
			}
		}
		for _, name := range []string{"shop", "rollcall", "rollcall.none", "Rollcall.live", " "} {
			if resp, err := probe.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}); status.Code(err) != codes.NotFound {
				t.Errorf("%q: %v %v", name, resp, err)
			}
		}
		if _, err := probe.List(t.Context(), &healthpb.HealthListRequest{}); status.Code(err) != codes.Unimplemented {
			t.Error(err)
		}
		if w, err := probe.Watch(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Error(err)
		} else if _, err := w.Recv(); status.Code(err) != codes.Unimplemented {
			t.Error(err)
		}
		if _, err := rollcallv1.NewRegistryClient(conn).ListServices(t.Context(), &rollcallv1.ListServicesRequest{}); status.Code(err) != codes.Unimplemented {
			t.Error(err)
		}
		var idle []net.Conn
		for range 200 {
			stranger, err := c.net.Dial(t.Context(), "127.0.0.1:7603")
			if err != nil {
				t.Fatal(err)
			}
			idle = append(idle, stranger)
			synctest.Wait()
		}
		fresh := dial()
		defer fresh.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := healthpb.NewHealthClient(fresh).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		for _, stranger := range idle {
			stranger.Close()
		}
		n.stop()
		if _, err := c.net.Dial(t.Context(), "127.0.0.1:7603"); err == nil {
			t.Error("a port is open after the node was closed")
		}
	})
}
