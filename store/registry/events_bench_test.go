package registry

import (
	"context"
	"fmt"
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// million is a registry file of a million events of 100,000 services, in deltas of 100.
func million(b *testing.B) *disk {
	b.Helper()
	d := openDisk(b, b.TempDir(), Options{})
	for i := range 10_000 {
		d.registryFile.Append(hundredChanges(i))
	}
	d.flush()
	return d
}

// BenchmarkEvents reads of a million events.
func BenchmarkEvents(b *testing.B) {
	d := million(b)
	defer d.close()
	for _, bb := range []struct {
		name  string
		q     func(i int) logv1.EventQuery
		limit int
		want  int
	}{
		{"of one service of 10 events", func(i int) logv1.EventQuery {
			return logv1.EventQuery{From: 1, Kind: logv1.Kind_KIND_SERVICE, Key: fmt.Sprintf("shop/svc-%d", i*7919%100_000)}
		}, 1000, 10},
		{"newest of one service", func(i int) logv1.EventQuery {
			return logv1.EventQuery{From: 1, Kind: logv1.Kind_KIND_SERVICE, Key: fmt.Sprintf("shop/svc-%d", i*7919%100_000), Descending: true}
		}, 1, 1},
		{"page of 1000 of all", func(i int) logv1.EventQuery {
			return logv1.EventQuery{From: int64(1 + i*7919%900_000)}
		}, 1000, 1000},
		{"page of 1000 of all, newest first", func(i int) logv1.EventQuery {
			return logv1.EventQuery{From: 1, To: int64(1000 + i*7919%900_000), Descending: true}
		}, 1000, 1000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				n := 0
				_, err := d.registryFile.Events(context.Background(), bb.q(i), func(*logv1.Event) (bool, error) {
					n++
					return n < bb.limit, nil
				})
				if err != nil || n != bb.want {
					b.Fatalf("%d events, %v", n, err)
				}
				i++
			}
		})
	}
	b.Run("one past moment of 1000 services", func(b *testing.B) {
		i := 0
		for b.Loop() {
			n := 0
			_, err := d.registryFile.EventsAt(context.Background(), logv1.Kind_KIND_SERVICE, int64(500_000+i*7919%500_000), "", "shop/svc-5", 1000, func(*logv1.Event) (bool, error) {
				n++
				return true, nil
			})
			if err != nil || n != 1000 {
				b.Fatalf("%d services, %v", n, err)
			}
			i++
		}
	})
	b.Run("revision at a time", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if r, _, err := d.registryFile.RevisionAt(context.Background(), int64(100+i*7919%999_900)); err != nil || r == 0 {
				b.Fatal(r, err)
			}
			i++
		}
	})
}

// BenchmarkCompact deletes the older half of 200,000 events of 20,000 services, in random order of these,
// by steps of the size that the writer makes, fsync included.
func BenchmarkCompact(b *testing.B) {
	b.Run("at ease", func(b *testing.B) { benchmarkCompact(b, 0) })
	b.Run("far behind", func(b *testing.B) { benchmarkCompact(b, 1) })
}

func benchmarkCompact(b *testing.B, hurryBehind int64) {
	for b.Loop() {
		b.StopTimer()
		d := openDisk(b, b.TempDir(), Options{compactByHand: true, hurryBehind: hurryBehind})
		for i := range 2000 {
			d.registryFile.Append(storetest.HundredChangesOf(i, 20_000))
		}
		d.registryFile.Append(&logv1.Delta{Index: 3000, Term: 1, Revision: 200_000, LogTime: 200_000, ClusterID: "3f9a", Horizon: 100_001})
		d.flush()
		size := used(b, d.registryFile)
		b.StartTimer()
		steps, longest := 0, time.Duration(0)
		for !compacted(d.registryFile) {
			start := time.Now()
			if err := d.registryFile.compact(); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(start))
			steps++
		}
		b.StopTimer()
		b.ReportMetric(float64(steps), "steps")
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		b.ReportMetric(float64(size)/(1<<20), "MiB-before")
		b.ReportMetric(float64(used(b, d.registryFile))/(1<<20), "MiB-used")
		d.close()
		b.StartTimer()
	}
	b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
