package loadgen

import (
	"context"
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// WatchLoad flips the status of one service that many watch. A delay counts from when the write was called.
type WatchLoad struct {
	Own     *Services
	Conns   *Connections
	Watches int
	Flips   int
	Timeout time.Duration // of one write, and of the wait for all watchers

	Write       Histogram // of writes that were answered
	Delay       Histogram // of messages, since the write was called
	AfterAnswer Histogram // of messages, since the write was answered
	Last        Histogram // of the last message of each flip, since the write was called
	WriteErrors Errors
	Elapsed     time.Duration // of the flips

	watchers *watchers
}

// Open opens the watches and reports whether all of them had the service's status within timeout. Opening
// describes how far that is.
func (l *WatchLoad) Open(ctx context.Context, timeout time.Duration, show func(opening func(time.Duration) string) (stop func())) bool {
	l.watchers = newWatchers(l.Watches)
	stop := show(l.watchers.opening)
	defer stop()
	return l.watchers.open(ctx, l.Own.Name(0), healthpb.HealthCheckResponse_SERVING, l.Conns, timeout)
}

// Close ends the watches.
func (l *WatchLoad) Close() { l.watchers.close() }

// WatchErrors returns the errors of the watches.
func (l *WatchLoad) WatchErrors() *Errors { return &l.watchers.errors }

// Run flips the status until all flips are made, a write fails, or ctx ends.
func (l *WatchLoad) Run(ctx context.Context, c *client.Client) {
	start := time.Now()
	for i := 0; i < l.Flips && ctx.Err() == nil; i++ {
		status := client.Status(healthpb.HealthCheckResponse_NOT_SERVING)
		if i%2 == 1 {
			status = healthpb.HealthCheckResponse_SERVING
		}
		if err := l.flip(ctx, c, status); err != nil {
			// Whether it was written is not known, and so not which status the watchers get next.
			l.WriteErrors.Add(err)
			break
		}
	}
	l.Elapsed = time.Since(start)
}

// flip makes one change and waits until all watchers have it. The end of ctx does not cut it off.
func (l *WatchLoad) flip(ctx context.Context, c *client.Client, status client.Status) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Timeout)
	defer cancel()
	f := l.watchers.expect(status)
	if _, err := c.Set(ctx, l.Own.Name(0), status, l.Own.Options()); err != nil {
		return err
	}
	answered := time.Since(f.start)
	l.Write.Record(answered)
	l.watchers.await(f, l.Timeout)
	var last time.Duration
	for i := range f.delays {
		if d := time.Duration(f.delays[i].Load()); d > 0 {
			l.Delay.Record(d)
			l.AfterAnswer.Record(d - answered)
			last = max(last, d)
		}
	}
	if last > 0 {
		l.Last.Record(last)
	}
	return nil
}

// ErrorCount returns how many writes and watches failed.
func (l *WatchLoad) ErrorCount() uint64 { return l.WriteErrors.Count() + l.watchers.errors.Count() }

// Progress describes the flips so far.
func (l *WatchLoad) Progress(time.Duration) string {
	return fmt.Sprintf("%d of %d flips · p99 %s · %s errors",
		l.Write.Snapshot().Count, l.Flips, format.ThreeDigits(l.Delay.Snapshot().Quantile(0.99)), format.Grouped(l.ErrorCount()))
}
