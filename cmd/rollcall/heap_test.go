package main

import (
	"runtime"
	"sync/atomic"
	"testing"
)

func TestHeapReserve(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	for range 3 { // what tests before this one have left, in pools too, would count as held
		runtime.GC()
	}
	r := reserveHeap()
	defer runtime.KeepAlive(r)
	var (
		collections = make(chan struct{}, 1) // one that nobody has waited for
		over        atomic.Bool
	)
	defer over.Store(true)
	afterEachCollection(func() bool {
		select {
		case collections <- struct{}{}:
		default:
		}
		return !over.Load()
	})
	collect := func() {
		for range 5 { // whoever is called after one has been called after those before
			for told := false; !told; {
				runtime.GC() // again, if the call of the one before has not ended
				select {
				case <-collections:
					told = true
				default:
					runtime.Gosched()
				}
			}
		}
	}
	collect()
	if r.held.Load() == nil {
		t.Fatalf("given up with %d bytes live", liveHeapBytes())
	}
	large := make([]byte, reservedHeapBytes+1)
	collect()
	if r.held.Load() != nil {
		t.Errorf("kept with %d bytes live", liveHeapBytes())
	}
	runtime.KeepAlive(large)

	t.Setenv("GOGC", "50")
	if reserveHeap() != nil {
		t.Error("there is a reserve although the operator has told Go how to collect")
	}
}
