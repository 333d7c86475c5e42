package sse

import (
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// firstState is the first state of 100,000 services in events. apart: each service has a time of its own, the worst case;
// else those of a page have one.
func firstState(b *testing.B, apart bool) (events [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	base := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC).UnixNano()
	for page := range 100 {
		m := &rollcallv1.WatchServicesResponse{Revision: 100_000}
		at := base + int64(page)*1e9 + r.Int64N(1e9)
		for i := range 1000 {
			if apart {
				at = base + r.Int64N(1e14)
			}
			status := convert.Status(1)
			if r.IntN(50) == 0 {
				status = 2
			}
			m.Services = append(m.Services, convert.StatusOnly(fmt.Sprintf("group-%03d/service-%05d", page, i), status, at))
		}
		event, err := appendMessage(nil, "services", nil, m)
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// BenchmarkCompress compresses a first state at each level, event by event, and as one stream with a common window.
func BenchmarkCompress(b *testing.B) {
	for _, times := range []string{"shared", "apart"} {
		events := firstState(b, times == "apart")
		for level := flate.BestSpeed; level <= 6; level++ {
			for _, window := range []string{"each", "common"} {
				b.Run(fmt.Sprintf("times-%s/level-%d/window-%s", times, level, window), func(b *testing.B) {
					var sent counter
					w, err := flate.NewWriter(&sent, level)
					if err != nil {
						b.Fatal(err)
					}
					for b.Loop() {
						sent = 0
						w.Reset(&sent)
						for _, e := range events {
							if window == "each" {
								w.Reset(&sent)
							}
							_, _ = w.Write(e)
							_ = w.Flush()
						}
					}
					b.ReportMetric(float64(sent)/1e6, "MB")
				})
			}
		}
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)
