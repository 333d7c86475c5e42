package raftnode

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// BenchmarkPropose writes on one node with a real log, by writers that each wait for their answer.
func BenchmarkPropose(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := newTestCluster(b, "n1")
			defer c.closeAll()
			n := c.open("n1", testOptions{config: func(cfg *Config) { cfg.Logger = slog.New(slog.DiscardHandler) }})
			n.await(b, "it leads", func(s Status) bool { return s.Leading })
			work := make(chan struct{}, writers)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					cmd := command(fmt.Sprint(w))
					for range work {
						if _, err := n.Propose(b.Context(), cmd); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			begin := time.Now()
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "writes/s")
			b.ReportMetric(float64(b.N)/float64(max(n.fold.entries, 1)), "commands/entry")
		})
	}
}
