package clock

import (
	"math"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

const (
	// Tolerance is how far apart two clocks may be and still agree. Clocks kept by NTP agree within
	// milliseconds.
	Tolerance = time.Second
	// catchUp and holdBack are how log time moves when it must not follow the clocks at once: ahead it
	// gains a tenth of what passes, and when the clocks are behind it runs at half their speed, so that
	// it never stands still and never goes back.
	catchUp  = 10
	holdBack = 2
)

// plausible reports whether a clock can show this time, in nanoseconds since 1970. Sums with another time
// could overflow.
func plausible(t int64) bool { return t > 0 && t < limits.MaxLogTime }

// situation is what is known when an entry is to be stamped. Times are in nanoseconds since 1970.
type situation struct {
	last   int64         // the log's time; 0: the log is empty
	passed time.Duration // on the monotonic clock since last
	// steady says that the cluster has run since last, as far as this process or a member that it asked
	// knows. If it has not, the cluster may have been stopped for any time in between.
	steady   bool
	members  int     // of the cluster, this one included
	readings []int64 // what the clocks of those that answered lately show now, this one's included; sorted
}

// verdict is the time to stamp, and how it came about.
type verdict struct {
	time   int64
	steady bool
	// leap is how far log time moves beyond what has passed, if that is more than Tolerance.
	leap time.Duration
	// held is how far the clocks are ahead of the time (positive) or behind it (negative), if that is
	// more than Tolerance: the clocks are not followed, or only slowly.
	held time.Duration
}

// decide is the rule of the cluster clock.
//
//   - The cluster clock is the median of the readings. Of two in the middle that differ by more than
//     Tolerance, the one counts that is nearer to the expected time: the log's time and what has passed
//     since. So one wrong clock of three or more moves nothing.
//   - While the cluster runs, time can pass only as the monotonic clock says. A median that differs from
//     the expected time by more than Tolerance is the clocks' error, not time's. Then a single clock that
//     agrees with the expected time is followed, and without one log time only drifts towards the median.
//     One exception: if all members of three or more answered, agree, and are ahead, their clocks were put
//     right or their machines were suspended together, and log time follows at once.
//   - After a stop of the cluster, any time may have passed. Then a median that most members agree with
//     is followed however far ahead it is. If no such majority exists, the reading nearest to the log's
//     time is followed.
//   - With the readings of only a minority, log time goes on by the monotonic clock alone.
func decide(s situation) verdict {
	expected := s.last + int64(s.passed)
	slow := s.last + int64(s.passed)/holdBack
	readings := s.readings
	if 2*len(readings) <= s.members || len(readings) == 0 {
		if s.last == 0 && len(readings) > 0 {
			// Nothing is known but one clock: a first time is better than 1970.
			return verdict{time: max(nearest(readings, expected), slow), steady: s.steady}
		}
		return verdict{time: expected, steady: s.steady}
	}
	median := middle(readings, expected)
	switch {
	case agree(median, expected):
		return verdict{time: max(median, slow), steady: true}
	case !s.steady:
		target := median
		if 2*supporters(readings, median) <= s.members {
			target = nearest(readings, expected)
		}
		v := verdict{time: max(target, slow), steady: true}
		if target > expected && !agree(target, expected) {
			v.leap = time.Duration(target - expected)
		}
		return v.holding(median)
	case s.members >= 3 && len(readings) == s.members && supporters(readings, median) == s.members && median > expected:
		return verdict{time: median, steady: true, leap: time.Duration(median - expected)}
	}
	if best := nearest(readings, expected); agree(best, expected) {
		return verdict{time: max(best, slow), steady: true}.holding(median)
	}
	if median > expected {
		return verdict{time: min(median, expected+int64(s.passed)/catchUp), steady: true}.holding(median)
	}
	return verdict{time: max(median, slow), steady: true}.holding(median)
}

func (v verdict) holding(median int64) verdict {
	if !agree(median, v.time) {
		v.held = time.Duration(median - v.time)
	}
	return v
}

// middle is the median of sorted readings. Of two in the middle it takes their mean if they agree, else
// the one nearer to the expected time.
func middle(sorted []int64, expected int64) int64 {
	a, b := sorted[(len(sorted)-1)/2], sorted[len(sorted)/2]
	if agree(a, b) {
		return a + (b-a)/2
	}
	return nearest([]int64{a, b}, expected)
}

// nearest is the reading with the least distance from t; of two, the earlier one.
func nearest(readings []int64, t int64) int64 {
	best, distance := int64(0), int64(math.MaxInt64)
	for _, r := range readings {
		if d := max(r-t, t-r); d < distance {
			best, distance = r, d
		}
	}
	return best
}

// supporters is how many readings agree with t.
func supporters(readings []int64, t int64) (n int) {
	for _, r := range readings {
		if agree(r, t) {
			n++
		}
	}
	return n
}

func agree(a, b int64) bool { return max(a-b, b-a) <= int64(Tolerance) }
