package agent

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// lateAfter is how late something is before it is stuck.
const lateAfter = 10 * time.Second

// Alive implements what a liveness probe and a service manager's watchdog ask. It returns an error if something in the
// agent is stuck that only a restart mends: one of its locks does not come free until ctx ends, its checks are not
// started or their results not taken, or what is due is not done for 10 s. What a check does, and a registry that is
// away, is no such thing.
func (a *Agent) Alive(ctx context.Context) error {
	for _, lock := range []struct {
		name string
		mu   *sync.Mutex
	}{
		{"services", &a.services.mu}, {"board", &a.board.mu}, {"reports", &a.reports.mu}, {"opinions", &a.opinions.mu}, {"agenda", &a.agenda.mu},
	} {
		if !free(ctx, lock.mu) {
			return fmt.Errorf("the agent's %s are locked and do not come free", lock.name)
		}
	}
	if err := a.runner.Alive(ctx); err != nil {
		return err
	}
	if !a.running.Load() {
		return nil
	}
	if late := a.agenda.late(time.Now()); late > lateAfter {
		return fmt.Errorf("the agent has not done for %v what is due", late.Round(time.Second))
	}
	return nil
}

// free waits until a lock comes free, and reports whether it did before ctx ended.
func free(ctx context.Context, mu *sync.Mutex) bool {
	const pause = 10 * time.Millisecond
	for !mu.TryLock() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	mu.Unlock()
	return true
}

// ready returns nil when the first round of checks is done: each check has run once, or has been given up. Once it
// was, it stays so. Else it says what it waits for.
func (a *Agent) ready() error {
	if a.firstRound.Load() {
		return nil
	}
	if !a.running.Load() {
		return fmt.Errorf("the agent is starting")
	}
	open := 0
	for _, r := range a.runner.Results() {
		if r.LastRun.IsZero() {
			open++
		}
	}
	if open > 0 {
		return fmt.Errorf("%d checks have not run yet", open)
	}
	a.firstRound.Store(true)
	return nil
}
