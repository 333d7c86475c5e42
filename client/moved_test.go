package client_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// names is a name service and the network behind it: hosts have names, nodes move between them.
type names struct {
	mu sync.Mutex
	at map[string]string // host:port → node
}

func (n *names) move(to map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = to
}

func (n *names) of(address string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at[address]
}

// TestNodesThatMovedAreFoundSoon: all nodes move to other addresses and keep their names. What is open goes on
// there within seconds: a name is resolved at each dial.
func TestNodesThatMovedAreFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 4)
		hosts := &names{}
		hosts.move(map[string]string{"a.example:7600": "n1", "b.example:7600": "n2"})
		cfg := f.config()
		cfg.Endpoints = []string{"a.example:7600", "b.example:7600"}
		cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			if hosts.of(address) == "" {
				return nil, fmt.Errorf("lookup %s: no such host", address)
			}
			return f.dial(ctx, hosts.of(address))
		})}
		c := newClient(t, cfg)
		w := watch(t, c, "a")
		w.want(t, "SERVICE_UNKNOWN")

		f.nodes[0].kill()
		f.nodes[1].kill()
		time.Sleep(3 * time.Second) // they are away for longer than all of the first tries
		hosts.move(map[string]string{"a.example:7600": "n3", "b.example:7600": "n4"})
		f.write(event{service: "a", status: serving})
		time.Sleep(3 * time.Second)
		w.want(t, "SERVICE_UNKNOWN SERVING")
		if s, err := c.Check(t.Context(), "a"); s != serving || err != nil {
			t.Errorf("Check: %v, %v", s, err)
		}
	})
}

// TestEndpointsOfGRPCStayTheirs: what names a resolver of gRPC is left to it.
func TestEndpointsOfGRPCStayTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for endpoint, dialed := range map[string]string{
			"passthrough:///x:1": "x:1",
			"x:1":                "x:1",
			"[::1]:7600":         "[::1]:7600",
			"unix:/tmp/s":        "unix:///tmp/s",
			"unix:///tmp/s":      "unix:///tmp/s",
			"dns:///127.0.0.1:5": "127.0.0.1:5",
		} {
			var got string
			cfg := client.DefaultConfig()
			cfg.Endpoints = []string{endpoint}
			cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) {
				got = address
				return nil, status.Error(codes.Unavailable, "nobody")
			})}
			c := newClient(t, cfg)
			if _, err := c.Check(t.Context(), "a"); err == nil {
				t.Errorf("%s: Check succeeded", endpoint)
			}
			if got != dialed {
				t.Errorf("%s: %q was dialed, want %q", endpoint, got, dialed)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestEveryAddressIsDialedAsItIsGiven: nothing of an address means anything to what resolves it.
func TestEveryAddressIsDialedAsItIsGiven(t *testing.T) {
	for _, address := range []string{"a.example:7600", "127.0.0.1:7600", "[::1]:7600", "[fe80::1%eth0]:7600", "[fe80::1%25]:7600"} {
		synctest.Test(t, func(t *testing.T) {
			f := startBuffered(t, 1)
			dialed := make(chan string, 1)
			cfg := f.config()
			cfg.Endpoints = []string{address}
			cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				dialed <- address
				return f.dial(ctx, "n1")
			})}
			c := newClient(t, cfg)
			if _, err := c.Check(t.Context(), "a"); status.Code(err) != codes.NotFound && err != nil {
				t.Errorf("%s: %v", address, err)
				return
			}
			if got := <-dialed; got != address {
				t.Errorf("%s: %s was dialed", address, got)
			}
		})
	}
}
