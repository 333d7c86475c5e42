package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcallhq/rollcall/bench/report"
)

// load is what callers did, each one call after the other, between the end of warming up and the end.
type load struct {
	took      time.Duration
	latencies []time.Duration // of calls without an error, sorted
	calls     int             // without an error, those while warming up included
	errors    int
	err       error // the first
	cpu       time.Duration
}

func (l *load) perSecond() float64               { return float64(len(l.latencies)) / l.took.Seconds() }
func (l *load) quantileMillis(q float64) float64 { return millis(report.Quantile(l.latencies, q)) }
func (l *load) cpuPerCall() float64              { return micros(l.cpu) / float64(max(len(l.latencies), 1)) }

// failed returns an error if too many calls failed for the figures to mean anything.
func (l *load) failed() error {
	if all := l.errors + len(l.latencies); l.errors*20 > all || len(l.latencies) == 0 {
		return fmt.Errorf("%d of %d calls failed: %w", l.errors, all, l.err)
	}
	return nil
}

// drive lets callers call for duration, after a warm-up of a quarter of it. It measures the processor time
// of processes.
func drive(ctx context.Context, callers []func(context.Context) error, duration time.Duration, processes ...int) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var measuring atomic.Bool
	results := make([]load, len(callers))
	var wg sync.WaitGroup
	for i, call := range callers {
		wg.Go(func() { results[i].repeat(ctx, call, &measuring) })
	}
	if err := pause(ctx, duration/4); err != nil {
		return nil, err
	}
	total := &load{}
	before, err := processCPU(processes)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	measuring.Store(true)
	if err := pause(ctx, duration); err != nil {
		return nil, err
	}
	measuring.Store(false)
	total.took = time.Since(begun)
	after, err := processCPU(processes)
	if err != nil {
		return nil, err
	}
	total.cpu = after - before
	cancel()
	wg.Wait()
	for i := range results {
		total.latencies = append(total.latencies, results[i].latencies...)
		total.calls += results[i].calls
		total.errors += results[i].errors
		if total.err == nil {
			total.err = results[i].err
		}
	}
	slices.Sort(total.latencies)
	return total, total.failed()
}

func processCPU(processes []int) (sum time.Duration, err error) {
	for _, pid := range processes {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// repeat counts the calls that end while measuring.
func (l *load) repeat(ctx context.Context, call func(context.Context) error, measuring *atomic.Bool) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := call(ctx)
		took := time.Since(begun)
		if err == nil {
			l.calls++
		}
		switch {
		case !measuring.Load():
		case err == nil:
			l.latencies = append(l.latencies, took)
		default:
			l.errors++
			if l.err == nil {
				l.err = err
			}
		}
		if err != nil {
			_ = pause(ctx, time.Millisecond) // what refuses at once would be asked a million times
		}
	}
}

// inParallel splits from to to-1 into pieces of at most size for as many workers.
func inParallel(workers, from, to, size int, do func(first, n int) error) error {
	var next atomic.Int64
	next.Store(int64(from))
	errs := make(chan error, workers) // one each
	for range workers {
		go func() {
			for {
				first := int(next.Add(int64(size))) - size
				if first >= to {
					errs <- nil
					return
				}
				if err := do(first, min(size, to-first)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
