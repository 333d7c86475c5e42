package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func newBenchWriteCommand(a *app) *cobra.Command {
	var (
		p                                     paceFlags
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
			if err := firstError(p.validate(), a.validTimeout(),
				bounded("writers", writers, 1, maxBenchCallers),
				bounded("connections", connections, 0, maxBenchConnections),
				bounded("services", services, 1, maxBenchServices),
				bounded("batch", batch, 1, maxBenchBatch)); err != nil {
				return err
			}
			if writers*batch > maxBenchServices {
				return invalid("--writers times --batch is %d; as each writer has services of its own, it must be at most %d", writers*batch, maxBenchServices)
			}
			own, err := w.fresh()
			if err != nil {
				return err
			}
			return a.benchWrite(cmd.Context(), own, connections, &writeLoad{
				batch: batch, services: max(services, writers*batch), own: own,
				next: make([]int, writers),
				load: load{callers: writers, rate: p.rate, duration: p.duration, timeout: a.timeout},
			})
		},
	}
	p.register(cmd)
	w.register(cmd)
	cmd.Flags().IntVar(&writers, "writers", 16, "writers, each waiting for its answer; at most 10,000")
	cmd.Flags().IntVar(&connections, "connections", 0, "connections that they share, at most 1,000; 0: one to each endpoint")
	cmd.Flags().IntVar(&batch, "batch", 1, "changes in one atomic write; at most 10,000")
	cmd.Flags().IntVar(&services, "services", 1000, "services that are written in turn, at most 100,000; no fewer than --writers times --batch")
	return cmd
}

func (a *app) benchWrite(ctx context.Context, own *benchServices, connections int, b *writeLoad) (err error) {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if b.conns, err = a.benchConnect(ctx, connections); err != nil {
		return err
	}
	defer b.conns.close()
	b.load.call = b.call
	// The first pass says SERVING, which then is a change too.
	if err := a.benchBegin(ctx, c, own, healthpb.HealthCheckResponse_NOT_SERVING); err != nil {
		return err
	}
	stop := a.live(b.progress())
	b.run(ctx)
	stop()
	printed := a.printWriteLoad(b, ctx.Err() != nil)
	return firstError(a.benchEnd(ctx, c, own), printed,
		benchOutcome(&b.failures, b.latencies.spread().count, "writes"))
}

type writeLoad struct {
	load
	batch, services int
	own             *benchServices
	conns           *benchConnections

	next    []int         // by writer, who alone uses it: its next change
	changes atomic.Uint64 // made
}

// call writes the writer's next services.
func (b *writeLoad) call(ctx context.Context, writer int) error {
	first := b.next[writer]
	b.next[writer] += b.batch
	admin := rollcallv1.NewAdminClient(b.conns.at(writer))
	if b.batch == 1 {
		service, status := b.change(writer, first)
		resp, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{
			Service: service, Status: &status, Reason: benchReason, Actor: b.own.actor,
		})
		if resp.GetChanged() {
			b.changes.Add(1)
		}
		return err
	}
	req := &rollcallv1.BatchSetServingStatusRequest{Reason: benchReason, Actor: b.own.actor}
	for n := first; n < first+b.batch; n++ {
		service, status := b.change(writer, n)
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: service, Status: &status})
	}
	resp, err := admin.BatchSetServingStatus(ctx, req)
	b.changes.Add(uint64(resp.GetChangedCount()))
	return err
}

// change is the n-th of a writer: all of its services SERVING, then all NOT_SERVING, and so on. No other
// writes them, so that each is an event whatever overtakes what.
func (b *writeLoad) change(writer, n int) (string, client.Status) {
	own := (b.services - writer + b.callers - 1) / b.callers // writer, writer+callers, …
	service := b.own.name(writer + n%own*b.callers)
	if n/own%2 == 0 {
		return service, healthpb.HealthCheckResponse_SERVING
	}
	return service, healthpb.HealthCheckResponse_NOT_SERVING
}

// writeJSON is a summary for programs; latencies are in seconds.
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

func (a *app) printWriteLoad(b *writeLoad, interrupted bool) error {
	s, changes := b.latencies.spread(), b.changes.Load()
	changeRate := perSecond(changes, b.elapsed)
	if a.json() {
		return a.printObject(writeJSON{
			summaryJSON: b.conns.summary("write", &b.load, interrupted),
			Prefix:      b.own.prefix,
			Writers:     b.callers,
			Batch:       b.batch,
			Services:    b.services,
			RateLimit:   b.rate,
			Writes:      s.count,
			Rate:        perSecond(s.count, b.elapsed),
			Changes:     changes,
			ChangeRate:  changeRate,
			Latency:     s.json(),
		})
	}
	fmt.Fprintf(a.stdout, "write: %s of %s on %s, %s\n", count(b.callers, "writer", "writers"), count(b.services, "service", "services"), b.conns, brief(b.elapsed))
	if b.batch == 1 {
		return a.printLoad(&b.load, s, nil)
	}
	return a.printLoad(&b.load, s, &changeRate)
}
