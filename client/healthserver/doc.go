// Package healthserver is a drop-in for google.golang.org/grpc/health.Server that the registry can switch off.
//
// A stock gRPC client asks each backend how it is, on its own connection: an entry in a registry alone moves no call.
// This server answers such clients with the worse of what the process says and what the registry says. One line of a
// program changes; reg is a client.Client:
//
//	hs, err := healthserver.New("shop/checkout", healthserver.WithClient(reg)) // was: hs := health.NewServer()
//	if err != nil {
//		return err
//	}
//	go hs.Run(context.Background())
//	healthpb.RegisterHealthServer(g, hs)
//
// SetServingStatus, Shutdown and Resume are the original's, and say what the process thinks of itself. An operator's
// "rollcall set shop/checkout not_serving" then moves all calls off within milliseconds, and "serving" brings them
// back.
//
// # What is shown
//
// The registry can only switch off. It does so while SERVICE, the name given to New, is NOT_SERVING in it, by whatever
// made it so, and while SERVICE/INSTANCE (WithInstance) is NOT_SERVING by an override. What is reported of
// SERVICE/INSTANCE is this process's own word, and no opinion.
//
//	the process says   registry: SERVING, UNKNOWN, no entry, not heard   registry: NOT_SERVING
//	SERVING            SERVING                                           NOT_SERVING
//	UNKNOWN            UNKNOWN                                           NOT_SERVING
//	NOT_SERVING        NOT_SERVING                                       NOT_SERVING
//	never set          NOT_FOUND; of a Watch SERVICE_UNKNOWN             the same
//	"liveness"         as said; SERVING if never set                     the same
//
// All names of the process are switched off together, whatever they are called. Two names are special. SERVICE
// answers as "" does until the process sets it. "liveness", and what WithUnmerged adds, is never switched off: point
// probes that restart a process at such a name, or a switched off process would be restarted over and over. List has
// the names that the process has set.
//
// # When the registry is not there
//
// Nothing that happens to the registry changes what is shown, unless an operator asked for it. The last opinion stays
// while no node answers, and when Run has ended. A registry that lost its disk, or was restored, is another cluster:
// what was off stays off until that one says something of the name (the process's own report does not count; an
// override with an end is held no longer than it would have lasted).
//
// A process that starts shows NOT_SERVING until it has heard the registry, for WithInitialWait at most (500 ms; a few
// milliseconds are usual), so that one that is restarted while it is switched off takes no call. WithStateFile keeps
// that it is off for a restart while the registry cannot be reached.
//
// # Publishing
//
// With WithPublish what the process says of "" is reported as SERVICE/INSTANCE under a lease: all of the registry's
// clients see it, and if the process dies it turns NOT_SERVING when the TTL has passed. A change is shown here before
// it is reported. Of changes within a second only the newest is written. SERVING, NOT_SERVING and UNKNOWN are
// reported as they are, anything else as UNKNOWN. A process that never says anything of "" is reported SERVING,
// because grpc-go's server says so of it from the start; one that needs time to start calls SetServingStatus("",
// NOT_SERVING) before Run.
//
// If two processes publish the same instance, as in a restart with an overlap, the report is that of whoever wrote last.
// Each is told of the other in its log. When one of them ends, the other one publishes again; so the end of the older
// process leaves the report of the newer one alone.
//
// SERVICE itself is not made of its instances: it does not exist in the registry until an operator sets it.
//
// An override of "shop/checkout/*" covers names that exist: only those that publish.
//
// # Stopping
//
// Stop tells everybody, goes on serving for WithDrain (2 s), and ends the gRPC server, every open Watch, the lease and
// Run, each at its time, so that no call fails:
//
//	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
//	defer cancel()
//	hs.Stop(ctx, g)
//
// # Callers that do no health checking
//
// Some do not, as grpc-js and the policy pick_first. UnaryGate and StreamGate, as interceptors of the server, refuse
// their calls with UNAVAILABLE while the process is switched off:
//
//	g := grpc.NewServer(grpc.ChainUnaryInterceptor(hs.UnaryGate), grpc.ChainStreamInterceptor(hs.StreamGate))
//
// # Two cells
//
// The local name is what callers ask for and the SERVICE is what operators switch; they need not be the same. With
// New("cell-a/checkout") in one cell and New("cell-b/checkout") in the other, and SetServingStatus("checkout", SERVING)
// in both, a client that asks for "checkout" balances over both cells, and one "rollcall set cell-a/checkout not_serving"
// moves it to cell b.
//
// What does not belong here: what makes a process well or ill (client/checks), and what callers do (client/aware).
package healthserver
