package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// watchOpening bounds the opening of all watches.
const watchOpening = time.Minute

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
			own, err := w.fresh()
			if err != nil {
				return err
			}
			return a.benchWatch(cmd.Context(), own, watches, min(connections, watches), flips)
		},
	}
	w.register(cmd)
	cmd.Flags().IntVar(&watches, "watches", 1000, "watches; at most 100,000")
	cmd.Flags().IntVar(&connections, "connections", 10, "connections that they share, at most 1,000; a node takes 10,000 watches on each (serve --max-watches-per-connection)")
	cmd.Flags().IntVar(&flips, "flips", 20, "changes of the status; at most 1,000")
	return cmd
}

func (a *app) benchWatch(ctx context.Context, own *benchServices, watches, connections, flips int) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	conns, err := a.benchConnect(ctx, connections)
	if err != nil {
		return err
	}
	defer conns.close()
	if err := a.benchBegin(ctx, c, own, healthpb.HealthCheckResponse_SERVING); err != nil {
		return err
	}
	b := &watchLoad{own: own, conns: conns, flips: flips, timeout: a.timeout, audience: newAudience(watches)}
	ran := a.runWatchLoad(ctx, c, b)
	b.audience.end()
	if ran != nil {
		if err := a.benchEnd(ctx, c, own); err != nil {
			a.report(a.explain(err), a.json())
		}
		return ran
	}
	printed := a.printWatchLoad(b, ctx.Err() != nil)
	return firstError(a.benchEnd(ctx, c, own), printed, b.outcome())
}

// watchLoad is one service that is flipped, and many who watch it.
type watchLoad struct {
	own      *benchServices
	conns    *benchConnections
	flips    int
	timeout  time.Duration
	audience *audience

	write    latencies // of the flips that were written
	delay    latencies // of messages, since the write was called
	after    latencies // of messages, since the write was answered
	last     latencies // of the last message of each flip, since the write was called
	failures failures  // of writes; those of watches are the audience's
	elapsed  time.Duration
}

// runWatchLoad opens the watches and flips. Its error means that nothing could be measured.
func (a *app) runWatchLoad(ctx context.Context, c *client.Client, b *watchLoad) error {
	stop := a.live(b.audience.progress)
	opened := b.audience.open(ctx, b.own.name(0), healthpb.HealthCheckResponse_SERVING, b.conns, watchOpening)
	stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if n := b.audience.failures.count(); n > 0 {
		first := b.audience.failures.list()[0]
		return withNext(&failure{exit: exitNotDone, code: codes.Unavailable, reason: first.Reason,
			err: fmt.Errorf("cannot open %d of %d watches: %s: %s", n, len(b.audience.alive), first.Code, first.Message)},
			"try fewer --watches, or more --connections")
	}
	if !opened {
		return &failure{exit: exitNotDone, code: codes.DeadlineExceeded,
			err: fmt.Errorf("cannot open %d watches within %s", len(b.audience.alive), watchOpening), next: "try fewer --watches"}
	}
	stop = a.live(b.progress())
	defer stop()
	bounded, cancel := context.WithTimeout(ctx, maxBenchDuration)
	defer cancel()
	start := time.Now()
	for i := 0; i < b.flips && bounded.Err() == nil; i++ {
		status := client.Status(healthpb.HealthCheckResponse_NOT_SERVING)
		if i%2 == 1 {
			status = healthpb.HealthCheckResponse_SERVING
		}
		if err := b.flip(ctx, c, status); err != nil {
			// Whether it was written or not, what the watchers have to show next is not known.
			b.failures.add(err)
			break
		}
	}
	b.elapsed = time.Since(start)
	return nil
}

// flip makes one change and waits until all have it. Ctrl-C does not cut it off: it is soon over.
func (b *watchLoad) flip(ctx context.Context, c *client.Client, status client.Status) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.timeout)
	defer cancel()
	f := b.audience.expect(status)
	if _, err := c.Set(ctx, b.own.name(0), status, b.own.options()); err != nil {
		return err
	}
	answered := time.Since(f.start)
	b.write.record(answered)
	b.audience.await(f, b.timeout)
	var last time.Duration
	for i := range f.arrived {
		if d := time.Duration(f.arrived[i].Load()); d > 0 {
			b.delay.record(d)
			b.after.record(d - answered)
			last = max(last, d)
		}
	}
	if last > 0 {
		b.last.record(last)
	}
	return nil
}

func (b *watchLoad) errors() uint64 { return b.failures.count() + b.audience.failures.count() }

func (b *watchLoad) outcome() error {
	if w := b.audience.failures.count(); w > 0 {
		return notAsAsked(fmt.Errorf("%s of %s watches failed", grouped(w), grouped(uint64(len(b.audience.alive)))))
	}
	return benchOutcome(&b.failures, b.write.spread().count, "flips")
}

func (b *watchLoad) progress() func(time.Duration) string {
	return func(time.Duration) string {
		return fmt.Sprintf("%d of %d flips · p99 %s · %s errors",
			b.write.spread().count, b.flips, brief(b.delay.spread().quantile(0.99)), grouped(b.errors()))
	}
}

// watchJSON is a summary for programs; latencies are in seconds.
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

func (a *app) printWatchLoad(b *watchLoad, interrupted bool) error {
	delay, after, last, write := b.delay.spread(), b.after.spread(), b.last.spread(), b.write.spread()
	if a.json() {
		l := load{elapsed: b.elapsed}
		s := b.conns.summary("watch", &l, interrupted)
		s.Errors = b.errors()
		s.ErrorsBy = append(b.audience.failures.list(), b.failures.list()...)
		return a.printObject(watchJSON{
			summaryJSON: s,
			Prefix:      b.own.prefix,
			Watches:     len(b.audience.alive),
			Flips:       write.count,
			Messages:    delay.count,
			Rate:        perSecond(delay.count, b.elapsed),
			Delay:       delay.json(),
			After:       after.json(),
			Last:        last.json(),
			Write:       write.json(),
		})
	}
	fmt.Fprintf(a.stdout, "watch: %s on %s, %s, %s\n", count(len(b.audience.alive), "watch", "watches"), b.conns, count(int(write.count), "flip", "flips"), brief(b.elapsed))
	fmt.Fprintf(a.stdout, "%s messages, %s/s, %s errors\n", grouped(delay.count), grouped(perSecond(delay.count, b.elapsed)), grouped(b.errors()))
	err := table(a.stdout, func(row func(...string)) {
		row("DELAY", "P50", "P99", "MAX")
		for _, r := range []struct {
			what string
			s    *spread
		}{{"each watcher", delay}, {"after its answer", after}, {"last watcher of a flip", last}, {"the write's answer", write}} {
			row(append([]string{r.what}, r.s.cells()...)...)
		}
	})
	a.printFailures(&b.audience.failures)
	a.printFailures(&b.failures)
	return err
}
