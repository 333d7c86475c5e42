package forward

import (
	"context"
	"sync"
	"time"
)

// Calls are the commands that came over one stream: those under way, and those that are answered and whose answers
// have not been sent. Two goroutines use it: one adds calls, another sends the answers.
type Calls struct {
	ctx     context.Context
	limit   int
	unwatch func() bool
	wake    chan struct{} // capacity 1: answers wait, or no more will come
	room    chan struct{} // capacity 1: there are fewer calls than before

	mu       sync.Mutex       // guards the rest
	calls    map[uint64]*Call // all whose answers have not left
	pending  int              // of calls: not answered
	answered []*Call          // of calls: what Next returns
	refusals []Refusal        // what Refusals returns
	refused  int              // ids of refusals
	ended    bool
	closed   bool
	sweeper  *time.Timer // nil: nothing to sweep yet
	sweepAt  time.Time   // zero: the sweeper does not run
}

// Refusal is the answer to calls that were never made. It takes little memory, however many they are.
type Refusal struct {
	IDs []uint64
	Err error
}

// NewCalls returns Calls of a stream whose context is ctx. When ctx ends, all calls are given up. AwaitRoom waits
// while there are limit calls whose answers have not left.
func NewCalls(ctx context.Context, limit int) *Calls {
	s := &Calls{ctx: ctx, limit: limit, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), calls: map[uint64]*Call{}}
	s.unwatch = context.AfterFunc(ctx, s.giveUpAll)
	return s
}

// AwaitRoom waits until there are fewer calls than the limit. It returns false if the stream has ended.
func (s *Calls) AwaitRoom() bool {
	for {
		s.mu.Lock()
		full, over := len(s.calls)+s.refused >= s.limit, s.closed || s.ended
		s.mu.Unlock()
		if !full || over {
			return !over
		}
		select {
		case <-s.room:
		case <-s.ctx.Done():
			return false
		}
	}
}

// Has reports whether the answer of a call with this id has not left.
func (s *Calls) Has(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id] != nil
}

// Add adds calls, which must then be started, or Fail. It returns false if no more calls are taken: none was added.
func (s *Calls) Add(calls []*Call) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended {
		return false
	}
	first := time.Time{}
	for _, c := range calls {
		c.calls = s
		c.proposal.Command, c.proposal.Waiter = c.Command, c
		c.sweepAt = answerBy(now, c.Deadline)
		if first.IsZero() || c.sweepAt.Before(first) {
			first = c.sweepAt
		}
		s.calls[c.ID] = c
	}
	s.pending += len(calls)
	s.sweepBy(first, now)
	return true
}

// forwarded has calls that were forwarded given up when a forwarded call ends, although they may have more time: a
// leader that hangs would hold their callers for all of it.
func (s *Calls) forwarded(pending []*pendingCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := time.Time{}
	for _, p := range pending {
		c, until := p.proposal.Waiter.(*Call), p.deadline
		if until.IsZero() || c.done || !until.Before(c.sweepAt) { // it was not sent, or ends before
			continue
		}
		c.until, c.sweepAt = until, until
		if first.IsZero() || until.Before(first) {
			first = until
		}
	}
	s.sweepBy(first, time.Now())
}

// Refuse answers calls that were not added. Wake has it sent.
func (s *Calls) Refuse(r Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, r)
	s.refused += len(r.IDs)
}

// Refusals returns what Refuse was given, once.
func (s *Calls) Refusals() []Refusal {
	s.mu.Lock()
	all := s.refusals
	s.refusals, s.refused = nil, 0
	s.mu.Unlock()
	if len(all) > 0 {
		s.signalRoom()
	}
	return all
}

// sweepBy has the sweeper run at the latest at a time. mu is held.
func (s *Calls) sweepBy(at, now time.Time) {
	switch {
	case at.IsZero() || !s.sweepAt.IsZero() && !at.Before(s.sweepAt):
		return
	case s.sweeper == nil:
		s.sweeper = time.AfterFunc(at.Sub(now), s.sweep)
	default:
		s.sweeper.Reset(at.Sub(now))
	}
	s.sweepAt = at
}

// sweep gives up the calls whose time is over.
func (s *Calls) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := time.Now(), time.Time{}
	s.sweepAt = time.Time{}
	for _, c := range s.calls {
		if !c.sweepAt.IsZero() && !c.sweepAt.After(now) && c.expire(now) {
			s.settle(c)
			continue
		}
		if !c.sweepAt.IsZero() && (next.IsZero() || c.sweepAt.Before(next)) {
			next = c.sweepAt
		}
	}
	s.wakeSender()
	s.sweepBy(next, now)
}

// giveUpAll is called when the stream has ended.
func (s *Calls) giveUpAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.calls {
		if !c.done && c.giveUp(context.Cause(s.ctx)) {
			s.settle(c)
		}
	}
	s.wakeSender()
}

// settled has the answer of a call sent, at the latest after the next wakeSender.
func (s *Calls) settled(c *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(c)
}

// settle is settled with mu held.
func (s *Calls) settle(c *Call) {
	c.done, c.sweepAt = true, time.Time{}
	s.pending--
	s.answered = append(s.answered, c)
}

// wakeSender has Next return.
func (s *Calls) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // the sender is awake, or will be
	}
}

// Wake has Next return, also if no call is answered.
func (s *Calls) Wake() { s.wakeSender() }

// Close takes no more calls. Next returns false once all are answered.
func (s *Calls) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wakeSender()
}

// Next waits for calls that are answered, or for Wake. Call Sent when their answers have left. False: no more will
// come.
func (s *Calls) Next() (answered []*Call, more bool) {
	<-s.wake
	s.mu.Lock()
	defer s.mu.Unlock()
	answered, s.answered = s.answered, nil
	more = !s.closed && !s.ended || s.pending > 0
	if !more && s.sweeper != nil {
		s.sweeper.Stop()
	}
	if !more {
		s.unwatch()
	}
	return answered, more
}

// Sent says that the answers of calls have left, or never will.
func (s *Calls) Sent(calls []*Call) {
	s.mu.Lock()
	for _, c := range calls {
		delete(s.calls, c.ID)
	}
	s.mu.Unlock()
	s.signalRoom()
}

// signalRoom has AwaitRoom look again.
func (s *Calls) signalRoom() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}
