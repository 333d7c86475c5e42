package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestLoadCallsUntilItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &load{callers: 4, duration: 9995 * time.Millisecond, timeout: time.Second}
		l.call = func(context.Context, int) error { time.Sleep(100 * time.Millisecond); return nil }
		l.run(t.Context())
		s := l.latencies.spread()
		if s.count != 400 || s.max != 100*time.Millisecond || l.elapsed != 10*time.Second {
			t.Errorf("%d calls in %s, max %s; want 400 in 10s, 100ms", s.count, l.elapsed, s.max)
		}
	})
}

func TestLoadKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &load{callers: 50, rate: 100, duration: 9995 * time.Millisecond, timeout: time.Second}
		l.call = func(context.Context, int) error { time.Sleep(10 * time.Millisecond); return nil }
		l.run(t.Context())
		if s := l.latencies.spread(); s.count != 1000 || s.max != 10*time.Millisecond {
			t.Errorf("%d calls, max %s; want 1000, 10ms", s.count, s.max)
		}
	})
}

// One caller is held up for a second: the 99 calls that were due meanwhile are late, and count so.
func TestLoadWithARateCountsCallsThatCouldNotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		l := &load{callers: 1, rate: 100, duration: 9995 * time.Millisecond, timeout: 5 * time.Second}
		l.call = func(context.Context, int) error {
			if calls.Add(1) == 1 {
				time.Sleep(time.Second)
			}
			return nil
		}
		l.run(t.Context())
		s := l.latencies.spread()
		if late := s.quantile(0.95); s.count != 1000 || late < 400*time.Millisecond {
			t.Errorf("%d calls, p95 %s; want 1000 and at least 400ms", s.count, late)
		}
	})
}

func TestLoadEndsEarlyAndCutsNoCallOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		l := &load{callers: 3, duration: time.Minute, timeout: 5 * time.Second}
		l.call = func(ctx context.Context, _ int) error { time.Sleep(time.Second); return ctx.Err() }
		l.run(ctx)
		if s := l.latencies.spread(); s.count != 6 || l.failures.count() != 0 || l.elapsed != 2*time.Second {
			t.Errorf("%d calls and %d failures in %s; want 6, 0, 2s", s.count, l.failures.count(), l.elapsed)
		}
	})
}

func TestLoadRestsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &load{callers: 2, duration: 950 * time.Millisecond, timeout: time.Second}
		l.call = func(_ context.Context, caller int) error {
			if caller == 0 {
				return refusal(codes.Unavailable, reasonNotWritten, "no leader", nil)
			}
			return status.Error(codes.Unavailable, "gone")
		}
		l.run(t.Context())
		want := "[{UNAVAILABLE  10 gone} {UNAVAILABLE NOT_WRITTEN 10 no leader}]"
		if got := fmt.Sprint(l.failures.list()); got != want || l.failures.count() != 20 || l.latencies.spread().count != 0 {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestFailuresAreBounded(t *testing.T) {
	var f failures
	for i := range 3 * failureKinds {
		f.add(refusal(codes.Internal, fmt.Sprint("R", i), "x", nil))
	}
	f.add(errors.New("not of gRPC"))
	if len(f.list()) != failureKinds || f.count() != 3*failureKinds+1 {
		t.Errorf("%d kinds of %d failures", len(f.list()), f.count())
	}
}

func TestLiveViewRewritesOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &load{duration: 10 * time.Second}
		stop := showLive(&out, l.progress())
		for range 3 {
			for range 1500 {
				l.latencies.record(time.Millisecond)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			l.failures.add(io.EOF)
		}
		stop()
		want := "\r\x1b[K1s of 10s · 1,500/s · p99 1ms · 0 errors" +
			"\r\x1b[K2s of 10s · 1,500/s · p99 1ms · 1 errors" +
			"\r\x1b[K3s of 10s · 1,500/s · p99 1ms · 2 errors" + "\r\x1b[K"
		if got := out.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestLiveViewIsForTerminals(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{file, &strings.Builder{}, &lockedWriter{w: file}} {
		if terminal(w) {
			t.Errorf("%T is taken for a terminal", w)
		}
	}
}
