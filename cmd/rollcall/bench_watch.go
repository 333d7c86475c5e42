package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

// watchOpenTimeout bounds the opening of all watches.
const watchOpenTimeout = time.Minute

func newBenchWatchCommand(a *app) *cobra.Command {
	var (
		w                           benchWriteFlags
		watches, connections, flips int
	)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Delay from a write to each of many watchers",
		Long: `Opens many plain grpc.health.v1 Watches of one service of its own, on connections to the --endpoints in
turn, and flips its status. A delay counts from when the write was called to when a watcher here had
the new status; "after its answer" counts from the write's acknowledgement, which some watchers get
ahead of. The next flip comes when all have it. A watcher that has not within --timeout is an error and
counts no more. At most 10 minutes.

The service is deleted at the end; the history keeps the events.`,
		Example: `  rollcall bench watch
  rollcall bench watch --watches 10000 --connections 100 --flips 50`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := firstError(a.validTimeout(),
				bounded("watches", watches, 1, maxBenchWatches),
				bounded("connections", connections, 1, maxBenchConnections),
				bounded("flips", flips, 1, maxBenchFlips)); err != nil {
				return err
			}
			own, err := w.services()
			if err != nil {
				return err
			}
			return a.benchWatch(cmd.Context(), min(connections, watches), &loadgen.WatchLoad{
				Own: own, Watches: watches, Flips: flips, Timeout: a.timeout,
			})
		},
	}
	w.register(cmd)
	cmd.Flags().IntVar(&watches, "watches", 1000, "watches; at most 100,000")
	cmd.Flags().IntVar(&connections, "connections", 10, "connections that they share, at most 1,000; a node takes 10,000 watches on each (serve --max-watches-per-connection)")
	cmd.Flags().IntVar(&flips, "flips", 20, "changes of the status; at most 1,000")
	return cmd
}

func (a *app) benchWatch(ctx context.Context, connections int, l *loadgen.WatchLoad) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if l.Conns, err = a.benchConnect(ctx, connections); err != nil {
		return err
	}
	defer l.Conns.Close()
	if err := a.benchBegin(ctx, c, l.Own, healthpb.HealthCheckResponse_SERVING); err != nil {
		return err
	}
	ran := a.runWatchLoad(ctx, c, l)
	l.Close()
	if ran != nil {
		if err := a.benchEnd(ctx, c, l.Own); err != nil {
			a.report(a.explain(err), a.forPrograms())
		}
		return ran
	}
	printed := a.printWatchLoad(l, ctx.Err() != nil)
	return firstError(a.benchEnd(ctx, c, l.Own), watchOutcome(l), printed)
}

// runWatchLoad opens the watches and makes the flips. Its error means that nothing could be measured.
func (a *app) runWatchLoad(ctx context.Context, c *client.Client, l *loadgen.WatchLoad) error {
	opened := l.Open(ctx, watchOpenTimeout, a.live)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if n := l.WatchErrors().Count(); n > 0 {
		first := l.WatchErrors().List()[0]
		return withNext(&failure{exit: exitNotDone, code: codes.Unavailable, reason: first.Reason,
			err: fmt.Errorf("cannot open %d of %d watches: %s: %s", n, l.Watches, first.Code, first.Message)},
			"try fewer --watches, or more --connections")
	}
	if !opened {
		return &failure{exit: exitNotDone, code: codes.DeadlineExceeded,
			err: fmt.Errorf("cannot open %d watches within %s", l.Watches, watchOpenTimeout), next: "try fewer --watches"}
	}
	stop := a.live(l.Progress)
	defer stop()
	bounded, cancel := context.WithTimeout(ctx, maxBenchDuration)
	defer cancel()
	l.Run(bounded, c)
	return nil
}

func watchOutcome(l *loadgen.WatchLoad) error {
	if n := l.WatchErrors().Count(); n > 0 {
		return notAsAsked(fmt.Errorf("%s of %s watches failed", format.Grouped(n), format.Grouped(uint64(l.Watches))))
	}
	return benchOutcome(&l.WriteErrors, l.Write.Snapshot().Count, "flips")
}

// watchJSON is a summary for programs. Latencies are in seconds.
type watchJSON struct {
	summaryJSON
	Prefix   string      `json:"prefix"`
	Watches  int         `json:"watches"`
	Flips    uint64      `json:"flips"`
	Messages uint64      `json:"messages"`
	Rate     uint64      `json:"messages_per_second"`
	Delay    latencyJSON `json:"delay_seconds"`
	After    latencyJSON `json:"delay_after_answer_seconds"`
	Last     latencyJSON `json:"last_watcher_seconds"`
	Write    latencyJSON `json:"write_seconds"`
}

func (a *app) printWatchLoad(l *loadgen.WatchLoad, interrupted bool) error {
	delay, after, last, write := l.Delay.Snapshot(), l.AfterAnswer.Snapshot(), l.Last.Snapshot(), l.Write.Snapshot()
	out := watchJSON{
		summaryJSON: summaryJSON{
			Bench:       "watch",
			Endpoints:   l.Conns.Endpoints,
			Connections: l.Conns.Len(),
			Seconds:     l.Elapsed.Seconds(),
			Interrupted: interrupted,
			Errors:      l.ErrorCount(),
			ErrorsBy:    append(l.WatchErrors().List(), l.WriteErrors.List()...),
		},
		Prefix:   l.Own.Prefix,
		Watches:  l.Watches,
		Flips:    write.Count,
		Messages: delay.Count,
		Rate:     loadgen.PerSecond(delay.Count, l.Elapsed),
		Delay:    latencyOf(delay),
		After:    latencyOf(after),
		Last:     latencyOf(last),
		Write:    latencyOf(write),
	}
	return a.printObject(out, func() error {
		fmt.Fprintf(a.stdout, "watch: %s on %s, %s, %s\n", format.Count(l.Watches, "watch", "watches"), l.Conns,
			format.Count(int(write.Count), "flip", "flips"), format.ThreeDigits(l.Elapsed))
		fmt.Fprintf(a.stdout, "%s messages, %s/s, %s errors\n", format.Grouped(delay.Count),
			format.Grouped(loadgen.PerSecond(delay.Count, l.Elapsed)), format.Grouped(l.ErrorCount()))
		err := format.Table(a.stdout, func(row func(...string)) {
			row("DELAY", "P50", "P99", "MAX")
			for _, r := range []struct {
				what string
				s    *loadgen.Snapshot
			}{{"each watcher", delay}, {"after its answer", after}, {"last watcher of a flip", last}, {"the write's answer", write}} {
				row(append([]string{r.what}, latencyCells(r.s)...)...)
			}
		})
		a.printErrors(l.WatchErrors())
		a.printErrors(&l.WriteErrors)
		return err
	})
}
