package freshness

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// appliedIndex is a Registry that tells how far it is.
type appliedIndex struct {
	Registry
	index atomic.Uint64
}

func (a *appliedIndex) AppliedIndex() uint64 { return a.index.Load() }

func TestRoundsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan uint64)
		r := newBatch(time.Minute, func(ctx context.Context) (uint64, error) {
			select {
			case index := <-answer:
				return index, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		var wg sync.WaitGroup
		ask := func(many int, want uint64) {
			for range many {
				wg.Go(func() {
					if got, err := r.do(context.Background()); got != want || err != nil {
						t.Errorf("%d, %v; want %d", got, err, want)
					}
				})
			}
			synctest.Wait()
		}
		ask(1, 1)
		ask(64, 2) // while the first is under way: none of them may have its answer
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := r.do(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("whose caller left: %v", err)
		}
		answer <- 1
		synctest.Wait()
		ask(64, 3)
		answer <- 2
		answer <- 3
		wg.Wait()
		if got := r.begun.Load(); got != 3 {
			t.Errorf("%d rounds for 129 readers, want 3", got)
		}
		left := make(chan error, 1)
		go func() {
			_, err := r.do(context.Background())
			left <- err
		}()
		synctest.Wait()
		r.close()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("under way at close: %v", err)
		}
		if _, err := r.do(context.Background()); !errors.Is(err, rpcerror.ErrStopping) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestFreshAt(t *testing.T) {
	reg := &appliedIndex{}
	f := NewTracker("n1", struct{ Agreement }{}, reg, nil, time.Second)
	defer f.Close()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	check := func(when string, want time.Time) {
		t.Helper()
		if got := f.At(); !got.Equal(want) {
			t.Errorf("%s: fresh at %v, want %v", when, got, want)
		}
	}
	check("no round yet", time.Time{})
	f.took(confirmedRound{at(10), 5})
	check("not applied", time.Time{})
	reg.index.Store(5)
	check("applied", at(10))
	f.took(confirmedRound{at(11), 5})
	check("nothing new", at(11))
	f.took(confirmedRound{at(12), 7})
	f.took(confirmedRound{at(13), 7})
	f.took(confirmedRound{at(14), 9})
	reg.index.Store(8)
	check("part of it", at(13))
	for i := range 10 * maxPending { // hopelessly behind
		f.took(confirmedRound{at(100 + i), uint64(100 + i)})
	}
	if len(f.pending) != maxPending {
		t.Errorf("%d rounds are remembered", len(f.pending))
	}
	reg.index.Store(101)
	check("begins to catch up", at(101))
	reg.index.Store(1000)
	check("caught up", at(99+10*maxPending))
}

func TestMetadataIsReadInPlace(t *testing.T) {
	in := NewIncoming()
	md := metadata.MD{"a": {"1"}}
	ctx := metadata.NewIncomingContext(context.Background(), md)
	md["rollcall-later"] = []string{"1"}
	if in.key == nil || !in.Asks(ctx) {
		t.Error("this grpc no longer keeps metadata where incoming looks: every Check copies it now")
	}
	// Should that happen, it is still right.
	if !(Incoming{}).Asks(metadata.NewIncomingContext(context.Background(), md)) {
		t.Error("the fallback does not see the key")
	}
	if in.Asks(context.Background()) {
		t.Error("a call without metadata asks for something")
	}
}
