package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refusal is a node's error with a reason.
func refusal(code codes.Code, reason, message string) error {
	s, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Domain: "rollcall", Reason: reason})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func TestLoadCallsUntilItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Load{Callers: 4, Duration: 9995 * time.Millisecond, Timeout: time.Second}
		do := func(context.Context, int) error { time.Sleep(100 * time.Millisecond); return nil }
		l.run(t.Context(), do)
		s := l.Latencies.Snapshot()
		if s.Count != 400 || s.Max != 100*time.Millisecond || l.Elapsed != 10*time.Second {
			t.Errorf("%d calls in %s, max %s; want 400 in 10s, 100ms", s.Count, l.Elapsed, s.Max)
		}
	})
}

func TestLoadKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Load{Callers: 50, Rate: 100, Duration: 9995 * time.Millisecond, Timeout: time.Second}
		do := func(context.Context, int) error { time.Sleep(10 * time.Millisecond); return nil }
		l.run(t.Context(), do)
		if s := l.Latencies.Snapshot(); s.Count != 1000 || s.Max != 10*time.Millisecond {
			t.Errorf("%d calls, max %s; want 1000, 10ms", s.Count, s.Max)
		}
	})
}

// One caller is held up for a second: the 99 calls that were due meanwhile are late, and count so.
func TestLoadWithARateCountsCallsThatCouldNotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		l := &Load{Callers: 1, Rate: 100, Duration: 9995 * time.Millisecond, Timeout: 5 * time.Second}
		do := func(context.Context, int) error {
			if calls.Add(1) == 1 {
				time.Sleep(time.Second)
			}
			return nil
		}
		l.run(t.Context(), do)
		s := l.Latencies.Snapshot()
		if late := s.Quantile(0.95); s.Count != 1000 || late < 400*time.Millisecond {
			t.Errorf("%d calls, p95 %s; want 1000 and at least 400ms", s.Count, late)
		}
	})
}

func TestLoadEndsEarlyAndCutsNoCallOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		l := &Load{Callers: 3, Duration: time.Minute, Timeout: 5 * time.Second}
		do := func(ctx context.Context, _ int) error { time.Sleep(time.Second); return ctx.Err() }
		l.run(ctx, do)
		if s := l.Latencies.Snapshot(); s.Count != 6 || l.Errors.Count() != 0 || l.Elapsed != 2*time.Second {
			t.Errorf("%d calls and %d failures in %s; want 6, 0, 2s", s.Count, l.Errors.Count(), l.Elapsed)
		}
	})
}

func TestLoadRestsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Load{Callers: 2, Duration: 950 * time.Millisecond, Timeout: time.Second}
		do := func(_ context.Context, caller int) error {
			if caller == 0 {
				return refusal(codes.Unavailable, "NOT_WRITTEN", "no leader")
			}
			return status.Error(codes.Unavailable, "gone")
		}
		l.run(t.Context(), do)
		want := "[{UNAVAILABLE  10 gone} {UNAVAILABLE NOT_WRITTEN 10 no leader}]"
		if got := fmt.Sprint(l.Errors.List()); got != want || l.Errors.Count() != 20 || l.Latencies.Snapshot().Count != 0 {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestErrorKindsAreBounded(t *testing.T) {
	var e Errors
	for i := range 3 * maxErrorKinds {
		e.Add(refusal(codes.Internal, fmt.Sprint("R", i), "x"))
	}
	e.Add(errors.New("not of gRPC"))
	if len(e.List()) != maxErrorKinds || e.Count() != 3*maxErrorKinds+1 {
		t.Errorf("%d kinds of %d failures", len(e.List()), e.Count())
	}
}

func TestProgressIsOfTheLastSecond(t *testing.T) {
	l := &Load{Duration: 10 * time.Second}
	progress := l.Progress()
	for second, want := range []string{
		"1s of 10s · 1,500/s · p99 1ms · 0 errors",
		"2s of 10s · 1,500/s · p99 1ms · 1 errors",
		"3s of 10s · 1,500/s · p99 1ms · 2 errors",
	} {
		for range 1500 {
			l.Latencies.Record(time.Millisecond)
		}
		if got := progress(time.Duration(second+1) * time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		l.Errors.Add(io.EOF)
	}
}
