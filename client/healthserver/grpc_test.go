package healthserver

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
)

const method = "/shop.v1.Cart/Add"

// host is a process with a gRPC server in memory.
type host struct {
	*grpc.Server
	listener *bufconn.Listener
	served   atomic.Int64 // calls of method
	watches  atomic.Int64 // that were opened
	work     func(context.Context) error
}

// newHost serves s and method.
func newHost(t *testing.T, s *Server, opts ...grpc.ServerOption) *host {
	t.Helper()
	h := &host{listener: bufconn.Listen(1 << 20), work: func(context.Context) error { return nil }}
	h.Server = grpc.NewServer(append(opts, grpc.ChainStreamInterceptor(
		func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			h.watches.Add(1)
			return handler(srv, stream)
		}))...)
	healthpb.RegisterHealthServer(h.Server, s)
	h.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.v1.Cart", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Add", Handler: func(_ any, ctx context.Context, decode func(any) error, gate grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(new(emptypb.Empty)); err != nil {
				return nil, err
			}
			handler := func(ctx context.Context, _ any) (any, error) {
				h.served.Add(1)
				return new(emptypb.Empty), h.work(ctx)
			}
			if gate == nil {
				return handler(ctx, nil)
			}
			return gate(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, handler)
		}}},
	}, nil)
	served := make(chan struct{})
	go func() {
		_ = h.Serve(h.listener)
		close(served)
	}()
	t.Cleanup(func() {
		h.Stop()
		<-served
	})
	return h
}

// dial returns a stock channel to hosts: round_robin and health checking of service, if checked.
func dial(t *testing.T, checked bool, hosts ...*host) *grpc.ClientConn {
	t.Helper()
	config := `{"loadBalancingConfig":[{"round_robin":{}}]}`
	if checked {
		config = `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"` + service + `"}}`
	}
	byName := map[string]*host{}
	var state resolver.State
	for i, h := range hosts {
		name := string(rune('a' + i))
		byName[name] = h
		addr := resolver.Address{Addr: name}
		state.Addresses = append(state.Addresses, addr)
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{addr}})
	}
	r := manual.NewBuilderWithScheme("test")
	r.InitialState(state)
	cc, err := grpc.NewClient("test:///", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(config),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
			return byName[name].listener.DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func add(ctx context.Context, cc *grpc.ClientConn) error {
	return cc.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty))
}

// ready waits until calls are served.
func ready(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cc.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty), grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}
