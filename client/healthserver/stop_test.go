package healthserver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/grpcstop"
)

// load makes calls until stop, and counts those that failed.
func load(t *testing.T, cc *grpc.ClientConn) (stop func() (calls, failed int64, first error)) {
	var (
		calls, failed atomic.Int64
		first         atomic.Pointer[error]
		work          sync.WaitGroup
		done          = make(chan struct{})
	)
	for range 8 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				calls.Add(1)
				if err := add(context.Background(), cc); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	return func() (int64, int64, error) {
		close(done)
		work.Wait()
		if err := first.Load(); err != nil {
			return calls.Load(), failed.Load(), *err
		}
		return calls.Load(), failed.Load(), nil
	}
}

func TestStopUnderLoadFailsNoCall(t *testing.T) {
	for _, drain := range []time.Duration{200 * time.Millisecond, defaultDrain} {
		synctest.Test(t, func(t *testing.T) {
			one, two := mustNew(t, WithDrain(drain)), mustNew(t)
			a, b := newHost(t, one), newHost(t, two)
			for _, h := range []*host{a, b} {
				h.work = func(context.Context) error { time.Sleep(5 * time.Millisecond); return nil }
			}
			cc := dial(t, true, a, b)
			ready(t, cc)
			stop := load(t, cc)
			time.Sleep(time.Second)
			if a.served.Load() < 100 || b.served.Load() < 100 {
				t.Errorf("%d and %d calls were served", a.served.Load(), b.served.Load())
			}
			start := time.Now()
			one.Stop(t.Context(), a.Server)
			if took := time.Since(start); took > drain+grpcstop.GoAwayPause+50*time.Millisecond {
				t.Errorf("Stop took %v", took)
			}
			time.Sleep(time.Second)
			if calls, failed, err := stop(); failed != 0 || calls < 1000 {
				t.Errorf("%d of %d calls failed: %v", failed, calls, err)
			}
			if n := a.watches.Load(); n > 2 {
				t.Errorf("the channel opened %d Watches at the server that stopped", n)
			}
		})
	}
}

// GracefulStop alone would wait for an open Watch for ever.
func TestStopDoesNotHangOnARawWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t)
		h := newHost(t, s)
		cc := dial(t, false, h)
		w, err := healthpb.NewHealthClient(cc).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		wantNext := func(want client.Status) {
			t.Helper()
			if resp, err := w.Recv(); err != nil || resp.GetStatus() != want {
				t.Errorf("Watch gives %v, %v, want %v", resp, err, want)
			}
		}
		wantNext(client.Serving)
		start := time.Now()
		stopped := make(chan struct{})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			s.Stop(ctx, h.Server)
			close(stopped)
		}()
		wantNext(client.NotServing)
		if took := time.Since(start); took != 0 {
			t.Errorf("NOT_SERVING comes after %v", took)
		}
		if err := add(t.Context(), cc); err != nil {
			t.Errorf("a call in the drain: %v", err)
		}
		if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("Watch ends with %v", err)
		}
		if took := time.Since(start); took < defaultDrain+grpcstop.GoAwayPause {
			t.Errorf("Watch ends after %v, before GOAWAY", took)
		}
		<-stopped
		if took := time.Since(start); took != defaultDrain+grpcstop.GoAwayPause {
			t.Errorf("Stop took %v", took)
		}
	})
}

// What does not end in time is ended.
func TestStopEndsWithItsContext(t *testing.T) {
	for _, test := range []struct {
		name          string
		drain, within time.Duration
	}{
		{"in the drain", time.Hour, time.Second},
		{"in the pause", 0, grpcstop.GoAwayPause / 2},
		{"in GracefulStop", time.Second, 10 * time.Second},
		{"before", time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mustNew(t, WithDrain(test.drain))
				h := newHost(t, s)
				h.work = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
				cc := dial(t, true, h)
				failed := make(chan error)
				go func() { failed <- add(context.Background(), cc) }()
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), test.within)
				defer cancel()
				start := time.Now()
				s.Stop(ctx, h.Server)
				if took := time.Since(start); took != test.within {
					t.Errorf("Stop took %v", took)
				}
				if err := <-failed; status.Code(err) != codes.Unavailable {
					t.Errorf("the call ends with %v", err)
				}
			})
		})
	}
}

func TestStopPublishesAtOnceAndEndsTheLeaseAndRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{OnStop: client.StopWithdraw})
		ran := make(chan error, 1)
		go func() { ran <- s.Run(context.Background()) }()
		synctest.Wait()
		wantReports(t, l, client.Serving)
		h := newHost(t, s)
		stopped := make(chan struct{})
		go func() {
			s.Stop(context.Background(), h.Server)
			close(stopped)
		}()
		synctest.Wait()
		wantReports(t, l, client.Serving, client.NotServing) // within the second after the first
		time.Sleep(defaultDrain - time.Millisecond)
		if l.isClosed() {
			t.Error("the lease ended before the drain")
		}
		<-stopped
		if !l.isClosed() {
			t.Error("the lease did not end")
		}
		select {
		case err := <-ran:
			if err != nil {
				t.Errorf("Run returns %v", err)
			}
		default:
			t.Error("Run has not returned")
		}
		wantReports(t, l, client.Serving, client.NotServing)
	})
}

func TestStopInOddOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t)
		w := watch(t, s, "")
		var work sync.WaitGroup
		start := time.Now()
		for range 3 {
			work.Go(func() { s.Stop(context.Background(), nil) })
		}
		work.Wait()
		if took := time.Since(start); took != defaultDrain {
			t.Errorf("Stop took %v", took)
		}
		<-w.ended
		wantStatus(t, s, "", client.NotServing)
		if err := s.Run(context.Background()); err != nil {
			t.Errorf("Run after Stop returns %v", err)
		}
		s.Stop(context.Background(), nil)
	})
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) || !l.isClosed() {
			t.Errorf("Run returns %v, lease ended: %v", err, l.isClosed())
		}
		s.Stop(context.Background(), nil) // after Run
	})
	synctest.Test(t, func(t *testing.T) {
		s, l := newPublishing(t, Publish{})
		s.Stop(context.Background(), nil)
		if err := s.Run(context.Background()); err != nil || l.terms.TTL != 0 {
			t.Errorf("Run after Stop returns %v; a lease was made: %v", err, l.terms)
		}
	})
}
