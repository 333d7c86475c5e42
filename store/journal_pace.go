package store

import (
	"context"
	"time"
)

// While the registry changes, readings of its history take turns, and after each the next waits
// restFactor times as long as it took, though never longer than maxRest. So however many read, and
// however much, they take a twentieth of one processor from those who write; and still read tens of
// thousands of events a second. Who reads alone waits for nobody: the rest comes after the answer. Those
// who follow closely read in memory, and are not held back.
const (
	restFactor = 19
	maxRest    = 20 * time.Millisecond
	// busyFor is how long after a change readings are still held back.
	busyFor = 200 * time.Millisecond
)

// paced calls read, in turn with others if the registry is changing. The error is ctx's or read's.
func (j *Journal) paced(ctx context.Context, read func() error) error {
	if !j.busy() {
		return read()
	}
	select {
	case j.reading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	start := time.Now()
	defer func() {
		rest := min(restFactor*time.Since(start), maxRest)
		time.AfterFunc(rest, func() { <-j.reading })
	}()
	return read()
}

// busy reports whether something was changed lately.
func (j *Journal) busy() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.changed.IsZero() && time.Since(j.changed) < busyFor
}
