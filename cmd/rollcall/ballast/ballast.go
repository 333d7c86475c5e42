package ballast

import (
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

// Bytes is the size of a ballast.
const Bytes = 32 << 20

// Ballast is memory that is kept and never written to.
type Ballast struct {
	held atomic.Pointer[[]byte]
}

// New returns a ballast, and nil where the operator has set GOGC or GOMEMLIMIT. It works while the caller
// keeps it alive.
//
// Go collects garbage when the heap has doubled, but not below 4 MiB: a node under load with a few services
// would collect dozens of times a second, which is a quarter of what a Check costs
// (docs/benchmarks-notes.md). With a ballast the first collection comes at 64 MiB. The system backs no page
// of it, because nothing is written to it; the price is up to as much garbage between two collections. A
// node that holds as much data itself does not need it, and gives it up.
func New() *Ballast {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return withLiveBytes(liveHeapBytes)
}

// withLiveBytes returns a ballast that is given up after the first collection that leaves twice its size
// live.
func withLiveBytes(live func() uint64) *Ballast {
	b := new(Ballast)
	bytes := make([]byte, Bytes)
	b.held.Store(&bytes)
	afterEachCollection(func() (again bool) {
		if live() < 2*Bytes {
			return true
		}
		b.held.Store(nil)
		return false
	})
	return b
}

// liveHeapBytes returns how much the last collection left.
func liveHeapBytes() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// afterEachCollection calls f after each collection of garbage, on a goroutine of Go's own, until it
// returns false.
func afterEachCollection(f func() (again bool)) {
	type garbage struct{ f func() bool }
	var collected func(*garbage)
	collected = func(g *garbage) {
		if g.f() {
			runtime.SetFinalizer(g, collected)
		}
	}
	runtime.SetFinalizer(&garbage{f}, collected)
}
