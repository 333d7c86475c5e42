// Package balancer is a gRPC load balancing policy with tiers: calls go to the nearest tier of which enough
// endpoints are READY, and over to the next one when there are too few. Inside a tier they take turns (round
// robin). It is also a worked example of a policy of one's own that heeds client-side health checking.
//
// The program says how near an endpoint is, for example by its address, and registers the policy in its main,
// before it makes channels:
//
//	zone := netip.MustParsePrefix("10.1.0.0/16")
//	tiers, err := balancer.New(balancer.DefaultName, func(e resolver.Endpoint) int {
//		if a, err := netip.ParseAddrPort(e.Addresses[0].Addr); err == nil && zone.Contains(a.Addr()) {
//			return 0 // the same zone
//		}
//		return 1
//	})
//	if err != nil {
//		return err
//	}
//	grpcbalancer.Register(tiers) // google.golang.org/grpc/balancer
//
// A channel asks for it in its service config:
//
//	{
//	  "loadBalancingConfig": [{"rollcall_tiers": {"readyPercent": 50}}],
//	  "healthCheckConfig": {"serviceName": "checkout"}
//	}
//
// # What READY means
//
// An endpoint is READY when it is connected and, if the channel has a healthCheckConfig and the program imports
// google.golang.org/grpc/health (package aware does), when it says that it is SERVING. An instance that an
// operator switched off is not READY.
//
// # Which tier
//
// Tiers are tried from the lowest number up. The first one of which at least readyPercent of the endpoints are READY
// takes all calls (1 to 100; the default is 50). If there is none, the tier takes them with the greatest share of
// READY endpoints, the nearest of those with the same share. While no endpoint of any tier is READY, calls wait as
// long as one is being connected to, and otherwise fail with UNAVAILABLE. The tier is chosen anew whenever an
// endpoint changes, so calls come back by themselves.
//
// Every endpoint of every tier is connected to and health-checked, so that another tier takes over at once. While a
// channel starts, its first calls can go to a farther tier if that is READY earlier. An endpoint that is listed
// more than once counts once, in the nearest of its tiers.
//
// # Stability
//
// The policy stands on packages of gRPC that are public and experimental (balancer/endpointsharding and
// balancer/pickfirst). Only policy.go imports them.
package balancer
