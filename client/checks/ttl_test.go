package checks

import (
	"errors"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewTTL("worker", 30*time.Second)
		wantFailure(t, c.Check(t.Context()), "nothing was reported yet")
		c.OK()
		time.Sleep(30*time.Second - time.Nanosecond)
		wantOK(t, c.Check(t.Context()))
		time.Sleep(time.Nanosecond)
		wantFailure(t, c.Check(t.Context()), "nothing was reported for 30s, at most 30s is allowed")
		c.Degraded(errors.New("queue is long"))
		wantWarning(t, c.Check(t.Context()), "queue is long")
		c.Fail(io.EOF)
		err := c.Check(t.Context())
		wantFailure(t, err, "EOF")
		if !errors.Is(err, io.EOF) {
			t.Error("the error is not what was fed")
		}
		time.Sleep(time.Minute)
		wantFailure(t, c.Check(t.Context()), "nothing was reported for 1m", "the last report was: EOF")
		c.Fail(nil)
		wantFailure(t, c.Check(t.Context()), "no reason")
		c.Fail(Degraded(errors.New("dressed up")))
		wantFailure(t, c.Check(t.Context()), "dressed up")
		c.Degraded(nil)
		wantWarning(t, c.Check(t.Context()), "no reason")
		c.OK()
		wantOK(t, c.Check(t.Context()))
	})
}

func TestTTLWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewTTL("worker", 30*time.Second)
		var runs atomic.Int32
		stop := c.wake(func() { runs.Add(1); _ = c.Check(t.Context()) })
		want := func(n int32, why string) {
			t.Helper()
			synctest.Wait()
			if got := runs.Swap(0); got != n {
				t.Errorf("%s: woken %d times, want %d", why, got, n)
			}
		}
		c.OK()
		want(1, "the first OK")
		for range 10 {
			time.Sleep(20 * time.Second)
			c.OK()
		}
		want(0, "the same again and in time")
		time.Sleep(30 * time.Second)
		want(1, "the time is over")
		c.OK()
		want(1, "back")
		c.Fail(io.EOF)
		want(1, "a failure")
		c.Fail(io.EOF)
		want(0, "the same failure")
		c.Degraded(io.EOF)
		want(1, "a warning of the same text")
		stop()
		stop()
		c.OK()
		time.Sleep(time.Hour)
		want(0, "after stop")
	})
}

func TestTTLOfNothing(t *testing.T) {
	refuses(t, NewTTL("x", 0), "above zero")
	refuses(t, NewTTL("x", -1), "above zero")
}

func TestRuntimeChecks(t *testing.T) {
	wantOK(t, within(t, Goroutines("x", 100000), ample))
	wantFailure(t, within(t, Goroutines("x", 1), ample), "goroutines, at most 1 are allowed")
	wantOK(t, within(t, Heap("x", math.MaxUint64), ample))
	wantFailure(t, within(t, Heap("x", 1024), ample), "MiB on the heap, at most 0.0 MiB")
	refuses(t, Goroutines("x", 0), "above zero")
	refuses(t, Goroutines("x", -5), "above zero")
	refuses(t, Heap("x", 0), "above zero")
}
