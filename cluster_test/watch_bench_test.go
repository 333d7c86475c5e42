package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

var benchWatches = flag.Int("watches", 100_000, "watches in BenchmarkWatches")

// BenchmarkWatches flips a status that very many watch over real sockets, and looks at what that does
// to everybody else: unrelated Checks and unrelated writes, which go on all the while. An iteration
// is one flip that every watcher has received. The clients are in this process too, but keep nothing
// for each watch: the memory is the server's. docs/benchmarks.md has the figures.
func BenchmarkWatches(b *testing.B) {
	for _, c := range []struct {
		name           string
		watches, names int
	}{
		{"none", 0, 1},
		{"one-name", *benchWatches, 1},
		{"thousand-names", *benchWatches, 1000},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkWatches(b, c.watches, c.names) })
	}
}

func benchmarkWatches(b *testing.B, watches, names int) {
	const perConnection = 10_000
	api, n := startSolo(b, func(c *node.Config) { c.MaxWatches = max(1, watches) })
	conn, err := grpc.NewClient(api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	admin, health := rollcallv1.NewAdminClient(conn), healthpb.NewHealthClient(conn)

	flip := func(i int) { // all names at once: one event each, one batch
		to := serving
		if i%2 == 0 {
			to = notServing
		}
		req := &rollcallv1.BatchSetServingStatusRequest{}
		for i := range names {
			req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: watched(i), Status: to.Enum()})
		}
		if _, err := admin.BatchSetServingStatus(ctx, req, grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
	}
	flip(1)

	before := measure()
	var received atomic.Int64
	arrived := make(chan struct{}, 1) // a hint that received grew to a multiple of watches
	var clients sync.WaitGroup
	var raws []*raw
	for opened := 0; opened < watches; {
		r := dialRaw(b, api)
		raws = append(raws, r)
		r.listen(&clients, func() {
			if received.Add(1)%int64(watches) == 0 {
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
		})
		for range min(perConnection, watches-opened) {
			name := watched(opened % names)
			r.mustOpen(&name)
			opened++
		}
	}
	all := func(rounds int) {
		stuck := time.After(patience)
		for received.Load() < int64(rounds*watches) {
			select {
			case <-arrived:
			case <-stuck:
				b.Fatalf("round %d: %d of %d answers came after %s; %d watches are open", rounds, received.Load(), rounds*watches, patience, n.OpenWatches())
			}
		}
	}
	all(1)
	var memory int64
	if watches > 0 {
		memory = (measure().heap - before.heap) / int64(watches)
		if got := n.OpenWatches(); got != watches {
			b.Fatalf("%d watches are open, want %d", got, watches)
		}
	}

	var others sync.WaitGroup
	var checks, writes latencies
	running, stop := context.WithCancel(ctx)
	others.Go(func() {
		checks.measure(running, time.Millisecond, func() error {
			_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: watched(0)})
			return err
		})
	})
	others.Go(func() {
		i := 0
		writes.measure(running, 10*time.Millisecond, func() error {
			i++
			to := healthpb.HealthCheckResponse_ServingStatus(1 + i%2)
			_, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "unrelated", Status: to.Enum()})
			return err
		})
	})

	rounds := 1
	for b.Loop() {
		flip(rounds - 1)
		rounds++
		all(rounds)
	}
	stop()
	others.Wait()
	b.ReportMetric(float64(memory), "bytes/watch")
	checks.report(b, "check")
	writes.report(b, "write")
	for _, r := range raws {
		r.conn.Close()
	}
	clients.Wait()
}

func watched(i int) string { return fmt.Sprintf("watched/%d", i) }

// latencies are of calls made one after the other.
type latencies struct {
	all []time.Duration
	err error
}

// measure calls, with a pause after each, until ctx ends.
func (l *latencies) measure(ctx context.Context, pause time.Duration, call func() error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		start := time.Now()
		if err := call(); err != nil {
			l.err = err
			return
		}
		l.all = append(l.all, time.Since(start))
	}
}

func (l *latencies) report(b *testing.B, what string) {
	b.Helper()
	if l.err != nil {
		b.Fatalf("%s: %v", what, l.err)
	}
	if len(l.all) == 0 {
		return
	}
	slices.Sort(l.all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(l.all[len(l.all)/2]), what+"-p50-ms")
	b.ReportMetric(ms(l.all[len(l.all)*99/100]), what+"-p99-ms")
	b.ReportMetric(ms(l.all[len(l.all)-1]), what+"-max-ms")
}
