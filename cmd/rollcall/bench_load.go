package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// afterFailure is how long a caller rests after an error: a node that is down must not be hammered,
// nor its errors drown those that matter.
const afterFailure = 100 * time.Millisecond

// load is one call, made by many callers again and again.
type load struct {
	callers  int
	rate     int // calls a second, of all callers together; 0: each calls when its last is answered
	duration time.Duration
	timeout  time.Duration // of one call
	call     func(ctx context.Context, caller int) error

	latencies latencies // of calls that did not fail
	failures  failures
	elapsed   time.Duration // set by run
}

// run calls until the duration is over or ctx ends. Calls that are under way then are waited for: a
// write that is cut off might still be done, after what it wrote was deleted.
//
// With a rate, latency counts from when a call was due: callers that wait for a stalled node are late
// with their next calls, and those who would have made them would have waited too.
func (l *load) run(ctx context.Context) {
	uncut := context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, l.duration)
	defer cancel()
	start := time.Now()
	var ticket atomic.Int64
	var callers sync.WaitGroup
	for caller := range l.callers {
		callers.Go(func() {
			for ctx.Err() == nil {
				due := time.Now()
				if l.rate > 0 {
					due = start.Add(time.Duration(ticket.Add(1)-1) * time.Second / time.Duration(l.rate))
					if wait := time.Until(due); wait > 0 {
						if pause(ctx, wait); ctx.Err() != nil {
							return
						}
					}
				}
				if err := l.once(uncut, caller); err != nil {
					l.failures.add(err)
					pause(ctx, afterFailure)
					continue
				}
				l.latencies.record(time.Since(due))
			}
		})
	}
	callers.Wait()
	l.elapsed = time.Since(start)
}

func (l *load) once(ctx context.Context, caller int) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	return l.call(ctx, caller)
}

// progress makes the line of a live view: of the last second, but for the errors.
func (l *load) progress() func(elapsed time.Duration) string {
	last, at := new(spread), time.Duration(0)
	return func(elapsed time.Duration) string {
		now := l.latencies.spread()
		recent := now.since(last)
		rate := perSecond(recent.count, elapsed-at)
		last, at = now, elapsed
		return fmt.Sprintf("%s of %s · %s/s · p99 %s · %s errors",
			elapsed.Truncate(time.Second), l.duration, grouped(rate), brief(recent.quantile(0.99)), grouped(l.failures.count()))
	}
}
