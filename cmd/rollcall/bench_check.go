package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

func newBenchCheckCommand(a *app) *cobra.Command {
	var (
		r                    rateFlags
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
			if err := firstError(checkLookup(service), r.validate(), a.validTimeout(),
				bounded("callers", callers, 1, maxBenchCallers),
				bounded("connections", connections, 1, maxBenchConnections)); err != nil {
				return err
			}
			conns, err := a.benchConnect(cmd.Context(), connections)
			if err != nil {
				return err
			}
			defer conns.Close()
			l := &loadgen.CheckLoad{
				Load:    loadgen.Load{Callers: callers, Rate: r.rate, Duration: r.duration, Timeout: a.timeout},
				Service: service, Linearizable: linearizable, Conns: conns,
			}
			if err := a.tryCheck(cmd.Context(), l); err != nil {
				return err
			}
			stop := a.live(l.Progress())
			l.Run(cmd.Context())
			stop()
			printed := a.printCheckLoad(l, cmd.Context().Err() != nil)
			return firstError(benchOutcome(&l.Errors, l.Latencies.Snapshot().Count, "checks"), printed)
		},
	}
	r.register(cmd)
	cmd.Flags().IntVar(&callers, "callers", 64, "callers, each waiting for its answer; at most 10,000")
	cmd.Flags().IntVar(&connections, "connections", 1, "connections that they share; at most 1,000")
	cmd.Flags().BoolVar(&linearizable, "linearizable", false, "every answer shows every change acknowledged before; needs a quorum")
	return cmd
}

// tryCheck makes one call, so that a load that cannot work is one clear error.
func (a *app) tryCheck(ctx context.Context, l *loadgen.CheckLoad) error {
	err := l.Try(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c := loadgen.DescribeError(err)
	f := &failure{
		exit: exitNotDone, code: status.Code(err), reason: c.Reason,
		err: fmt.Errorf("cannot check %s at %s: %s: %s", format.Service(l.Service), l.Conns.Endpoints[0], c.Code, c.Message),
	}
	switch f.code {
	case codes.NotFound:
		f.next = `"rollcall list" shows the services`
	case codes.Unavailable, codes.DeadlineExceeded:
		f.next = `"rollcall status" shows what is wrong`
	}
	return f
}

// checkJSON is a summary for programs. Latencies are in seconds.
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

func (a *app) printCheckLoad(l *loadgen.CheckLoad, interrupted bool) error {
	s := l.Latencies.Snapshot()
	out := checkJSON{
		summaryJSON:  summaryOf("check", l.Conns, &l.Load, interrupted),
		Service:      l.Service,
		Callers:      l.Callers,
		RateLimit:    l.Rate,
		Linearizable: l.Linearizable,
		Calls:        s.Count,
		Rate:         loadgen.PerSecond(s.Count, l.Elapsed),
		Latency:      latencyOf(s),
	}
	return a.printObject(out, func() error {
		what := "check of"
		if l.Linearizable {
			what = "linearizable check of"
		}
		fmt.Fprintf(a.stdout, "%s %s: %s on %s, %s\n", what, format.Service(l.Service), format.Count(l.Callers, "caller", "callers"), l.Conns, format.ThreeDigits(l.Elapsed))
		return a.printLoad(&l.Load, s, nil)
	})
}
