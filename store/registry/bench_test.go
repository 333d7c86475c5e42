package registry

import (
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

func hundredChanges(i int) *logv1.Delta { return storetest.HundredChangesOf(i, 100_000) }

// BenchmarkAppendFlush writes deltas of 100 changes, each with an fsync of its own.
func BenchmarkAppendFlush(b *testing.B) {
	d := openDisk(b, b.TempDir(), lazy)
	defer d.close()
	i := 0
	for b.Loop() {
		d.registryFile.Append(hundredChanges(i))
		d.flush()
		i++
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkAppendBehind writes the same with the default write-behind: what the registry file can take.
func BenchmarkAppendBehind(b *testing.B) {
	d := openDisk(b, b.TempDir(), Options{})
	defer d.close()
	i := 0
	for b.Loop() {
		d.registryFile.Append(hundredChanges(i))
		i++
	}
	d.flush()
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "changes/s")
}
