package ballast

import (
	"runtime"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBallast(t *testing.T) {
	// What else is live in a process that has run other tests is not this one's.
	var live atomic.Uint64
	live.Store(2*Bytes - 1)
	r := withLiveBytes(live.Load)
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
		t.Fatal("given up with little live")
	}
	live.Store(2 * Bytes)
	collect()
	if r.held.Load() != nil {
		t.Error("kept with much live")
	}

	runtime.GC()
	before := liveHeapBytes()
	large := make([]byte, 4*Bytes) // far more than anybody else lets go meanwhile
	runtime.GC()
	if after := liveHeapBytes(); after < before+2*Bytes {
		t.Errorf("with %d bytes more, %d are live, before %d", len(large), after, before)
	}
	runtime.KeepAlive(large)

	t.Setenv("GOMEMLIMIT", "")
	for gogc, want := range map[string]bool{"": true, "50": false} {
		t.Setenv("GOGC", gogc)
		if got := New() != nil; got != want {
			t.Errorf("GOGC=%q: there is a ballast: %v", gogc, got)
		}
	}
}
