package checks

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"time"
)

// queue is a heap of entries, the earliest first.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

// first is the earliest entry; nil if there is none.
func (q queue) first() *entry {
	if len(q) == 0 {
		return nil
	}
	return q[0]
}

// state says where an entry is.
type state int

const (
	idle    state = iota // in Runner.due, by the time of its next run
	running              // in Runner.deadlines; it has a place
	// stuck: its run has not returned in time, or the run of a check that was removed has not returned and stands in
	// its way. It is in Runner.deadlines by the time at which that counts as one more failure. It has no place.
	stuck
	gone // removed, and in no queue
)

// entry is one check of one service. All but the first fields, which do not change, is guarded by Runner.mu.
type entry struct {
	service *service
	name    string
	check   Check
	o       checkOptions

	damped
	since   time.Time
	outcome // of the last run
	lastRun time.Time
	took    time.Duration

	state   state
	at      time.Time // its place in the queue that it is in
	index   int       // in that queue
	due     time.Time // of the next run
	inside  bool      // a run has not returned
	started time.Time // that run
	cancel  context.CancelFunc
	removed bool
	again   bool   // the next run starts when this one has returned
	deaf    func() // ends what waker.wake began; nil if there is nothing
}

// queueUp puts e into a queue.
func (r *Runner) queueUp(q *queue, e *entry, at time.Time) {
	e.at = at
	heap.Push(q, e)
}

// advance does what is due, and returns when there is more to do; zero if nothing is.
//
// The caller holds r.mu.
func (r *Runner) advance(now time.Time) (next time.Time) {
	for !r.stopping(now) {
		if e := r.deadlines.first(); e != nil && !e.at.After(now) {
			heap.Pop(&r.deadlines)
			r.expire(e, now)
			continue
		}
		if e := r.due.first(); e != nil && r.places > 0 && !e.at.After(now) {
			heap.Pop(&r.due)
			r.start(e, now)
			continue
		}
		if e := r.deadlines.first(); e != nil {
			next = e.at
		}
		if e := r.due.first(); e != nil && r.places > 0 && (next.IsZero() || e.at.Before(next)) {
			next = e.at
		}
		return next
	}
	return time.Time{}
}

// start starts a run. e is in no queue.
func (r *Runner) start(e *entry, now time.Time) {
	ctx, cancel := context.WithTimeout(r.ctx, e.o.timeout)
	e.state, e.started, e.cancel = running, now, cancel
	e.inside, e.again = true, false
	e.due = now.Add(jittered(e.o))
	r.places--
	r.inside++
	r.queueUp(&r.deadlines, e, now.Add(e.o.timeout))
	go r.run(ctx, e)
}

func (r *Runner) run(ctx context.Context, e *entry) {
	var o outcome
	defer func() { r.finish(e, &o) }() // deferred, because the check can end this goroutine
	call(ctx, e.check, &o)
}

// expire is called when the time of an entry in r.deadlines has come. It is in no queue any more.
func (r *Runner) expire(e *entry, now time.Time) {
	inTime := e.state == running // until now
	if inTime {
		r.places++
	}
	if e.removed {
		e.state = gone
		return
	}
	e.state = stuck
	text := "the run of a check with this name, which was removed, has not returned"
	if e.inside {
		text = "it did not return within " + e.o.timeout.String()
		e.lastRun, e.took = e.started, e.o.timeout
	}
	r.record(e, &outcome{text: text, late: true, missed: e.inside && !inTime}, now)
	// The run that should be next cannot start. So it is late when its timeout is over, too, and a check that stays
	// stuck turns after Fall failures as any other does.
	if !inTime {
		e.due = e.due.Add(jittered(e.o))
	}
	e.due = later(e.due, now)
	r.queueUp(&r.deadlines, e, e.due.Add(e.o.timeout))
}

// finish is called when a run has returned.
func (r *Runner) finish(e *entry, o *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e.cancel()
	r.inside--
	if r.stopping(now) {
		r.rest(e)
		if r.stopped && r.inside == 0 {
			close(r.empty)
		}
		return
	}
	if e.state == running {
		heap.Remove(&r.deadlines, e.index)
		if !e.removed && now.Sub(e.started) >= e.o.timeout {
			r.expire(e, now) // loop has not come to it yet
		} else {
			r.places++
			e.state = idle
		}
	}
	e.inside = false
	switch {
	case e.removed:
		e.state = gone
		r.release(e, now)
	case e.state == stuck:
		heap.Remove(&r.deadlines, e.index)
		e.took = now.Sub(e.started)
		if o.text != "" && o.text != context.DeadlineExceeded.Error() {
			e.text = cutOff(e.text+": "+o.text, maxErrorBytes)
		}
		r.schedule(e, now)
	default:
		e.lastRun, e.took = e.started, now.Sub(e.started)
		r.record(e, o, now)
		r.schedule(e, now)
	}
	r.advanceAndPoke(now)
}

// rest is finish when the Runner stops: the result counts for nothing.
func (r *Runner) rest(e *entry) {
	if e.state == running || e.state == stuck {
		heap.Remove(&r.deadlines, e.index)
		e.state = gone
	}
	e.inside = false
	if !e.removed {
		e.state = idle
		r.queueUp(&r.due, e, e.due)
	}
}

// schedule has the next run of e start when it is due. e is in no queue.
func (r *Runner) schedule(e *entry, now time.Time) {
	e.state = idle
	if e.again {
		e.due, e.again = now, false
	}
	r.queueUp(&r.due, e, e.due)
}

// runNow has the next run of e start at once, or when the one under way has returned.
func (r *Runner) runNow(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case e.removed || r.stopping(now):
	case e.state == idle:
		heap.Remove(&r.due, e.index)
		e.due = now
		r.schedule(e, now)
		r.advanceAndPoke(now)
	default:
		e.again = true
	}
}

// release lets a check run that has the name of one that was removed, whose run has returned now.
func (r *Runner) release(e *entry, now time.Time) {
	id := entryID{e.service.name, e.name}
	if r.leaving[id] != e {
		return
	}
	delete(r.leaving, id)
	if s := r.services[e.service.name]; s != nil {
		if next := s.checks[e.name]; next != nil && next.state == stuck && !next.inside {
			heap.Remove(&r.deadlines, next.index)
			next.due = now
			r.schedule(next, now)
		}
	}
}

// advanceAndPoke advances, and has the scheduler look anew if there is something to do before it wakes.
func (r *Runner) advanceAndPoke(now time.Time) {
	next := r.advance(now)
	if !next.IsZero() && (r.wakes.IsZero() || next.Before(r.wakes)) {
		r.poke()
	}
}

func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// loop runs until ctx ends.
func (r *Runner) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		now := time.Now()
		r.mu.Lock()
		r.wakes = r.advance(now)
		wakes := r.wakes
		r.mu.Unlock()
		if wakes.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(wakes.Sub(now))
		}
	}
}

// jittered is the time to the next run.
func jittered(o checkOptions) time.Duration {
	d := float64(o.interval) * (1 + o.jitter*(2*rand.Float64()-1))
	return max(time.Duration(d), 1)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
