package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// BenchmarkWritesBesideHistory compares writes while four readers go through 200,000 stored events over
// and over with writes while nobody reads, in slices of half a second that take turns. An iteration is
// one slice of each. The readers are in this process too, and look at no more than how far a message goes.
//
//   - full: 32 writers, each one write after the other, take all the processors there are.
//   - steady: 16 writers, each a write every 20 ms.
//
// docs/benchmarks.md has the figures.
func BenchmarkWritesBesideHistory(b *testing.B) {
	b.Run("full", func(b *testing.B) { benchmarkWritesBesideHistory(b, 32, 0) })
	b.Run("steady", func(b *testing.B) { benchmarkWritesBesideHistory(b, 16, 20*time.Millisecond) })
}

func benchmarkWritesBesideHistory(b *testing.B, writers int, pause time.Duration) {
	const readers, slice = 4, 500 * time.Millisecond
	e := newEventBench(b)
	var stored int64
	for stored < 200_000 {
		stored = e.write()
	}
	var latencies [2][]time.Duration // alone, beside
	var read int64
	for b.Loop() {
		latencies[0] = append(latencies[0], e.writeFor(slice, writers, pause)...)
		ctx, cancel := context.WithCancel(e.ctx)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range readers {
			wg.Go(func() {
				for ctx.Err() == nil {
					e.follow(i, 1, func(at int64) bool {
						if ctx.Err() != nil || at >= stored {
							mu.Lock()
							read += at
							mu.Unlock()
							return false
						}
						return true
					})
				}
			})
		}
		latencies[1] = append(latencies[1], e.writeFor(slice, writers, pause)...)
		cancel()
		wg.Wait()
	}
	for i := range latencies {
		slices.Sort(latencies[i])
	}
	alone, beside := latencies[0], latencies[1]
	quantile := func(l []time.Duration, q float64) float64 { return float64(l[int(q*float64(len(l)-1))]) }
	b.ReportMetric(float64(len(beside))/float64(len(alone)), "writes/alone")
	b.ReportMetric(quantile(beside, 0.5)/quantile(alone, 0.5), "p50/alone")
	b.ReportMetric(quantile(beside, 0.99)/quantile(alone, 0.99), "p99/alone")
	b.ReportMetric(float64(read)/(float64(b.N)*slice.Seconds()), "events-read/s")
	b.ReportMetric(quantile(alone, 0.5)/1e6, "ms-p50-alone")
}

// writeFor returns how long each write of a slice of time took.
func (e *eventBench) writeFor(slice time.Duration, writers int, pause time.Duration) (all []time.Duration) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	deadline := time.Now().Add(slice)
	for w := range writers {
		wg.Go(func() {
			var took []time.Duration
			admin := rollcallv1.NewAdminClient(e.conns[w%len(e.conns)])
			for n := 0; time.Now().Before(deadline); n++ {
				start := time.Now()
				_, err := admin.SetServingStatus(e.ctx, &rollcallv1.SetServingStatusRequest{
					Service: fmt.Sprintf("writer/%d", w), Status: serving.Enum(), Reason: fmt.Sprint(start.UnixNano())})
				if err != nil {
					e.b.Error(err)
					return
				}
				took = append(took, time.Since(start))
				if pause > 0 {
					time.Sleep(time.Until(start.Add(pause)))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	return all
}

// BenchmarkShortReadsBesideLaggards measures a read of a point in time, and a list of the newest twenty events of
// a service, while clients follow 200,000 stored events from the first one on, over and over, and 16 writers write
// every 20 ms. Each short read has a connection of its own, like a command; all clients are in this process
// too. docs/benchmarks.md has the figures.
func BenchmarkShortReadsBesideLaggards(b *testing.B) {
	for _, laggards := range []int{0, 100, 500} {
		b.Run(fmt.Sprintf("laggards=%d", laggards), func(b *testing.B) { benchmarkShortReads(b, laggards) })
	}
}

func benchmarkShortReads(b *testing.B, laggards int) {
	e := newEventBench(b)
	var stored int64
	for stored < 200_000 {
		stored = e.write()
	}
	ctx, cancel := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range laggards {
		wg.Go(func() {
			for ctx.Err() == nil {
				e.follow(i, 1, func(at int64) bool { return ctx.Err() == nil && at < stored })
			}
		})
	}
	var read atomic.Bool // all that is measured
	wg.Go(func() {
		for !read.Load() && ctx.Err() == nil {
			e.writeFor(100*time.Millisecond, 16, 20*time.Millisecond)
		}
	})
	defer read.Store(true)
	reads := map[string]func(rollcallv1.RegistryClient) error{
		"get": func(r rollcallv1.RegistryClient) error {
			_, err := r.GetService(e.ctx, &rollcallv1.GetServiceRequest{Service: "team-1/service-1",
				At: &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: stored / 2}}})
			return err
		},
		"events": func(r rollcallv1.RegistryClient) error {
			_, err := r.ListEvents(e.ctx, &rollcallv1.ListEventsRequest{Service: "team-1/service-1", PageSize: 20, NewestFirst: true})
			return err
		},
	}
	took := map[string][]time.Duration{}
	for b.Loop() {
		for what, read := range reads {
			conn, err := grpc.NewClient(e.conns[0].CanonicalTarget(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			start := time.Now()
			if err := read(rollcallv1.NewRegistryClient(conn)); err != nil {
				b.Fatal(err)
			}
			took[what] = append(took[what], time.Since(start))
			conn.Close()
		}
	}
	for what, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2])/1e6, "ms-p50-"+what)
		b.ReportMetric(float64(all[len(all)-1])/1e6, "ms-max-"+what)
	}
}
