package loadgen

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// failurePause is how long a caller rests after an error. Without it a node that is down would be
// hammered, and its errors would outnumber all others.
const failurePause = 100 * time.Millisecond

// Load is one call that many callers make again and again.
type Load struct {
	Callers  int
	Rate     int // calls a second by all callers together; 0: each calls when its last is answered
	Duration time.Duration
	Timeout  time.Duration // of one call

	Latencies Histogram // of calls that did not fail
	Errors    Errors
	Elapsed   time.Duration // set by run
}

// call makes one call for a caller, who is a number from 0.
type call func(ctx context.Context, caller int) error

// run makes calls until the duration is over or ctx ends. It waits for the calls that are under way then: a
// write that is cut off might still be done after its service was deleted.
//
// With a rate, the latency of a call counts from when it was due. Otherwise a stalled node would hold up
// the callers, and the calls that they could not make would not count as slow.
func (l *Load) run(ctx context.Context, do call) {
	uncut := context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, l.Duration)
	defer cancel()
	start := time.Now()
	var ticket atomic.Int64
	var callers sync.WaitGroup
	for caller := range l.Callers {
		callers.Go(func() {
			for ctx.Err() == nil {
				due := time.Now()
				if l.Rate > 0 {
					due = start.Add(time.Duration(ticket.Add(1)-1) * time.Second / time.Duration(l.Rate))
					if wait := time.Until(due); wait > 0 {
						if pause(ctx, wait); ctx.Err() != nil {
							return
						}
					}
				}
				if err := l.once(uncut, caller, do); err != nil {
					l.Errors.Add(err)
					pause(ctx, failurePause)
					continue
				}
				l.Latencies.Record(time.Since(due))
			}
		})
	}
	callers.Wait()
	l.Elapsed = time.Since(start)
}

func (l *Load) once(ctx context.Context, caller int, do call) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	return do(ctx, caller)
}

// Progress returns a function that describes the load's last second.
func (l *Load) Progress() func(elapsed time.Duration) string {
	last, at := new(Snapshot), time.Duration(0)
	return func(elapsed time.Duration) string {
		now := l.Latencies.Snapshot()
		recent := now.Since(last)
		rate := PerSecond(recent.Count, elapsed-at)
		last, at = now, elapsed
		return fmt.Sprintf("%s of %s · %s/s · p99 %s · %s errors", elapsed.Truncate(time.Second), l.Duration,
			format.Grouped(rate), format.ThreeDigits(recent.Quantile(0.99)), format.Grouped(l.Errors.Count()))
	}
}

// PerSecond returns the rate of n in d.
func PerSecond(n uint64, d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(float64(n)/d.Seconds() + 0.5)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
