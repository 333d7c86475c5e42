package fsm

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// TestReadingHistoryIsThrottled: beside changes ten readers, each of whose readings takes a millisecond and
// gives an event, take turns with a rest after each, and none rests before its answer; when nothing
// changes, nobody waits.
func TestReadingHistoryIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.set(t, "a", serving)
		h.registryFile.onRead = func() error { time.Sleep(time.Millisecond / 2); return nil }
		readAll := func() (took []time.Duration) {
			const readers = 10
			done := make(chan time.Duration, readers)
			for range readers {
				start := time.Now()
				go func() {
					if r, err := h.GetServiceAt(t.Context(), "a", 1); err != nil || r == nil {
						t.Errorf("%v, %v", r, err)
					}
					done <- time.Since(start)
				}()
			}
			for range readers {
				took = append(took, <-done)
			}
			return took
		}
		for i, took := range readAll() {
			rest := history.RestFactor * (time.Millisecond/2 + history.GivenCost)
			if want := time.Millisecond/2 + time.Duration(i)*(time.Millisecond/2+rest); took != want {
				t.Errorf("beside changes, answer %d came after %v, want %v", i, took, want)
			}
		}
		time.Sleep(history.BusyFor)
		for i, took := range readAll() {
			if took != time.Millisecond/2 {
				t.Errorf("without changes, answer %d came after %v", i, took)
			}
		}
	})
}

// TestFollowersAreThrottled: who is far behind is given small pages while the registry changes, with a rest
// after each, and large ones when it does not.
func TestFollowersAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		const events = 3 * history.BusyPage
		h.do(t, 1, batchOf("s", events/2, serving))
		h.do(t, 2, batchOf("s", events/2, notServing))
		h.do(t, 3, batchOf("s", 1, serving))
		h.history.Reset(h.Revision())
		follow := func() (pages []int, took time.Duration) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			err := h.FollowEvents(ctx, 1, logv1.Following{Quiet: time.Hour}, func(e []*logv1.Event, revision int64) error {
				if len(e) > 0 {
					pages = append(pages, len(e))
				}
				if revision == h.Revision() {
					took = time.Since(start)
					cancel()
				}
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			return pages, took
		}
		pages, took := follow()
		// A page is a part of a write that is larger, or whole writes.
		if want := []int{history.BusyPage, history.BusyPage / 2, history.BusyPage, history.BusyPage/2 + 1}; !slices.Equal(pages, want) {
			t.Errorf("beside changes, pages of %d", pages)
		}
		if want := 2 * history.RestFactor * events / 2 * history.GivenCost; took != want {
			t.Errorf("beside changes, %v, want %v", took, want)
		}
		time.Sleep(history.BusyFor)
		if pages, took = follow(); len(pages) != 1 || took != 0 {
			t.Errorf("without changes, pages of %d, %v", pages, took)
		}
	})
}
