package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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
