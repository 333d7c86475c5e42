package main

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"
)

// The pages of the list take long, and its reader takes longer.
func TestPageTimeout(t *testing.T) {
	list := func(pages ...time.Duration) func(context.Context) iter.Seq2[int, error] {
		return func(ctx context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i, wait := range pages {
					call, cancel := context.WithCancel(ctx) // as a client derives its own
					pause(call, wait)
					err := call.Err()
					cancel()
					if !yield(i, err) || err != nil {
						return
					}
				}
			}
		}
	}
	read := func(ctx context.Context, slowly time.Duration, pages ...time.Duration) (n int, err error) {
		for _, err := range withPageTimeout(ctx, "count", 5*time.Second, list(pages...)) {
			if err != nil {
				return n, err
			}
			n++
			pause(context.Background(), slowly)
		}
		return n, nil
	}
	synctest.Test(t, func(t *testing.T) {
		const page = 4 * time.Second
		if n, err := read(t.Context(), time.Hour, page, page, page); n != 3 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		if n, err := read(t.Context(), 0, page, 6*time.Second); n != 1 || err == nil || err.Error() != "cannot count: nothing came within 5s; --timeout allows more time" {
			t.Errorf("a page too slow: %d %v", n, err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		defer time.AfterFunc(6*time.Second, interrupt).Stop()
		if n, err := read(ctx, 0, page, page); n != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %d %v", n, err)
		}
	})
}
