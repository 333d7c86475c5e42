package renewal

import "time"

// leastPause is how much more than the monotonic clock the wall clock must have advanced to count as a pause.
const leastPause = time.Second

// clock counts the time of leases. It never goes back, and a step of the wall clock back does not stop it. The
// monotonic clock stands still while the machine is suspended, and the leader's does not: so if the wall clock
// has advanced further, that time counts. A step of the wall clock forward looks the same; then leases are renewed
// at once and for nothing.
type clock struct {
	read  func() (monotonic, wall time.Duration) // since any point in time
	extra time.Duration                          // so much more has gone by than monotonic says
}

func newClock() clock {
	base := time.Now()
	return clock{read: func() (monotonic, wall time.Duration) {
		now := time.Now()
		return now.Sub(base), now.Round(0).Sub(base.Round(0))
	}}
}

func (c *clock) now() time.Duration {
	monotonic, wall := c.read()
	if ahead := wall - monotonic; ahead >= c.extra+leastPause {
		c.extra = ahead
	}
	return monotonic + c.extra
}
