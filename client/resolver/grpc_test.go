package resolver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	_ "google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/internal/grpctest"
)

// dialed makes a channel of stock gRPC to the servers of the registry's instances.
func dialed(t *testing.T, n *grpctest.Network, r *registry, target, policy string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r.builder, NewNodes()), n.DialOption(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [`+policy+`]}`))
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func call(conn *grpc.ClientConn) (server string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{})
	return resp.GetServerId(), err
}

// oldStyle is a policy that stands on package balancer/base, which reads Addresses only.
type oldStyle struct{}

func (oldStyle) Build(i base.PickerBuildInfo) balancer.Picker {
	for sc := range i.ReadySCs {
		return always{sc}
	}
	return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
}

type always struct{ sc balancer.SubConn }

func (p always) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{SubConn: p.sc}, nil
}

// TestWithEveryPolicy switches one of three instances off and on.
func TestWithEveryPolicy(t *testing.T) {
	balancer.Register(base.NewBalancerBuilder("old_style", oldStyle{}, base.Config{}))
	for _, policy := range []string{
		`{"round_robin": {}}`, `{"pick_first": {}}`, `{"pick_first": {"shuffleAddressList": true}}`, `{"least_request_experimental": {}}`,
		`{"old_style": {}}`,
	} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, r := grpctest.NewNetwork(t), newRegistry(t)
				for _, a := range []string{a1, a2, a3} {
					n.Start(a)
				}
				conn := dialed(t, n, r, "rollcall:///checkout", policy)
				defer conn.Close()
				conn.Connect()
				synctest.Wait()
				r.off(false)
				r.both(1, is(a1, client.Serving), is(a2, client.Serving), is(a3, client.Serving))
				revision := int64(1)
				for _, off := range []string{a1, a2, a3} {
					revision++
					r.say("a", revision, overridden(off, client.NotServing, nil))
					for range 50 {
						if server, err := call(conn); err != nil || server == off {
							t.Fatalf("%s is switched off: a call went to %q: %v", off, server, err)
						}
					}
					revision++
					r.say("a", revision, is(off, client.Serving))
				}
				r.off(true)
				if server, err := call(conn); status.Code(err) != codes.Unavailable {
					t.Errorf("SERVICE is switched off: a call went to %q: %v", server, err)
				}
				r.off(false)
				if _, err := call(conn); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestFlipsUnderLoad: no call fails, and none goes to an instance that is switched off.
func TestFlipsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := grpctest.NewNetwork(t), newRegistry(t)
		backends := map[string]*grpctest.Backend{}
		for _, a := range []string{a1, a2, a3} {
			backends[a] = n.Start(a)
			backends[a].Set(2*time.Millisecond, nil)
		}
		conn := dialed(t, n, r, "rollcall:///checkout", `{"round_robin": {}}`)
		defer conn.Close()
		conn.Connect()
		synctest.Wait()
		r.off(false)
		r.both(1, is(a1, client.Serving), is(a2, client.Serving), is(a3, client.Serving))
		load := grpctest.StartLoad(conn, 8, time.Minute)
		revision := int64(1)
		for range 10 {
			for _, off := range []string{a1, a2, a3} {
				revision++
				r.say("a", revision, is(off, client.NotServing))
				time.Sleep(5 * time.Millisecond) // calls under way end
				before := backends[off].Calls()
				time.Sleep(20 * time.Millisecond)
				if more := backends[off].Calls() - before; more > 0 {
					t.Errorf("%d calls went to %s, which is switched off", more, off)
				}
				revision++
				r.say("a", revision, is(off, client.Serving))
			}
		}
		if calls, failures := load.Stop(); len(failures) > 0 || calls < 500 {
			t.Errorf("%d of %d calls failed: %v", len(failures), calls, failures)
		}
	})
}

// TestIdleAndBack: after a time without calls gRPC lets the resolver go.
func TestIdleAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := grpctest.NewNetwork(t), newRegistry(t)
		n.Start(a1)
		conn := dialed(t, n, r, "rollcall:///checkout", `{"round_robin": {}}`, grpc.WithIdleTimeout(time.Minute))
		defer conn.Close()
		conn.Connect()
		synctest.Wait()
		r.off(false)
		r.both(1, is(a1, client.Serving))
		if _, err := call(conn); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Minute)
		if r.open.Load() != 0 {
			t.Errorf("%d watches of an idle channel", r.open.Load())
		}
		// The registry says nothing now: the channel goes on with what it knew.
		if _, err := call(conn); err != nil {
			t.Error(err)
		}
		if r.open.Load() != 2 {
			t.Errorf("%d watches", r.open.Load())
		}
	})
}

// TestCallsWaitForTheRegistry, and then say what is wrong.
func TestCallsWaitForTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := grpctest.NewNetwork(t), newRegistry(t)
		n.Start(a1)
		conn := dialed(t, n, r, "rollcall:///checkout", `{"round_robin": {}}`)
		defer conn.Close()
		began := time.Now()
		if _, err := call(conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the registry cannot be asked for the instances of checkout: no node has answered") {
			t.Error(err)
		}
		if took := time.Since(began); took != silentAfter {
			t.Errorf("took %v", took)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := testpb.NewTestServiceClient(conn).EmptyCall(context.Background(), &testpb.Empty{}, grpc.WaitForReady(true))
			waiting <- err
		}()
		time.Sleep(time.Hour)
		r.off(false)
		r.both(1, is(a1, client.Serving))
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	})
}

// TestWrongTargets: grpc.NewClient asks no resolver, so that calls say it. Dial does ask.
func TestWrongTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := grpctest.NewNetwork(t), newRegistry(t)
		for target, want := range map[string]string{
			"rollcall:///":                   "names nothing",
			"rollcall://auth/checkout":       "authority",
			"rollcall:///checkout?a=b":       "query",
			"rollcall:///checkout#f":         "fragment",
			"rollcall:///shop%2Fcheckout":    "escape",
			"rollcall:///rollcall.reads":     "node's own",
			"rollcall:checkout":              "no slashes",
			"rollcall-nodes:///":             "names nothing",
			"rollcall-nodes:///a":            "not HOST:PORT",
			"rollcall-nodes:///a:1,a:1":      "listed twice",
			"rollcall-nodes://a:7600,b:7600": "authority",
		} {
			conn := dialed(t, n, r, target, `{"round_robin": {}}`)
			if _, err := call(conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", target, err, want)
			}
			conn.Close()
			conn, err := aware.Dial(target, "checkout", aware.WithResolver(r.builder), aware.WithResolver(NewNodes()))
			if err == nil {
				conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Dial: %s: %v; want %q", target, err, want)
			}
		}
		if r.opened.Load() != 0 {
			t.Error("the registry was asked")
		}
	})
}

// TestNodes: reads go to the nodes that can answer them.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := grpctest.NewNetwork(t)
		nodes := map[string]*grpctest.Backend{}
		for _, a := range []string{"n1:7600", "n2:7600", "[::1]:7600"} {
			nodes[a] = n.Start(a)
			nodes[a].Health.SetServingStatus("rollcall.reads", client.Serving)
		}
		conn, err := aware.Dial("rollcall-nodes:///n1:7600,n2:7600,[::1]:7600", "rollcall.reads", aware.WithResolver(NewNodes()), aware.WithDialOptions(n.DialOption()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Connect()
		time.Sleep(time.Second)
		asked := func() (servers map[string]int) {
			servers = map[string]int{}
			for range 60 {
				server, err := call(conn)
				if err != nil {
					t.Fatal(err)
				}
				servers[server]++
			}
			return servers
		}
		if got := asked(); len(got) != 3 || got["n1:7600"] != 20 {
			t.Errorf("asked %v", got)
		}
		nodes["n1:7600"].Health.SetServingStatus("rollcall.reads", client.NotServing)
		synctest.Wait()
		if got := asked(); len(got) != 2 || got["n1:7600"] != 0 {
			t.Errorf("asked %v", got)
		}
	})
}
