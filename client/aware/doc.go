// Package aware makes gRPC channels that move away from what is switched off, of stock gRPC: with health checking,
// balancing and retries in one call, and with interceptors that refuse calls at once.
//
// # A channel
//
//	conn, err := aware.Dial("dns:///checkout.example.org:8080", "checkout")
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//
// Each connection watches the health of "checkout" at the server (grpc.health.v1), and calls go in turn to the
// servers that say SERVING. A switch in the registry moves calls within milliseconds if the servers serve their
// health with client/healthserver. Without that, the health is what each process says of itself.
//
// Dial has these parts, each of which also stands alone:
//
//   - the import of google.golang.org/grpc/health. Without it gRPC checks no health, and only logs that.
//   - a service config, see ServiceConfig: round_robin, the health check, retries and their throttle. It is also for
//     clients in other languages.
//   - pauses of 5 s at most between two tries to connect (gRPC's own go up to two minutes), and keepalive pings that
//     servers with gRPC's own settings allow.
//   - with WithView, interceptors; see below.
//
// # What the name of the service means
//
// Dial's second parameter is what servers are asked for. It is one of their own names, and not one of the registry's:
// "" is the whole server, which every health server knows. (A client/healthserver knows the name of its SERVICE,
// too.)
//
//	the server answers                  calls
//	SERVING                             go there
//	NOT_SERVING, UNKNOWN                do not
//	SERVICE_UNKNOWN                     do not: a name that no server knows fails all calls
//	no health service, UNIMPLEMENTED    go there, also from an interceptor of the server
//	UNAUTHENTICATED or another error    do not: let health checks pass without credentials
//
// A policy must heed health: round_robin, least_request_experimental, ring_hash_experimental and the tiers of
// client/balancer do. pick_first, which is gRPC's default, does not, and Dial refuses it.
//
// # Retries
//
// A call that fails with UNAVAILABLE is tried up to 4 times, after 0.1 s, 0.2 s and 0.4 s with jitter. So the calls
// that were under way on an instance that is killed are done elsewhere. The connection may have broken after the call
// was done: name with WithUnsafe the methods that must not be done twice. Streams are retried only until their first
// answer. A call that finds no server which is SERVING is retried, too: it fails after about 0.7 s, or when its
// context ends.
//
// The retry throttle is 1000 tokens, of which a failure takes one and a success gives one back, and retries stop
// below 500. The calls that one killed instance takes along do not empty it; a service that fails altogether does.
//
// Circuit breakers, bulkheads and hedging are left to libraries for that.
//
// # Interceptors
//
// UnaryInterceptor and StreamInterceptor need no health check of the server. They ask a view.View, which the program
// runs, what the registry says of the target, and refuse a call at once while that is off:
//
//	v, err := view.New(c, []string{"checkout", "payments"}) // c is the *client.Client of the registry
//	if err != nil {
//		return err
//	}
//	go v.Run(ctx)
//	mapping := aware.Mapping{
//		"/shop.Payments/":           "payments",
//		"/shop.Checkout/PayByCard":  "payments",
//		"":                          "checkout",
//	}
//	conn, err := aware.Dial(target, "checkout", aware.WithView(v, mapping))
//
// A refused call has code UNAVAILABLE and an ErrorInfo (google.rpc) of the domain "rollcall" and ReasonTargetNotServing,
// whose metadata has "service", "who" and "why", "revision", and "override", its pattern, if one decides. It is made
// no second time by the retry policy, which works beneath interceptors. Calls go on while nothing is known: when the
// registry was not heard yet, and for names that do not exist. What was off stays so while the registry is silent.
package aware
