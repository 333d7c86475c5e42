package balancer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/balancer"
	"github.com/rollcallhq/rollcall/internal/grpctest"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// tierOf reads the tier from the address: 10.TIER.0.N:80. It is what a program would write, with its own zones.
func tierOf(e resolver.Endpoint) int {
	var tier int
	_, _ = fmt.Sscanf(e.Addresses[0].Addr, "10.%d.", &tier)
	return tier
}

func TestMain(m *testing.M) {
	tiers, err := balancer.New(balancer.DefaultName, tierOf)
	if err != nil {
		panic(err)
	}
	grpcbalancer.Register(tiers)
	verify(m)
}

// zones are servers in tiers, and a channel to them.
type zones struct {
	t        *testing.T
	net      *grpctest.Network
	resolver *manual.Resolver
	backends map[string]*grpctest.Backend
	conn     *grpc.ClientConn
}

// inZones starts size[i] servers in tier i, 10.i.0.1:80 and so on, and waits until all are connected to.
func inZones(t *testing.T, config string, size []int, test func(t *testing.T, z *zones)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		z := &zones{t: t, net: grpctest.NewNetwork(t), resolver: manual.NewBuilderWithScheme("test"), backends: map[string]*grpctest.Backend{}}
		var addresses []string
		for tier, n := range size {
			for i := range n {
				addresses = append(addresses, address(tier, i+1))
				z.start(tier, i+1)
			}
		}
		z.resolver.InitialState(stateOf(addresses...))
		if config != "" {
			config = fmt.Sprintf(`"readyPercent": %s`, config)
		}
		conn, err := grpc.NewClient("test:///checkout", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(z.resolver),
			z.net.DialOption(), grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig": [{"rollcall_tiers": {%s}}], "healthCheckConfig": {"serviceName": ""}}`, config)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		z.conn = conn
		conn.Connect()
		time.Sleep(time.Second)
		test(t, z)
	})
}

func address(tier, i int) string { return fmt.Sprintf("10.%d.0.%d:80", tier, i) }

func stateOf(addresses ...string) resolver.State {
	var s resolver.State
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return s
}

func (z *zones) start(tier, i int) { z.backends[address(tier, i)] = z.net.Start(address(tier, i)) }

func (z *zones) set(tier, i int, s healthpb.HealthCheckResponse_ServingStatus) {
	z.backends[address(tier, i)].Health.SetServingStatus("", s)
	synctest.Wait()
}

func (z *zones) kill(tier, i int) {
	z.backends[address(tier, i)].Kill()
	synctest.Wait()
}

// called makes 120 calls and returns how many went where: "10.0.0.1:80 60, 10.0.0.2:80 60", or the error.
func (z *zones) called() string {
	z.t.Helper()
	counts := map[string]int{}
	for range 120 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		r, err := testpb.NewTestServiceClient(z.conn).UnaryCall(ctx, &testpb.SimpleRequest{})
		cancel()
		if err != nil {
			return status.Code(err).String()
		}
		counts[r.GetServerId()]++
	}
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(counts), "map["), "]")
}

func (z *zones) want(calls string) {
	z.t.Helper()
	if got := z.called(); got != calls {
		z.t.Errorf("calls went to %s; want %s", got, calls)
	}
}

func TestNearestTierTakesTurns(t *testing.T) {
	inZones(t, "", []int{2, 3}, func(t *testing.T, z *zones) {
		z.want("10.0.0.1:80:60 10.0.0.2:80:60")
	})
}

func TestFlipsAndBack(t *testing.T) {
	inZones(t, "50", []int{4, 2, 1}, func(t *testing.T, z *zones) {
		for range 3 {
			z.want("10.0.0.1:80:30 10.0.0.2:80:30 10.0.0.3:80:30 10.0.0.4:80:30")
			z.set(0, 1, notServing)
			z.want("10.0.0.2:80:40 10.0.0.3:80:40 10.0.0.4:80:40")
			z.set(0, 2, notServing) // half
			z.want("10.0.0.3:80:60 10.0.0.4:80:60")
			z.set(0, 3, notServing) // a quarter
			z.want("10.1.0.1:80:60 10.1.0.2:80:60")
			z.set(1, 1, notServing) // half
			z.want("10.1.0.2:80:120")
			z.set(1, 2, notServing) // none
			z.want("10.2.0.1:80:120")
			z.set(2, 1, notServing) // the best is a quarter of the nearest
			z.want("10.0.0.4:80:120")
			z.set(0, 4, notServing)
			z.want("Unavailable")
			z.set(1, 1, serving)
			z.want("10.1.0.1:80:120")
			for i := range 4 {
				z.set(0, i+1, serving)
			}
			z.set(1, 2, serving)
			z.set(2, 1, serving)
		}
	})
}

