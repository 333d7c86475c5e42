// Package checks runs health checks, damps their results, and derives from them the status of services. It tells the
// status to the process's own gRPC health server, to the registry, or to both, and shows on a page what it knows and
// why.
//
// A process whose database is checked every 10 s, and whose health server says what came of it:
//
//	server := health.NewServer() // google.golang.org/grpc/health, or client/healthserver
//	healthpb.RegisterHealthServer(g, server)
//	runner := checks.NewRunner(checks.To(server), checks.WithLogger(slog.Default()))
//	if err := runner.Add("", checks.SQL("database", db, "SELECT 1 FROM orders LIMIT 1")); err != nil {
//		return err
//	}
//	http.Handle("/checks", runner.Handler())
//	return runner.Run(ctx) // until ctx ends
//
// # Checks
//
// A [Check] has a name, and a method that returns an error if something does not work. [Func] makes one of a
// function. Ready-made ones: [SQL], [HTTP], [TCP], [GRPC], [GRPCConn], [DNS], [Command], [FileAge], [CertFile],
// [CertEndpoint], [Goroutines], [Heap], [NewTTL], which the program feeds, and package checks/host for disk, memory
// and load.
//
// A run gives one of three results. nil is a success. An error made by [Degraded] is a warning: it is shown, and
// counts as a success. Any other error is a failure, and so are a panic, which is shown with the place where it
// happened, and a run that is late.
//
// # When a check runs
//
// Each check of a service has a schedule of its own. The first run starts at once: when [Runner.Run] is called, or
// when the check is added while Run runs. The next one starts an [Interval] after the start of the run before (10 s),
// made longer or shorter by [Jitter] (10 %). At most [WithMaxParallel] (64) run at once; the others wait for a place,
// which is no failure. So the first round of ten thousand checks is a queue and not a burst.
//
// A check never runs twice at once for one service. A run that has not returned at its [Timeout] (5 s) is late: its
// context has ended, it has failed, and what it returns later is only shown. Nobody waits for it, and it takes no
// place any more. The check is shown as stuck until the run returns. As long as it is stuck, each run that could not
// start counts as a failure at the moment at which its timeout would have passed. So a check that hangs for ever turns
// as one that fails does, and has one goroutine.
//
// # From results to a status
//
// The first result decides: a check that passes is SERVING, one that fails is NOT_SERVING. After that [Fall] failures
// in a row (3) turn it to NOT_SERVING, and [Rise] successes in a row (1) turn it back. A [Result] has both: this damped
// status, and the undamped error of the last run.
//
// The status of a service follows from its critical checks:
//
//   - NOT_SERVING while at least one is NOT_SERVING,
//   - else UNKNOWN while at least one has not run,
//   - else SERVING. A service whose checks are all [NonCritical] is SERVING from the beginning.
//
// A check is critical if the service cannot do its work without what it checks, and if that is this instance's own.
// What all instances share (another service, DNS, a partner's API) should not be critical: one outage would take all
// instances out of service at the same time. Ready-made checks of other hosts are not critical unless [Critical] says
// so.
//
// The service "" is the process itself, as in grpc.health.v1. The status of one service does not touch another one's;
// the same Check can be added to several.
//
// # Who is told
//
// Each [Reporter] is told each change of a service's status, and UNKNOWN when Run begins. A *health.Server is one,
// and so is the server of client/healthserver; [ToRegistry] makes one of a lease in the registry (a
// client/healthserver that publishes reports "" itself and needs none). A reporter that takes reasons gets the names
// of the checks that made the status: never what they measured, and never because only the names have changed, as
// each report is an event in the registry's history that operators read. An [Observer] is told each result, for
// metrics; client/metrics has one.
//
// Each of them has a goroutine of its own, so one that blocks delays neither checks nor the others. It is told the
// newest status when it returns.
//
// # The end
//
// When the context of Run ends, nothing more is told: a check that is cut off has not failed. Shutdown of the health
// server and Close of the lease tell clients that the process stops. So the order is: the health server's Shutdown,
// then the end of Run's context, then Close of the lease. With client/healthserver: its Stop, which does the first
// and the last, then the end of Run's context.
//
// # What it costs
//
// A Runner at rest has one goroutine and one timer, and one goroutine for each reporter, observer and log. Ten
// thousand checks every 10 s, with reports, metrics and a log, take 2 % of a core, without what the checks themselves
// do (BenchmarkTenThousandChecks).
package checks
