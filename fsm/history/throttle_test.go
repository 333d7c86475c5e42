package history

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestThrottledReadingEnds: who waits for a turn goes when its caller does.
func TestThrottledReadingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newThrottle()
		p.changed.Store(time.Now().UnixNano())
		read := func(ctx context.Context) error {
			return p.do(ctx, func() (int, error) { time.Sleep(time.Second); return 0, nil })
		}
		first := make(chan error, 1)
		go func() { first <- read(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reading whose caller left: %v", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}
