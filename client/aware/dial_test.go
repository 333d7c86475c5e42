package aware_test

import (
	"context"
	"go/build"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/internal/grpctest"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

var addresses = []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}

// listOf is a resolver of some addresses.
func listOf(addresses ...string) *manual.Resolver {
	r := manual.NewBuilderWithScheme("test")
	var s resolver.State
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
		s.Addresses = append(s.Addresses, resolver.Address{Addr: a})
	}
	r.InitialState(s)
	return r
}

// start starts a server at each of the addresses.
func start(n *grpctest.Network, opts ...grpctest.Option) []*grpctest.Backend {
	var all []*grpctest.Backend
	for _, a := range addresses {
		b := n.Start(a, opts...)
		b.Health.SetServingStatus("checkout", serving)
		all = append(all, b)
	}
	return all
}

func dial(t *testing.T, n *grpctest.Network, service string, opts ...aware.Option) *grpc.ClientConn {
	t.Helper()
	opts = append([]aware.Option{aware.WithResolver(listOf(addresses...)), aware.WithDialOptions(n.DialOption())}, opts...)
	conn, err := aware.Dial("test:///checkout", service, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// stock makes a channel with a service config, as a program without this package does.
func stock(t *testing.T, n *grpctest.Network, config string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("test:///checkout", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithResolvers(listOf(addresses...)), grpc.WithDefaultServiceConfig(config), n.DialOption())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func call(conn grpc.ClientConnInterface, wait ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{}, wait...)
	return err
}

// warm connects to all servers.
func warm(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	if err := call(conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestKilledInstance(t *testing.T) {
	withoutRetries := `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "checkout"}}`
	narrowThrottle := strings.Replace(mustConfig(t, aware.Options{Service: "checkout"}), `"maxTokens":1000`, `"maxTokens":10`, 1)
	for name, test := range map[string]struct {
		dial func(*testing.T, *grpctest.Network) *grpc.ClientConn
		lost bool
	}{
		"by Dial": {dial: func(t *testing.T, n *grpctest.Network) *grpc.ClientConn { return dial(t, n, "checkout") }},
		"stock, by ServiceConfig": {dial: func(t *testing.T, n *grpctest.Network) *grpc.ClientConn {
			return stock(t, n, mustConfig(t, aware.Options{Service: "checkout"}))
		}},
		"without retries":            {dial: func(t *testing.T, n *grpctest.Network) *grpc.ClientConn { return stock(t, n, withoutRetries) }, lost: true},
		"a burst empties a throttle": {dial: func(t *testing.T, n *grpctest.Network) *grpc.ClientConn { return stock(t, n, narrowThrottle) }, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := grpctest.NewNetwork(t)
				backends := start(n)
				for _, b := range backends {
					b.Set(40*time.Millisecond, nil)
				}
				conn := test.dial(t, n)
				warm(t, conn)
				load := grpctest.StartLoad(conn, 45, 5*time.Second)
				time.Sleep(time.Second + 20*time.Millisecond) // in the middle of calls
				backends[0].Kill()
				time.Sleep(time.Second)
				n.Start(addresses[0]).Health.SetServingStatus("checkout", serving)
				time.Sleep(3 * time.Second)
				calls, failures := load.Stop()
				if got := len(failures) > 0; got != test.lost {
					t.Errorf("%d of %d calls failed: %v", len(failures), calls, first(failures))
				}
			})
		})
	}
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

func TestUnsafeMethodsAreNotRetried(t *testing.T) {
	for name, test := range map[string]struct {
		unsafe       []string
		unary, empty int // how often a server is called when the program calls once
	}{
		"all are safe": {nil, 4, 4},
		"one method":   {[]string{"/grpc.testing.TestService/UnaryCall"}, 1, 4},
		"a service":    {[]string{"/grpc.testing.TestService/"}, 1, 1},
		"named twice":  {[]string{"/grpc.testing.TestService/EmptyCall", "/grpc.testing.TestService/EmptyCall"}, 4, 1},
		"another one":  {[]string{"/grpc.testing.TestService/Other", "/a.Service/"}, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := grpctest.NewNetwork(t)
				backends := start(n)
				conn := dial(t, n, "checkout", aware.WithUnsafe(test.unsafe...))
				warm(t, conn)
				count := func() (calls int) {
					for _, b := range backends {
						calls += b.Calls()
					}
					return calls
				}
				for _, b := range backends {
					b.Set(0, status.Error(codes.Unavailable, "it may have been done"))
				}
				before := count()
				if err := call(conn); status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
				unary := count() - before
				if _, err := testpb.NewTestServiceClient(conn).EmptyCall(t.Context(), &testpb.Empty{}); status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
				empty := count() - before - unary
				if unary != test.unary || empty != test.empty {
					t.Errorf("UnaryCall reached servers %d times, EmptyCall %d; want %d, %d", unary, empty, test.unary, test.empty)
				}
			})
		})
	}
}

func TestOtherCodesAreNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		backends := start(n)
		conn := dial(t, n, "")
		warm(t, conn)
		before := backends[0].Calls() + backends[1].Calls() + backends[2].Calls()
		for _, b := range backends {
			b.Set(0, status.Error(codes.Internal, "a bug"))
		}
		if err := call(conn); status.Code(err) != codes.Internal {
			t.Error(err)
		}
		if calls := backends[0].Calls() + backends[1].Calls() + backends[2].Calls() - before; calls != 1 {
			t.Errorf("a call that failed with INTERNAL was made %d times", calls)
		}
	})
}

// TestServiceConfigOfTheResolver: it would replace the channel's as a whole.
func TestServiceConfigOfTheResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		backends := start(n)
		r := listOf(addresses...)
		r.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
			s := resolver.State{ServiceConfig: parse(cc, `{"loadBalancingConfig": [{"pick_first": {}}]}`)}
			for _, a := range addresses {
				s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
			}
			r.InitialState(s)
		}
		conn, err := aware.Dial("test:///checkout", "checkout", aware.WithResolver(r), aware.WithDialOptions(n.DialOption(),
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"pick_first": {}}]}`)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		backends[0].Health.SetServingStatus("checkout", notServing)
		warm(t, conn)
		for range 20 {
			if err := call(conn); err != nil {
				t.Fatal(err)
			}
		}
		if backends[0].Calls() > 0 || backends[1].Calls() == 0 || backends[2].Calls() == 0 {
			t.Errorf("calls: %d, %d, %d", backends[0].Calls(), backends[1].Calls(), backends[2].Calls())
		}
	})
}

func parse(cc resolver.ClientConn, config string) *serviceconfig.ParseResult {
	return cc.ParseServiceConfig(config)
}

// TestKeepaliveIsAllowed: a server with gRPC's own settings closes connections that are pinged too often.
func TestKeepaliveIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		start(n)
		conn := dial(t, n, "checkout")
		warm(t, conn)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := testpb.NewTestServiceClient(conn).FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := stream.Recv()
			ended <- err
		}()
		time.Sleep(3 * time.Hour)
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("the stream ended: %v", err)
		}
	})
}

// TestReturningServer: gRPC's own backoff goes up to two minutes.
func TestReturningServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		conn := dial(t, n, "")
		if err := call(conn); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
		time.Sleep(20 * time.Minute)
		start(n)
		began := time.Now()
		if err := call(conn, grpc.WaitForReady(true)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 6*time.Second+500*time.Millisecond { // 5 s, and gRPC's jitter of a fifth
			t.Errorf("took %v", took)
		}
	})
}

func TestDialErrors(t *testing.T) {
	for name, test := range map[string]struct {
		target string
		opts   []aware.Option
		want   string
	}{
		"no target":            {"", nil, "target is empty"},
		"no resolver":          {"rollcall:///checkout", nil, "WithResolver"},
		"a target's syntax":    {"dns:///%zz", nil, "cannot be read"},
		"nil option":           {"localhost:80", []aware.Option{nil}, "option is nil"},
		"nil resolver":         {"localhost:80", []aware.Option{aware.WithResolver(nil)}, "resolver is nil"},
		"unregistered policy":  {"localhost:80", []aware.Option{aware.WithPolicy("rondrobin", "")}, "no policy rondrobin is registered"},
		"policy's config":      {"localhost:80", []aware.Option{aware.WithPolicy("round_robin", "[]")}, "not a JSON object"},
		"policy's config null": {"localhost:80", []aware.Option{aware.WithPolicy("round_robin", "null")}, "not a JSON object"},
		"policy's own rules":   {"localhost:80", []aware.Option{aware.WithPolicy("least_request_experimental", `{"choiceCount": 1}`)}, "choiceCount"},
		"unsafe":               {"localhost:80", []aware.Option{aware.WithUnsafe("UnaryCall")}, `"UnaryCall" is neither a method`},
		"nil view":             {"localhost:80", []aware.Option{aware.WithView(nil, aware.Mapping{"": "checkout"})}, "view is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := aware.Dial(test.target, "checkout", test.opts...)
			if err == nil {
				conn.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}

// TestHealthIsImported: gRPC checks no health in a program that imports it nowhere, and only logs that (#8590). The
// tests' own servers import it, so that no test with servers would notice.
func TestHealthIsImported(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(p.Imports, "google.golang.org/grpc/health") {
		t.Error("google.golang.org/grpc/health is not imported")
	}
}
