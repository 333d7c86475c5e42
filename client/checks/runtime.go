package checks

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
)

// Goroutines returns a check that fails when this process has more than max goroutines: in most cases some of them
// wait for something that never comes. max must be above zero.
func Goroutines(name string, max int) Check {
	c := &readymade{name: name, run: func(context.Context) error {
		if n := readMetric("/sched/goroutines:goroutines"); n > uint64(max) {
			return fmt.Errorf("%d goroutines, at most %d are allowed", n, max)
		}
		return nil
	}}
	if max <= 0 {
		c.err = errors.New("the number of goroutines must be above zero")
	}
	return c
}

// Heap returns a check that fails when the objects on this process's heap occupy more than maxBytes. What is garbage
// and not collected yet counts too: with GOGC=100 that is as much again as the program uses, so allow twice of
// that. maxBytes must be above zero.
func Heap(name string, maxBytes uint64) Check {
	c := &readymade{name: name, run: func(context.Context) error {
		if n := readMetric("/memory/classes/heap/objects:bytes"); n > maxBytes {
			return fmt.Errorf("%s on the heap, at most %s are allowed", mebibytes(n), mebibytes(maxBytes))
		}
		return nil
	}}
	if maxBytes == 0 {
		c.err = errors.New("the size of the heap must be above zero")
	}
	return c
}

func readMetric(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
