package fsm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// TestShortReadsDoNotWaitBehindLaggards: while the registry changes, and hundreds read its history from the
// beginning on, over and over, a read of a point in time and a short list of events take a fraction of a second.
func TestShortReadsDoNotWaitBehindLaggards(t *testing.T) {
	follow := func(ctx context.Context, h *harness) error {
		err := h.FollowEvents(ctx, 1, logv1.Following{Quiet: time.Hour}, func(_ []*logv1.Event, revision int64) error {
			if revision < laggedEvents {
				return nil
			}
			return errEnough
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	}
	page := func(ctx context.Context, h *harness) error {
		for q := (logv1.EventQuery{From: 1}); ; {
			page, err := h.ReadEvents(ctx, q, 1000, func(*logv1.Event) bool { return true })
			if err != nil || page.Next == 0 {
				return err
			}
			q.From = page.Next
		}
	}
	list := func(ctx context.Context, h *harness) error {
		_, _, err := h.ListServicesAt(ctx, laggedEvents, pattern.Everything, "", 10_000, nil)
		return err
	}
	own := func(i int) any { return i }
	one := func(int) any { return "all" }
	for _, tt := range []struct {
		name       string
		laggards   int
		lag        func(context.Context, *harness) error
		connection func(i int) any // of laggard i; the short reads' is that of -1
	}{
		{"100 follow", 100, follow, own},
		{"500 follow", 500, follow, own},
		{"500 follow on the same connection", 500, follow, one},
		{"500 read page after page", 500, page, own},
		{"500 read page after page on one connection", 500, page, func(i int) any { return i < 0 }},
		{"100 list all services as of a revision", 100, list, own},
	} {
		t.Run(tt.name, func(t *testing.T) { readsBeside(t, tt.laggards, tt.lag, tt.connection) })
	}
}

// laggedEvents is how many events laggards read over and over.
const laggedEvents = 5000

// readsBeside makes short reads while so many laggards read.
func readsBeside(t *testing.T, laggards int, lag func(context.Context, *harness) error, connection func(int) any) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		for i := range laggedEvents / 100 {
			h.do(t, int64(i+1), batchOf(fmt.Sprint("s", i), 100, serving))
		}
		h.history.Reset(h.Revision())
		h.registryFile.onRead = func() error { time.Sleep(time.Millisecond / 2); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for i := range laggards {
			ctx := history.WithSource(ctx, connection(i))
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := lag(ctx, h); err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Go(func() { // the registry changes all the time
			for n := 0; ctx.Err() == nil; n++ {
				h.set(t, "changing", []logv1.Status{serving, notServing}[n%2])
				time.Sleep(20 * time.Millisecond)
			}
		})
		time.Sleep(5 * time.Second)
		short := history.WithSource(ctx, connection(-1))
		const most = 300 * time.Millisecond
		var slowest time.Duration
		for range 20 {
			for what, read := range map[string]func(context.Context) error{
				"a point in time": func(ctx context.Context) error {
					revision, err := h.VisibleRevision(ctx, 150)
					if err == nil {
						_, err = h.GetServiceAt(ctx, "s1/5", revision)
					}
					return err
				},
				"a list as of a time": func(ctx context.Context) error {
					revision, err := h.RevisionAt(ctx, 20)
					if err == nil {
						_, _, err = h.ListServicesAt(ctx, revision, pattern.Beginnings("s1/"), "", 20, nil)
					}
					return err
				},
				"a list of events": func(ctx context.Context) error {
					_, err := h.ReadEvents(ctx, logv1.EventQuery{From: 1000}, 20, func(*logv1.Event) bool { return true })
					return err
				},
			} {
				start := time.Now()
				if err := read(short); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				took := time.Since(start)
				slowest = max(slowest, took)
				if took > most {
					t.Fatalf("%s took %v, want %v at most", what, took, most)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		t.Logf("the slowest took %v", slowest)
	})
}
