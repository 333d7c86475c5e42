package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

func newBenchCheckCommand(a *app) *cobra.Command {
	var (
		p                    paceFlags
		callers, connections int
		linearizable         bool
	)
	cmd := &cobra.Command{
		Use:   "check [SERVICE]",
		Short: "Load of grpc.health.v1 Checks",
		Long: `Callers ask for the status of SERVICE ("", which every node answers for itself, if left out) by plain
grpc.health.v1. The connections go to the --endpoints in turn: one connection is a load on the first
of them that answers. Any status is an answer; a service that does not exist is an error at once.
It writes nothing.`,
		Example: `  rollcall bench check
  rollcall bench check shop/cart --callers 256 --connections 3 --duration 1m
  rollcall bench check shop/cart --linearizable --rate 500`,
		Args:              between(0, "SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := ""
			if len(args) == 1 {
				service = args[0]
			}
			if err := firstError(lookable(service), p.validate(), a.validTimeout(),
				bounded("callers", callers, 1, maxBenchCallers),
				bounded("connections", connections, 1, maxBenchConnections)); err != nil {
				return err
			}
			conns, err := a.benchConnect(cmd.Context(), connections)
			if err != nil {
				return err
			}
			defer conns.close()
			b := checkLoad{service: service, linearizable: linearizable, conns: conns}
			b.load = load{callers: callers, rate: p.rate, duration: p.duration, timeout: a.timeout, call: b.call}
			if err := a.tryCheck(cmd.Context(), &b); err != nil {
				return err
			}
			stop := a.live(b.progress())
			b.run(cmd.Context())
			stop()
			if err := a.printCheckLoad(&b, cmd.Context().Err() != nil); err != nil {
				return err
			}
			return benchOutcome(&b.failures, b.latencies.spread().count, "checks")
		},
	}
	p.register(cmd)
	cmd.Flags().IntVar(&callers, "callers", 64, "callers, each waiting for its answer; at most 10,000")
	cmd.Flags().IntVar(&connections, "connections", 1, "connections that they share; at most 1,000")
	cmd.Flags().BoolVar(&linearizable, "linearizable", false, "every answer shows every change acknowledged before; needs a quorum")
	return cmd
}

type checkLoad struct {
	load
	service      string
	linearizable bool
	conns        *benchConnections
}

func (b *checkLoad) call(ctx context.Context, caller int) error {
	if b.linearizable {
		ctx = client.ReadOptions{Consistency: client.Linearizable}.Outgoing(ctx)
	}
	_, err := healthpb.NewHealthClient(b.conns.at(caller)).Check(ctx, &healthpb.HealthCheckRequest{Service: b.service})
	return err
}

// tryCheck makes one call, so that a load which cannot work is one clear error.
func (a *app) tryCheck(ctx context.Context, b *checkLoad) error {
	err := b.once(ctx, 0)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c := describeFailure(err)
	f := &failure{exit: exitNotDone, reason: c.Reason, err: fmt.Errorf("cannot check %s at %s: %s: %s", shown(b.service), b.conns.endpoints[0], c.Code, c.Message)}
	f.code = status.Code(err)
	switch f.code {
	case codes.NotFound:
		f.next = `"rollcall list" shows the services`
	case codes.Unavailable, codes.DeadlineExceeded:
		f.next = `"rollcall status" shows what is wrong`
	}
	return f
}

// checkJSON is a summary for programs; latencies are in seconds.
type checkJSON struct {
	summaryJSON
	Service      string      `json:"service"`
	Callers      int         `json:"callers"`
	RateLimit    int         `json:"rate_limit"`
	Linearizable bool        `json:"linearizable"`
	Calls        uint64      `json:"calls"`
	Rate         uint64      `json:"calls_per_second"`
	Latency      latencyJSON `json:"latency_seconds"`
}

func (a *app) printCheckLoad(b *checkLoad, interrupted bool) error {
	s := b.latencies.spread()
	if a.json() {
		return a.printObject(checkJSON{
			summaryJSON:  b.conns.summary("check", &b.load, interrupted),
			Service:      b.service,
			Callers:      b.callers,
			RateLimit:    b.rate,
			Linearizable: b.linearizable,
			Calls:        s.count,
			Rate:         perSecond(s.count, b.elapsed),
			Latency:      s.json(),
		})
	}
	what := "check of"
	if b.linearizable {
		what = "linearizable check of"
	}
	fmt.Fprintf(a.stdout, "%s %s: %s on %s, %s\n", what, shown(b.service), count(b.callers, "caller", "callers"), b.conns, brief(b.elapsed))
	return a.printLoad(&b.load, s, nil)
}
