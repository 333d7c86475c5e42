package aware_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/internal/grpctest"
)

// TestHealth has one of three servers answer its health check otherwise, and looks who is called.
func TestHealth(t *testing.T) {
	refuse := func(code codes.Code) grpctest.Option {
		return grpctest.WithServerOptions(grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if strings.HasPrefix(info.FullMethod, "/grpc.health.v1.Health/") {
				return status.Error(code, "by an interceptor")
			}
			return handler(srv, s)
		}))
	}
	for name, test := range map[string]struct {
		service string
		first   []grpctest.Option
		set     func(*grpctest.Backend)
		called  bool
	}{
		"SERVING":                                 {service: "checkout", called: true},
		"NOT_SERVING":                             {service: "checkout", set: func(b *grpctest.Backend) { b.Health.SetServingStatus("checkout", notServing) }},
		"the name is not known":                   {service: "cell-a/checkout", set: func(b *grpctest.Backend) {}},
		`"" is the whole server`:                  {service: "", set: func(b *grpctest.Backend) { b.Health.SetServingStatus("", notServing) }},
		`"" does not look at other names`:         {service: "", set: func(b *grpctest.Backend) { b.Health.SetServingStatus("checkout", notServing) }, called: true},
		"no health service counts as SERVING":     {service: "checkout", first: []grpctest.Option{grpctest.WithoutHealth()}, called: true},
		"UNIMPLEMENTED counts as SERVING":         {service: "checkout", first: []grpctest.Option{refuse(codes.Unimplemented)}, called: true},
		"UNAUTHENTICATED counts as not SERVING":   {service: "checkout", first: []grpctest.Option{refuse(codes.Unauthenticated)}},
		"PERMISSION_DENIED counts as not SERVING": {service: "checkout", first: []grpctest.Option{refuse(codes.PermissionDenied)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := grpctest.NewNetwork(t)
				backends := []*grpctest.Backend{n.Start(addresses[0], test.first...), n.Start(addresses[1]), n.Start(addresses[2])}
				for _, b := range backends {
					b.Health.SetServingStatus("checkout", serving)
				}
				for _, b := range backends[1:] {
					b.Health.SetServingStatus("cell-a/checkout", serving)
				}
				if test.set != nil {
					test.set(backends[0])
				}
				conn := dial(t, n, test.service)
				warm(t, conn)
				for range 20 {
					if err := call(conn); err != nil {
						t.Fatal(err)
					}
				}
				if called := backends[0].Calls() > 0; called != test.called {
					t.Errorf("the server was called %d times", backends[0].Calls())
				}
			})
		})
	}
}

func TestANameThatNobodyServesFailsAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		backends := start(n)
		conn := dial(t, n, "chekout")
		for range 5 {
			if err := call(conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "SERVICE_UNKNOWN") {
				t.Errorf("got %v", err)
			}
		}
		for _, b := range backends {
			if b.Calls() > 0 {
				t.Errorf("%s was called", b.Address())
			}
		}
	})
}

func TestPolicies(t *testing.T) {
	for name, config := range map[string]string{
		"round_robin":                "",
		"least_request_experimental": `{"choiceCount": 2}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := grpctest.NewNetwork(t)
				backends := start(n)
				conn := dial(t, n, "checkout", aware.WithPolicy(name, config))
				warm(t, conn)
				off, on := backends[0], backends[1:]
				for range 2 {
					off.Health.SetServingStatus("checkout", notServing)
					synctest.Wait()
					before := off.Calls()
					for range 200 {
						if err := call(conn); err != nil {
							t.Fatal(err)
						}
					}
					if calls := off.Calls() - before; calls > 0 {
						t.Errorf("%d calls went to a server that is NOT_SERVING", calls)
					}
					off.Health.SetServingStatus("checkout", serving)
					synctest.Wait()
					for range 200 {
						if err := call(conn); err != nil {
							t.Fatal(err)
						}
					}
					if off.Calls() == before || on[0].Calls() == 0 || on[1].Calls() == 0 {
						t.Errorf("calls: %d, %d, %d", off.Calls(), on[0].Calls(), on[1].Calls())
					}
				}
			})
		})
	}
}

// TestPickFirstIgnoresHealth shows why Dial refuses it.
func TestPickFirstIgnoresHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		backends := start(n)
		conn := stock(t, n, `{"healthCheckConfig": {"serviceName": "checkout"}}`)
		backends[0].Health.SetServingStatus("checkout", notServing)
		for range 200 {
			if err := call(conn); err != nil {
				t.Fatal(err)
			}
		}
		if backends[0].Calls() != 200 {
			t.Errorf("%d of 200 calls went to the server that is NOT_SERVING: pick_first heeds health now", backends[0].Calls())
		}
	})
	for _, name := range []string{"pick_first", "Pick_First"} {
		if _, err := aware.Dial("localhost:80", "checkout", aware.WithPolicy(name, "")); err == nil || !strings.Contains(err.Error(), "ignores health") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
