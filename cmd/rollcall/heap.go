package main

import (
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

const reservedHeapBytes = 32 << 20

// heapReserve is memory that is kept and never used.
type heapReserve struct {
	held atomic.Pointer[[]byte]
}

// reserveHeap returns what makes the garbage collector rarer in a node that holds little, while it is
// kept; nil where the operator has told Go how to collect. Go begins when the heap has doubled, but not
// below 4 MiB: a node under load with a few services would collect its garbage dozens of times a second,
// a quarter of what a Check costs (docs/benchmarks-notes.md). As the heap seems larger by this much, that
// is at 64 MiB and more. It is never written to, so no memory is behind it; the price is up to as much
// garbage between two collections. A node that holds that much itself collects no sooner without, and the
// reserve is given up.
func reserveHeap() *heapReserve {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return newHeapReserve(liveHeapBytes)
}

// newHeapReserve returns one that is given up after the first collection that leaves so much live.
func newHeapReserve(live func() uint64) *heapReserve {
	r := new(heapReserve)
	bytes := make([]byte, reservedHeapBytes)
	r.held.Store(&bytes)
	afterEachCollection(func() (again bool) {
		if live() < 2*reservedHeapBytes {
			return true
		}
		r.held.Store(nil)
		return false
	})
	return r
}

// liveHeapBytes is what the last collection has left.
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