func TestPercentage(t *testing.T) {
	for percent, least := range map[string]int{"": 2, "1": 1, "25": 1, "26": 2, "50": 2, "51": 3, "75": 3, "76": 4, "100": 4} { // of 4
		t.Run(percent, func(t *testing.T) {
			inZones(t, percent, []int{4, 1}, func(t *testing.T, z *zones) {
				for ready := 3; ready >= 0; ready-- {
					z.set(0, ready+1, notServing)
					got := z.called()
					if near := !strings.HasPrefix(got, "10.1."); near != (ready >= least) {
						t.Errorf("%d of 4 are READY: calls went to %s", ready, got)
					}
				}
			})
		})
	}
}

// TestBestOfTooFew: the greatest share, and of the same the nearest.
func TestBestOfTooFew(t *testing.T) {
	inZones(t, "80", []int{2, 3, 2}, func(t *testing.T, z *zones) {
		z.set(0, 1, notServing)
		z.set(1, 1, notServing)
		z.set(2, 1, notServing)
		z.want("10.1.0.2:80:60 10.1.0.3:80:60") // two thirds
		z.set(1, 2, notServing)
		z.want("10.0.0.2:80:120") // a half; tier 2 has that, too
	})
}

// TestShareIsNotCount: two of five are less than one of two.
func TestShareIsNotCount(t *testing.T) {
	inZones(t, "80", []int{2, 5}, func(t *testing.T, z *zones) {
		z.set(0, 1, notServing)
		for i := range 3 {
			z.set(1, i+1, notServing)
		}
		z.want("10.0.0.2:80:120")
	})
}

func TestKillsAndRecovery(t *testing.T) {
	inZones(t, "50", []int{2, 2}, func(t *testing.T, z *zones) {
		z.kill(0, 1)
		z.want("10.0.0.2:80:120")
		z.kill(0, 2)
		z.want("10.1.0.1:80:60 10.1.0.2:80:60")
		z.start(0, 1)
		time.Sleep(3 * time.Minute) // gRPC's backoff
		z.want("10.0.0.1:80:120")
		z.start(0, 2)
		time.Sleep(3 * time.Minute)
		z.want("10.0.0.1:80:60 10.0.0.2:80:60")
	})
}

// TestKilledUnderLoad: with retries no call fails while another tier is READY.
func TestKilledUnderLoad(t *testing.T) {
	inZones(t, "100", []int{2, 2}, func(t *testing.T, z *zones) {
		for _, b := range z.backends {
			b.Set(5*time.Millisecond, nil)
		}
		load := grpctest.StartLoad(z.conn, 20, time.Minute)
		for range 20 {
			z.set(0, 1, notServing)
			time.Sleep(50 * time.Millisecond)
			z.set(0, 1, serving)
			time.Sleep(50 * time.Millisecond)
		}
		calls, failures := load.Stop()
		if len(failures) > 0 || calls < 1000 {
			t.Errorf("%d of %d calls failed while instances were switched off and on", len(failures), calls)
		}
	})
}

func TestAllDownAndUpAgain(t *testing.T) {
	inZones(t, "50", []int{1, 1}, func(t *testing.T, z *zones) {
		z.kill(0, 1)
		z.kill(1, 1)
		time.Sleep(time.Minute)
		z.want("Unavailable")
		z.start(1, 1)
		time.Sleep(3 * time.Minute)
		z.want("10.1.0.1:80:120")
		z.start(0, 1)
		time.Sleep(3 * time.Minute)
		z.want("10.0.0.1:80:120")
	})
}

// TestCallsWaitWhileConnecting: a call that comes before the first connection does not fail.
func TestCallsWaitWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := grpctest.NewNetwork(t), manual.NewBuilderWithScheme("test")
		n.Start(address(1, 1))
		r.InitialState(stateOf(address(1, 1)))
		conn, err := grpc.NewClient("test:///checkout", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r), n.DialOption(),
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"rollcall_tiers": {}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := testpb.NewTestServiceClient(conn).EmptyCall(t.Context(), &testpb.Empty{}); err != nil {
			t.Error(err)
		}
	})
}

