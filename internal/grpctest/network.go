package grpctest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/test/bufconn"
)

// Network has servers by their addresses. Dialing an address without a server is refused.
type Network struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	backends map[string]*Backend
}

// NewNetwork returns a network without servers, which ends with the test.
func NewNetwork(t *testing.T) *Network {
	n := &Network{t: t, backends: map[string]*Backend{}}
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, b := range n.backends {
			b.server.Stop()
		}
	})
	return n
}

// DialOption has a channel dial inside the network.
func (n *Network) DialOption() grpc.DialOption { return grpc.WithContextDialer(n.dial) }

func (n *Network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	b := n.backends[address]
	n.mu.Unlock()
	if b == nil {
		return nil, fmt.Errorf("%s: connection refused", address)
	}
	return b.listener.DialContext(ctx)
}

// Backend is one server. It implements grpc.testing.TestService's EmptyCall and UnaryCall, which take as long as
// Set says, and serves its health, if it has one.
type Backend struct {
	testpb.UnimplementedTestServiceServer
	Health *health.Server // SERVING for ""

	network  *Network
	address  string
	listener *bufconn.Listener
	server   *grpc.Server
	calls    atomic.Int64
	takes    atomic.Int64
	failure  atomic.Pointer[error]
}

// Option changes what a Backend serves.
type Option func(*settings)

type settings struct {
	server  []grpc.ServerOption
	healthy bool
}

// WithoutHealth leaves the health service out.
func WithoutHealth() Option { return func(s *settings) { s.healthy = false } }

// WithServerOptions adds interceptors and the like.
func WithServerOptions(o ...grpc.ServerOption) Option {
	return func(s *settings) { s.server = append(s.server, o...) }
}

// Start starts a server at an address that has none.
func (n *Network) Start(address string, opts ...Option) *Backend {
	s := settings{healthy: true}
	for _, o := range opts {
		o(&s)
	}
	b := &Backend{
		Health: health.NewServer(), network: n, address: address,
		listener: bufconn.Listen(64 << 10), server: grpc.NewServer(s.server...),
	}
	testpb.RegisterTestServiceServer(b.server, b)
	if s.healthy {
		healthpb.RegisterHealthServer(b.server, b.Health)
	}
	go func() { _ = b.server.Serve(b.listener) }()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.backends[address] != nil {
		n.t.Fatalf("%s has a server already", address)
	}
	n.backends[address] = b
	return b
}

// Kill ends the server as kill -9 does: connections break, and the address refuses.
func (b *Backend) Kill() {
	b.network.mu.Lock()
	delete(b.network.backends, b.address)
	b.network.mu.Unlock()
	b.server.Stop()
}

// Address is where the server is.
func (b *Backend) Address() string { return b.address }

// Calls returns how many calls have come.
func (b *Backend) Calls() int { return int(b.calls.Load()) }

// Set has calls take that long, and then fail; nil: answer.
func (b *Backend) Set(takes time.Duration, failure error) {
	b.takes.Store(int64(takes))
	b.failure.Store(&failure)
}

func (b *Backend) work(ctx context.Context) error {
	b.calls.Add(1)
	if takes := time.Duration(b.takes.Load()); takes > 0 {
		t := time.NewTimer(takes)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if failure := b.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// EmptyCall is an example of a method.
func (b *Backend) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, b.work(ctx)
}

// UnaryCall is an example of another method. It answers with the server's address.
func (b *Backend) UnaryCall(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{ServerId: b.address}, b.work(ctx)
}

// FullDuplexCall is an example of a stream. It ends when the caller ends it.
func (b *Backend) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	b.calls.Add(1)
	<-stream.Context().Done()
	return nil
}
