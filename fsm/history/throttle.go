package history

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// While the registry changes, readings of its history take turns. After each reading its lane rests a
// multiple of what the reading cost, though never longer than maxRest. The cost is the time that the reading
// took, and that handing on what it found takes. So however many read, and however much, they take a
// twentieth of one processor from those who write. Who reads alone waits for nobody: the rest comes after the
// answer.
//
// There are two lanes, so that a short reading never waits behind long ones:
//
//   - short: calls whose connection has read little lately. Who has read least, and wants least, is first.
//   - long: followers that are behind, and calls whose connection has read much. Connections take turns, and
//     so do those of one connection.
//
// While both lanes are used, each has half of the twentieth. Followers that are close behind read in memory,
// and are not held back. While nothing changes there are no rests, and only the long lane has a bound, of half
// of the processors, so that very many who read much leave processors to the others.
const (
	// RestFactor is how many times as long as a reading cost its lane rests, if the other lane is not used.
	RestFactor = 19
	// SharedRestFactor is the same while the other lane is used, too.
	SharedRestFactor = 39
	maxRest          = 200 * time.Millisecond
	// GivenCost is about what it takes to translate and send an event or a record.
	GivenCost = 3 * time.Microsecond
	// BusyFor is how long after a change readings are still held back, and how long after a reading its
	// lane counts as used.
	BusyFor = 200 * time.Millisecond
	// BusyPage is how many events a follower that reads the registry file then is given at a time: more in
	// one go would be felt by those whose writes come just then.
	BusyPage = 200
	// A call then visits firstVisits events or services in its first turn, and twice as many in each
	// further one, up to mostVisits: a call that needs few has a short turn.
	firstVisits, mostVisits = 200, 1600
)

// lane is one of the two.
type lane int

const (
	short lane = iota
	long
)

// throttle holds back readings of the history while the registry changes.
type throttle struct {
	changed atomic.Int64 // when the registry last changed, Unix nanoseconds; 0: not since the start

	mu      sync.Mutex // guards the rest, and is held for a few instructions
	lanes   [2]laneState
	sources sources
}

// laneState is the state of a lane. Where something waits, taken is above 0: who frees a turn passes it on.
type laneState struct {
	taken   int       // turns of readings, and of rests after them
	used    time.Time // when a reading last ended
	waiting waitQueue
}

func newThrottle() *throttle { return &throttle{} }

// busy reports whether something was changed lately.
func (t *throttle) busy() bool {
	changed := t.changed.Load()
	return changed != 0 && time.Since(time.Unix(0, changed)) < BusyFor
}

// turns is how many turns a lane has at a time.
func turns(l lane, busy bool) int {
	switch {
	case busy:
		return 1
	case l == long:
		return max(1, runtime.GOMAXPROCS(0)/2)
	}
	return math.MaxInt
}

// reading says what is about to be read.
type reading struct {
	follower bool // for a follower that is behind, else for a call, which has an answer and ends
	most     int  // how many events or records it may give; of a follower it does not matter
}

// do calls read when it is its turn. read returns how many events or records it gives to its caller. The error
// is ctx's or read's.
func (t *throttle) do(ctx context.Context, what reading, read func() (given int, err error)) error {
	s, l, err := t.take(ctx, what)
	if err != nil {
		return err
	}
	given, start := 0, time.Now()
	defer func() { t.leave(s, l, what, time.Since(start)+time.Duration(given)*GivenCost) }()
	given, err = read()
	return err
}

// take waits for a turn, and says of which source and lane it is.
func (t *throttle) take(ctx context.Context, what reading) (*source, lane, error) {
	busy, now := t.busy(), time.Now()
	t.mu.Lock()
	w := &waiter{source: t.sources.of(ctx, now), cost: time.Duration(what.most) * GivenCost}
	if what.follower || w.source.lately(now) > shortBudget {
		w.lane = long
	}
	state := &t.lanes[w.lane]
	ahead := state.waiting.Len()
	if w.lane == short && !busy {
		ahead = 0 // they are about to be let go
	}
	if ahead == 0 && state.taken < turns(w.lane, busy) {
		state.taken++
		t.mu.Unlock()
		return w.source, w.lane, nil
	}
	w.ready = make(chan struct{})
	t.queue(w, now)
	t.mu.Unlock()
	select {
	case <-w.ready:
		return w.source, w.lane, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.lanes[w.lane].waiting.remove(w) {
		t.free(w.lane) // the turn came meanwhile
	}
	return nil, w.lane, ctx.Err()
}

// queue puts w into the queue of its lane. t.mu is held.
func (t *throttle) queue(w *waiter, now time.Time) {
	waiting := &t.lanes[w.lane].waiting
	if w.lane == short {
		w.order = int64(w.source.lately(now) + w.cost)
	} else {
		w.order = w.source.nextRound(waiting.round)
	}
	waiting.add(w)
}

// leave ends a reading. Its turn ends after the rest.
func (t *throttle) leave(s *source, l lane, what reading, cost time.Duration) {
	busy, now := t.busy(), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lanes[l].used = now
	if !what.follower {
		s.charge(now, cost)
	}
	if !busy {
		t.free(l)
		return
	}
	factor := time.Duration(RestFactor)
	if other := &t.lanes[1-l]; other.taken > 0 || now.Sub(other.used) < BusyFor {
		factor = SharedRestFactor
	}
	time.AfterFunc(min(factor*cost, maxRest), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.free(l)
	})
}

// free ends a turn of a lane, and gives it to who is next. t.mu is held.
func (t *throttle) free(l lane) {
	t.lanes[l].taken--
	t.fill(l, t.busy(), time.Now())
}

// fill gives the turns of a lane that nobody has to who is next. t.mu is held.
func (t *throttle) fill(l lane, busy bool, now time.Time) {
	state := &t.lanes[l]
	for state.waiting.Len() > 0 && state.taken < turns(l, busy) {
		w := state.waiting.next()
		if l == short && busy {
			// Others of its source may have read since it came.
			if w.source.lately(now) > shortBudget {
				w.lane = long
				t.queue(w, now)
				t.fill(long, busy, now)
				continue
			}
			if int64(w.source.lately(now)+w.cost) > w.order {
				t.queue(w, now)
				continue
			}
		}
		state.taken++
		close(w.ready)
	}
}

// visits is how many events or services a call may visit in one turn, counted from 0.
func (t *throttle) visits(turn, atOnce int) int {
	if !t.busy() {
		return atOnce
	}
	return min(atOnce, mostVisits, firstVisits<<min(turn, 8))
}