func TestListChanges(t *testing.T) {
	inZones(t, "50", []int{2, 2, 2}, func(t *testing.T, z *zones) {
		update := func(addresses ...string) {
			z.resolver.UpdateState(stateOf(addresses...))
			time.Sleep(time.Second)
		}
		update(address(1, 1), address(2, 1)) // tier 0 is empty
		z.want("10.1.0.1:80:120")
		update(address(2, 2))
		z.want("10.2.0.2:80:120")
		update(address(0, 2), address(1, 1), address(2, 1), address(2, 2))
		z.want("10.0.0.2:80:120")
		update()
		z.want("Unavailable")
		update(address(0, 1))
		z.want("10.0.0.1:80:120")
		z.resolver.UpdateState(resolver.State{Endpoints: []resolver.Endpoint{{}, stateOf(address(0, 2)).Endpoints[0]}}) // one without an address
		time.Sleep(time.Second)
		z.want("10.0.0.2:80:120")
		z.resolver.CC().ReportError(fmt.Errorf("the resolver is ill"))
		z.want("10.0.0.2:80:120") // what was known stays
	})
}

func TestListedTwice(t *testing.T) {
	inZones(t, "50", []int{2, 1}, func(t *testing.T, z *zones) {
		// Two of the same and one other: two endpoints, of which one is READY, not three of which two are.
		z.resolver.UpdateState(stateOf(address(0, 1), address(0, 1), address(0, 2), address(1, 1)))
		time.Sleep(time.Second)
		z.want("10.0.0.1:80:60 10.0.0.2:80:60")
		z.set(0, 1, notServing)
		z.want("10.0.0.2:80:120")
	})
}

// TestListedInTwoTiers: the nearer one counts, wherever the list has it.
func TestListedInTwoTiers(t *testing.T) {
	far, near := tiered{tier: 2}, tiered{tier: 0}
	byAttribute, err := balancer.New("by_attribute", func(e resolver.Endpoint) int {
		tier, _ := e.Attributes.Value(tierKey{}).(tiered)
		return tier.tier
	})
	if err != nil {
		t.Fatal(err)
	}
	grpcbalancer.Register(byAttribute)
	for name, order := range map[string][]tiered{"far first": {far, near}, "near first": {near, far}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, r := grpctest.NewNetwork(t), manual.NewBuilderWithScheme("test")
				n.Start("a:1")
				n.Start("b:1")
				s := stateOf("a:1", "a:1", "b:1")
				for i, tier := range append(order, tiered{tier: 1}) {
					s.Endpoints[i].Attributes = s.Endpoints[i].Attributes.WithValue(tierKey{}, tier)
				}
				r.InitialState(s)
				conn, err := grpc.NewClient("test:///checkout", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r), n.DialOption(),
					grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"by_attribute": {}}]}`))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				z := &zones{t: t, conn: conn}
				conn.Connect()
				time.Sleep(time.Second)
				z.want("a:1:120")
			})
		})
	}
}

type tierKey struct{}

type tiered struct{ tier int }

// TestConfigChanges: a resolver may send another one.
func TestConfigChanges(t *testing.T) {
	inZones(t, "50", []int{2, 1}, func(t *testing.T, z *zones) {
		z.set(0, 1, notServing)
		z.want("10.0.0.2:80:120")
		s := stateOf(address(0, 1), address(0, 2), address(1, 1))
		s.ServiceConfig = z.resolver.CC().ParseServiceConfig(`{"loadBalancingConfig": [{"rollcall_tiers": {"readyPercent": 51}}], "healthCheckConfig": {"serviceName": ""}}`)
		z.resolver.UpdateState(s)
		time.Sleep(time.Second)
		z.want("10.1.0.1:80:120")
	})
}

// TestWithoutHealthChecks: a connection is enough.
func TestWithoutHealthChecks(t *testing.T) {
	inZones(t, "50", []int{1, 1}, func(t *testing.T, z *zones) {
		r := manual.NewBuilderWithScheme("test")
		r.InitialState(stateOf(address(0, 1), address(1, 1)))
		conn, err := grpc.NewClient("test:///checkout", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r),
			z.net.DialOption(), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"rollcall_tiers": {}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		z.set(0, 1, notServing)
		conn.Connect()
		time.Sleep(time.Second)
		(&zones{t: t, conn: conn}).want("10.0.0.1:80:120")
	})
}
