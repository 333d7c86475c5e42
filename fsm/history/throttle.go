package history

import (
	"context"
	"sync/atomic"
	"time"
)

// While the registry changes, readings of its history take turns, and after each the next waits RestFactor
// times as long as it took, and as handing on what it found takes, though never longer than maxRest. So
// however many read, and however much, they take a twentieth of one processor from those who write, and
// still read more than ten thousand events a second. Who reads alone waits for nobody: the rest comes after
// the answer. Those who follow closely read in memory, and are not held back.
const (
	RestFactor = 19
	maxRest    = 200 * time.Millisecond
	// GivenCost is about what it takes to translate and send an event or a record.
	GivenCost = 3 * time.Microsecond
	// BusyFor is how long after a change readings are still held back.
	BusyFor = 200 * time.Millisecond
	// BusyPage is how many events a follower that reads the registry file then is given at a time: more in one
	// go would be felt by those whose writes come just then.
	BusyPage = 200
)

// throttle holds back readings of the history while the registry changes.
type throttle struct {
	turn    chan struct{} // a semaphore of one
	changed atomic.Int64  // when the registry last changed, Unix nanoseconds; 0: not since the start
}

func newThrottle() *throttle { return &throttle{turn: make(chan struct{}, 1)} }

// busy reports whether something was changed lately.
func (p *throttle) busy() bool {
	changed := p.changed.Load()
	return changed != 0 && time.Since(time.Unix(0, changed)) < BusyFor
}

// do calls read, in turn with others if the registry is changing. read returns how many events or records
// it gives to its caller. The error is ctx's or read's.
func (p *throttle) do(ctx context.Context, read func() (given int, err error)) error {
	if !p.busy() {
		_, err := read()
		return err
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	given, start := 0, time.Now()
	defer func() {
		took := time.Since(start) + time.Duration(given)*GivenCost
		time.AfterFunc(min(RestFactor*took, maxRest), func() { <-p.turn })
	}()
	var err error
	given, err = read()
	return err
}
