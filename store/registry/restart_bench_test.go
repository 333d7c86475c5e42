package registry

import (
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// BenchmarkMillion is what a node with 100,000 services and a million events waits for: how long a
// snapshot holds the fold up, how long it takes in all (copied, checked, fsynced), and how long a start
// takes that loads the map.
func BenchmarkMillion(b *testing.B) {
	const entriesInAll = 10_000
	path := b.TempDir()
	open := func() *disk { return openDisk(b, path, Options{}) }
	d := open()
	defer func() { d.close() }()
	for i := range entriesInAll {
		d.registryFile.Append(hundredChanges(i))
	}
	d.flush()
	b.Run("snapshot holds up the fold", func(b *testing.B) {
		for b.Loop() {
			s, err := d.registryFile.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			s, err := d.registryFile.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			sink, err := d.snaps.Create(1, entriesInAll, 1, raft.Configuration{}, 1, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Persist(sink); err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
		b.ReportMetric(float64(used(b, d.registryFile))/(1<<20), "MiB-file")
	})
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			d.close()
			b.StartTimer()
			d = open()
			var services atomic.Int64
			if _, err := d.registryFile.Load(logv1.VisitorFunc(func(_ logv1.Kind, _ int, records []logv1.KeyValue) error {
				services.Add(int64(len(records)))
				return nil
			})); err != nil || services.Load() != 100_000 {
				b.Fatal(services.Load(), err)
			}
		}
	})
}
