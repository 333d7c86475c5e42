package watchdog

import "testing"

// BenchmarkWatchdog is what each append to the log costs: Single as it was with a timer of its own, OneAfterAnother
// as it is.
func BenchmarkWatchdog(b *testing.B) {
	b.Run("Single", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Watch("raft.db", Limit(1000), func(error) {})()
		}
	})
	b.Run("OneAfterAnother", func(b *testing.B) {
		w := New("raft.db", func(error) {})
		b.ReportAllocs()
		for b.Loop() {
			w.Begin(Limit(1000))
			w.End()
		}
	})
}
