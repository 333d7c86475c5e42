package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

func newBenchWriteCommand(a *app) *cobra.Command {
	var (
		r                                     rateFlags
		w                                     benchWriteFlags
		writers, connections, batch, services int
	)
	cmd := &cobra.Command{
		Use:   "write",
		Short: "Load of durable writes",
		Long: `Writers flip the status of services of their own, so that each write is an event, on the disks of a
majority before it is answered. They are spread over all --endpoints: name one to write through that
node alone. Nothing is tried again: an election in the middle shows as errors.

The services are below --prefix and a name of the run's own, and are deleted at the end. The history
keeps the events, so that older ones leave it the sooner. The writes carry no request ids, so that
those of others are remembered as long as ever.`,
		Example: `  rollcall bench write
  rollcall bench write --writers 256 --batch 100
  rollcall bench write --rate 500 --duration 5m -e 10.0.0.1:7600`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := firstError(r.validate(), a.validTimeout(),
				bounded("writers", writers, 1, maxBenchCallers),
				bounded("connections", connections, 0, maxBenchConnections),
				bounded("services", services, 1, maxBenchServices),
				bounded("batch", batch, 1, limits.MaxChanges)); err != nil {
				return err
			}
			if writers*batch > maxBenchServices {
				return invalid("--writers times --batch is %d; as each writer has services of its own, it must be at most %d", writers*batch, maxBenchServices)
			}
			own, err := w.services()
			if err != nil {
				return err
			}
			return a.benchWrite(cmd.Context(), connections, &loadgen.WriteLoad{
				Load:  loadgen.Load{Callers: writers, Rate: r.rate, Duration: r.duration, Timeout: a.timeout},
				Batch: batch, Services: max(services, writers*batch), Own: own,
			})
		},
	}
	r.register(cmd)
	w.register(cmd)
	cmd.Flags().IntVar(&writers, "writers", 16, "writers, each waiting for its answer; at most 10,000")
	cmd.Flags().IntVar(&connections, "connections", 0, "connections that they share, at most 1,000; 0: one to each endpoint")
	cmd.Flags().IntVar(&batch, "batch", 1, "changes in one atomic write; at most 10,000")
	cmd.Flags().IntVar(&services, "services", 1000, "services that are written in turn, at most 100,000; no fewer than --writers times --batch")
	return cmd
}

func (a *app) benchWrite(ctx context.Context, connections int, l *loadgen.WriteLoad) (err error) {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if l.Conns, err = a.benchConnect(ctx, connections); err != nil {
		return err
	}
	defer l.Conns.Close()
	// The first pass of the load says SERVING, which then is a change too.
	if err := a.benchBegin(ctx, c, l.Own, healthpb.HealthCheckResponse_NOT_SERVING); err != nil {
		return err
	}
	stop := a.live(l.Progress())
	l.Run(ctx)
	stop()
	printed := a.printWriteLoad(l, ctx.Err() != nil)
	return firstError(a.benchEnd(ctx, c, l.Own), benchOutcome(&l.Errors, l.Latencies.Snapshot().Count, "writes"), printed)
}

// writeJSON is a summary for programs. Latencies are in seconds.
type writeJSON struct {
	summaryJSON
	Prefix     string      `json:"prefix"`
	Writers    int         `json:"writers"`
	Batch      int         `json:"batch"`
	Services   int         `json:"services"`
	RateLimit  int         `json:"rate_limit"`
	Writes     uint64      `json:"writes"`
	Rate       uint64      `json:"writes_per_second"`
	Changes    uint64      `json:"changes"`
	ChangeRate uint64      `json:"changes_per_second"`
	Latency    latencyJSON `json:"latency_seconds"`
}

func (a *app) printWriteLoad(l *loadgen.WriteLoad, interrupted bool) error {
	s, changes := l.Latencies.Snapshot(), l.Changes.Load()
	changeRate := loadgen.PerSecond(changes, l.Elapsed)
	out := writeJSON{
		summaryJSON: summaryOf("write", l.Conns, &l.Load, interrupted),
		Prefix:      l.Own.Prefix,
		Writers:     l.Callers,
		Batch:       l.Batch,
		Services:    l.Services,
		RateLimit:   l.Rate,
		Writes:      s.Count,
		Rate:        loadgen.PerSecond(s.Count, l.Elapsed),
		Changes:     changes,
		ChangeRate:  changeRate,
		Latency:     latencyOf(s),
	}
	return a.printObject(out, func() error {
		fmt.Fprintf(a.stdout, "write: %s of %s on %s, %s\n", format.Count(l.Callers, "writer", "writers"),
			format.Count(l.Services, "service", "services"), l.Conns, format.ThreeDigits(l.Elapsed))
		if l.Batch == 1 {
			return a.printLoad(&l.Load, s, nil)
		}
		return a.printLoad(&l.Load, s, &changeRate)
	})
}
