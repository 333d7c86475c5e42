package checks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestReplace: the old check ends, the new one waits until it has returned, and nobody is told of a removal.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, seen := &notes{}, &notes{}
		r := NewRunner(To(told), WithObserver(&observed{notes: seen}))
		old := newProbe("c", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		})
		if err := r.Add("shop", old, Timeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		next := newProbe("c", results(errBad))
		if err := r.Replace("shop", next); err != nil {
			t.Fatal(err)
		}
		if err := r.Replace("other", newProbe("c", nil)); err != nil { // as Add
			t.Fatal(err)
		}
		synctest.Wait()
		if got := next.started(); len(got) != 0 {
			t.Errorf("it has run at %v, while the old one has not returned", got)
		}
		time.Sleep(2 * time.Second)
		if got := next.started(); !slices.Equal(got, []time.Duration{time.Second}) {
			t.Errorf("it has run at %v", got)
		}
		if len(r.Results()) != 2 {
			t.Errorf("the results are %v", r.Results())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, line := range slices.Concat(told.lines, seen.lines) {
			if strings.Contains(line, "removed") || strings.Contains(line, "SERVICE_UNKNOWN") {
				t.Errorf("somebody was told %q", line)
			}
		}
		if len(seen.lines) == 0 || len(told.lines) == 0 {
			t.Error("nothing was told at all")
		}
		if err := r.Replace("shop", newProbe("", nil)); err == nil {
			t.Error("a check without a name is taken")
		}
	})
}

// TestReplaceOfTTL: one that was replaced is heard no more.
func TestReplaceOfTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunner()
		old, next := NewTTL("ttl", time.Minute), NewTTL("ttl", time.Minute)
		old.OK()
		next.OK()
		for _, c := range []*TTL{old, next} {
			if err := r.Replace("shop", c); err != nil {
				t.Fatal(err)
			}
		}
		if len(old.wakes) != 0 || old.timer != nil || len(next.wakes) != 1 {
			t.Errorf("the old one wakes %d, the new one %d", len(old.wakes), len(next.wakes))
		}
		r.Remove("shop", "ttl")
	})
}

// TestAlive: checks that hang are no reason to restart a process; a reporter that does not return is.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, returns := make(chan struct{}), make(chan struct{})
		told := &notes{hold: hold}
		r := NewRunner(To(told), WithMaxParallel(1))
		if err := r.Add("shop", newProbe("hangs", func(context.Context) error { <-returns; return nil }), Timeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := r.Alive(t.Context()); err != nil {
			t.Errorf("before Run: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(lateAfter)
		if err := r.Alive(t.Context()); err != nil {
			t.Errorf("a reporter took %v: %v", lateAfter, err)
		}
		time.Sleep(time.Millisecond)
		if err := r.Alive(t.Context()); err == nil || !strings.Contains(err.Error(), "reporter 1 of 1") {
			t.Errorf("a reporter hangs: %v", err)
		}
		close(hold)
		time.Sleep(30 * time.Minute)
		if err := r.Alive(t.Context()); err != nil {
			t.Errorf("a check hangs: %v", err)
		}
		r.mu.Lock()
		short, stop := context.WithTimeout(t.Context(), time.Second)
		if err := r.Alive(short); err == nil {
			t.Error("alive though locked")
		}
		stop()
		r.wakes = time.Now().Add(-lateAfter - time.Second) // the loop should have looked
		r.mu.Unlock()
		if err := r.Alive(t.Context()); err == nil {
			t.Error("alive though its loop is late")
		}
		close(returns)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Alive(t.Context()); err != nil {
			t.Errorf("after Run: %v", err)
		}
	})
}

// slowly is a Reporter that takes a while.
type slowly time.Duration

func (d slowly) SetServingStatus(string, client.Status) { time.Sleep(time.Duration(d)) }

// TestAliveWhileAReporterIsBusy: one that has much to do and does it is not stuck.
func TestAliveWhileAReporterIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunner(To(slowly(time.Second)))
		for i := range 30 {
			if err := r.Add(fmt.Sprint("s", i), newProbe("c", nil)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(25 * time.Second)
		b := r.tell.reporters[0]
		b.mu.Lock()
		rests := b.busy.IsZero()
		b.mu.Unlock()
		if rests {
			t.Error("it was no test: the reporter rests")
		}
		if err := r.Alive(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
