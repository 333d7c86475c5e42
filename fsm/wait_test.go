package fsm

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.WaitRevision(ended, 0); err != nil {
			t.Errorf("what is there already needs no context: %v", err)
		}
		if err := h.WaitRevision(ended, -5); err != nil {
			t.Errorf("negative revision: %v", err)
		}
		if err := h.WaitIndex(ended, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}

		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		waits := []func(context.Context) error{
			func(ctx context.Context) error { return h.WaitRevision(ctx, 1) },
			func(ctx context.Context) error { return h.WaitIndex(ctx, 2) },
			func(ctx context.Context) error { return h.WaitRevision(ctx, 2) },
			func(ctx context.Context) error { return h.WaitIndex(ctx, 3) },
		}
		done := make([]chan error, len(waits))
		for i, wait := range waits {
			done[i] = make(chan error, 1)
			go func() { done[i] <- wait(late) }()
		}
		synctest.Wait()
		h.set(t, "a", serving)
		h.set(t, "a", serving) // index 2, still revision 1
		synctest.Wait()
		for i, n := range []int{1, 1, 0, 0} {
			if len(done[i]) != n {
				t.Errorf("wait %d: returned is %v at revision 1, index 2", i, len(done[i]) == 1)
			}
		}
		for i, want := range []error{nil, nil, context.DeadlineExceeded, context.DeadlineExceeded} {
			if err := <-done[i]; !errors.Is(err, want) {
				t.Errorf("wait %d: %v", i, err)
			}
		}
		if n := h.revisionWaiters.len() + h.indexWaiters.len(); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	})
}

// TestWaitAsksAgain: what was reached between the first look and standing in the queue is not missed.
func TestWaitAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w, looks := newWaiters(), uint64(0)
		err := w.wait(ctx, 5, func() uint64 { looks++; return 4 * looks })
		if err != nil || looks != 2 {
			t.Errorf("wait: %v after %d looks", err, looks)
		}
		if n := w.len(); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	})
}

// TestWaitersRace: whoever waits for what will come is let go, whatever the moment.
func TestWaitersRace(t *testing.T) {
	const n = 500
	h := newHarness(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range n {
				target := uint64(rand.IntN(n) + 1)
				some, stop := ctx, context.CancelFunc(func() {})
				if rand.IntN(8) == 0 {
					some, stop = context.WithTimeout(ctx, time.Microsecond)
				}
				err := h.WaitIndex(some, target)
				stop()
				if err != nil && some == ctx {
					t.Errorf("WaitIndex(%d) at %d: %v", target, h.AppliedIndex(), err)
					return
				}
				if err == nil && h.AppliedIndex() < target {
					t.Errorf("WaitIndex(%d) returned at %d", target, h.AppliedIndex())
				}
			}
		})
	}
	for range n {
		h.set(t, "a", serving)
	}
	wg.Wait()
	if n := h.indexWaiters.len(); n != 0 {
		t.Errorf("%d waiters are left", n)
	}
}
