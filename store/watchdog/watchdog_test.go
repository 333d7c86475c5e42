package watchdog

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		fail := func(err error) { failed <- err }
		end := Watch("x.db", Limit(0), fail)
		time.Sleep(NoProgress - time.Millisecond)
		end()
		time.Sleep(time.Hour)
		begin := time.Now()
		Watch("x.db", Limit(10<<20), fail)
		if err := <-failed; !strings.Contains(err.Error(), "x.db: the disk has made no progress for 1m10s") || time.Since(begin) != 70*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

// TestOneAfterAnother: each operation has a time of its own, and one that has ended fails nobody.
func TestOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 10)
		w := New("raft.db", func(err error) { failed <- err })
		if w.Busy() != 0 {
			t.Errorf("busy for %s before anything began", w.Busy())
		}
		time.Sleep(time.Hour)
		for range 10 {
			w.Begin(Limit(0))
			time.Sleep(NoProgress - time.Millisecond)
			if w.Busy() != NoProgress-time.Millisecond {
				t.Errorf("busy for %s", w.Busy())
			}
			w.End()
			if w.Busy() != 0 {
				t.Errorf("busy for %s after the end", w.Busy())
			}
		}
		w.look() // a timer that was late
		w.Begin(Limit(10 << 20))
		w.look()
		time.Sleep(69 * time.Second)
		if len(failed) > 0 {
			t.Fatalf("failed before its time: %v", <-failed)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(failed) != 1 {
			t.Fatalf("%d failures of an operation that does not end", len(failed))
		}
		if err := <-failed; !strings.Contains(err.Error(), "raft.db: the disk has made no progress for 1m10s") {
			t.Error(err)
		}
	})
}

func TestWatchingAllocatesNothing(t *testing.T) {
	w := New("raft.db", func(error) {})
	if n := testing.AllocsPerRun(100, func() { w.Begin(NoProgress); w.End() }); n > 0 {
		t.Errorf("an operation allocates %v times", n)
	}
}
