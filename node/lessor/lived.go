package lessor

import "time"

const (
	// tickEvery is how often lived time is counted, and the leases are looked at.
	tickEvery = 100 * time.Millisecond
	// maxStep is the most that one tick adds to lived time.
	maxStep = 250 * time.Millisecond
)

// lived is time in which this process truly ran: what passes between two ticks counts as maxStep at most. While
// the process is stopped, or gets no processor, reporters cannot renew with it. That time must not be theirs.
// It passes at most as fast as real time, and a step of the wall clock does not change it.
type lived struct {
	now  func() time.Time // has a monotonic reading
	tick time.Time        // the last one
	sum  time.Duration    // at the last tick
}

func newLived(now func() time.Time) lived { return lived{now: now, tick: now()} }

// read returns the lived time now.
func (l *lived) read() time.Duration { return l.at(l.now()) }

func (l *lived) at(now time.Time) time.Duration { return l.sum + min(max(now.Sub(l.tick), 0), maxStep) }

// count is called at each tick.
func (l *lived) count() {
	now := l.now()
	l.sum, l.tick = l.at(now), now
}
