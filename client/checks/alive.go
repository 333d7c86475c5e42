package checks

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lateAfter is how late a Runner is before it is stuck.
const lateAfter = 10 * time.Second

// Alive returns an error if the Runner is stuck, which no check can cause, for a probe that restarts the process: if
// its lock does not come free until ctx ends, if it has not started what was due for 10 s, or if a Reporter has not
// returned for 10 s. It returns nil before Run and after it.
func (r *Runner) Alive(ctx context.Context) error {
	const pause = 10 * time.Millisecond
	for !r.mu.TryLock() {
		select {
		case <-ctx.Done():
			return errors.New("checks: the runner is locked and does not come free")
		case <-time.After(pause):
		}
	}
	running := r.ctx != nil && r.ctx.Err() == nil && !r.stopped
	wakes := r.wakes
	r.mu.Unlock()
	if !running {
		return nil
	}
	if late := time.Since(wakes); !wakes.IsZero() && late > lateAfter {
		return fmt.Errorf("checks: the runner has started no check for %v, though some are due", late.Round(time.Second))
	}
	for i, b := range r.tell.reporters {
		if late := b.delivers(); late > lateAfter {
			return fmt.Errorf("checks: reporter %d of %d has not returned for %v", i+1, len(r.tell.reporters), late.Round(time.Second))
		}
	}
	return nil
}
