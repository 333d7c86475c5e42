package deadline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswerTime: what is left for the answer is 50 ms or 5 %, and never more than half.
func TestAnswerTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{
			time.Minute:            57 * time.Second,
			10 * time.Second:       9500 * time.Millisecond,
			time.Second:            950 * time.Millisecond,
			200 * time.Millisecond: 150 * time.Millisecond,
			100 * time.Millisecond: 50 * time.Millisecond,
			40 * time.Millisecond:  20 * time.Millisecond,
			2 * time.Nanosecond:    time.Nanosecond,
			0:                      0,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), given)
			defer cancel()
			if got := AnswerTime(ctx); got != want {
				t.Errorf("of %v a call works for %v, want %v", given, got, want)
			}
		}
	})
}

func TestAnswerable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ given, want time.Duration }{
			{0, 7 * time.Second}, // no deadline
			{time.Second, 950 * time.Millisecond},
			{time.Minute, 57 * time.Second}, // the caller's is longer than without one
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if tt.given > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.given)
			}
			began := time.Now()
			answerable, done := Answerable(ctx, 7*time.Second)
			<-answerable.Done()
			if took := time.Since(began); took != tt.want {
				t.Errorf("with a deadline of %v it ends after %v, want %v", tt.given, took, tt.want)
			}
			if ctx.Err() != nil {
				t.Errorf("with a deadline of %v nothing is left to answer", tt.given)
			}
			done()
			cancel()
		}
		ctx, cancel := context.WithCancel(t.Context())
		answerable, done := Answerable(ctx, time.Hour)
		defer done()
		cancel()
		<-answerable.Done()
	})
}

// TestTransfer: a small change has no more time; a large one what two slow links take.
func TestTransfer(t *testing.T) {
	for bytes, want := range map[int]time.Duration{
		0:         0,
		64 << 10:  0,
		128 << 10: 4 * time.Second,
		4 << 20:   128 * time.Second,
		1 << 40:   1 << 25 * time.Second, // it does not overflow
	} {
		if got := Transfer(bytes); got != want {
			t.Errorf("%d bytes have %v, want %v", bytes, got, want)
		}
	}
}
