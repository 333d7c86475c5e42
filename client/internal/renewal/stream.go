package renewal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// maxUnanswered bounds the messages on a stream that wait for their answers. Leases that are due meanwhile wait,
// and share the next message.
const maxUnanswered = 4

var errNoAnswer = errors.New("a message was not answered, nor were those after it")

// stream is a KeepAlive stream. What follows its channels is guarded by r.mu.
type stream struct {
	r    *Renewer
	to   place
	stop context.CancelCauseFunc
	due  chan struct{} // capacity 1: there is something to send, or room for it

	waiting    map[*Renewal]uint64 // tries that are not sent yet: at most one for each lease
	unanswered []message           // the oldest first
	used       time.Duration       // when it was last sent to, or answered
}

// message is what was sent at once.
type message struct {
	tries []result // without an answer yet
	sent  time.Duration
}

// stream returns the stream to a place, which it opens if there is none; r.mu is held.
func (r *Renewer) stream(to place) *stream {
	if s := r.streams[to]; s != nil {
		return s
	}
	ctx, stop := context.WithCancelCause(r.ctx)
	s := &stream{r: r, to: to, stop: stop, due: make(chan struct{}, 1), waiting: map[*Renewal]uint64{}}
	r.streams[to] = s
	r.wg.Add(1)
	go s.run(ctx)
	return s
}

// put has the newest try of e sent; r.mu is held.
func (s *stream) put(e *Renewal, now time.Duration) {
	s.waiting[e] = e.try
	s.used = now
	s.kick()
}

func (s *stream) kick() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// check ends the stream if nobody uses it, or if its node does not answer; r.mu is held.
func (s *stream) check(now time.Duration) {
	switch {
	case len(s.unanswered) > 0:
		if now-s.unanswered[0].sent >= stuckAfter {
			s.end(errNoAnswer)
		}
	case len(s.waiting) == 0 && now-s.used >= idleAfter:
		s.end(nil)
	}
}

// retire ends a stream that is used no more once its messages are answered, or if they are not, and reports whether it
// has ended; r.mu is held.
func (s *stream) retire(now time.Duration) bool {
	switch {
	case len(s.unanswered)+len(s.waiting) == 0:
		s.end(nil)
	case len(s.unanswered) > 0 && now-s.unanswered[0].sent >= stuckAfter:
		s.end(errNoAnswer)
	default:
		return false
	}
	return true
}

// end has the stream ended, and another one opened for what comes; r.mu is held.
func (s *stream) end(why error) {
	s.stop(why)
	if s.r.streams[s.to] == s {
		delete(s.r.streams, s.to)
	}
}

// run opens the stream and sends what is put on it, until it ends or fails.
func (s *stream) run(ctx context.Context) {
	defer s.r.wg.Done()
	opened, err := s.r.cfg.Open(ctx, s.to.endpoint, s.to.cluster)
	if err == nil {
		received := make(chan error, 1) // its only message
		go func() { received <- s.receive(opened) }()
		err = s.send(ctx, opened)
		s.stop(err)
		// The reason why nothing can be sent any more is what the node said.
		err = <-received
	}
	if cause := context.Cause(ctx); errors.Is(cause, errNoAnswer) {
		err = cause
	}
	s.fail(err)
}

// send returns the error of sending, or nil when ctx ends.
func (s *stream) send(ctx context.Context, to Stream) error {
	for {
		select {
		case <-s.due:
		case <-ctx.Done():
			return nil
		}
		for {
			m := s.next()
			if m == nil {
				break
			}
			if err := to.Send(m); err != nil {
				return err
			}
		}
	}
}

// next takes the next message off what waits; nil if there is none, or no room for it.
func (s *stream) next() *rollcallv1.KeepAliveRequest {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(s.waiting) == 0 || len(s.unanswered) == maxUnanswered {
		return nil
	}
	m := message{sent: s.r.clock.now()}
	req := &rollcallv1.KeepAliveRequest{}
	ids := map[string]bool{}
	for e, try := range s.waiting {
		delete(s.waiting, e)
		if e.stopped || e.try != try {
			continue
		}
		m.tries = append(m.tries, result{e: e, try: try, endpoint: s.to.endpoint, sent: m.sent})
		if !ids[e.id] {
			ids[e.id] = true
			req.LeaseIds = append(req.LeaseIds, e.id)
		}
		if len(m.tries) == limits.MaxRenewedAtOnce {
			s.kick()
			break
		}
	}
	if len(m.tries) == 0 {
		return nil
	}
	slices.Sort(req.LeaseIds)
	s.unanswered = append(s.unanswered, m)
	return req
}

// receive takes answers until the stream ends.
func (s *stream) receive(from Stream) error {
	for {
		resp, err := from.Recv()
		if err != nil {
			s.stop(err)
			return err
		}
		if !s.answered(resp) {
			err := fmt.Errorf("endpoint %d answered what was not asked", s.to.endpoint)
			s.stop(err)
			return err
		}
	}
}

// answered takes the answer to the oldest message. It returns false if there is none.
func (s *stream) answered(resp *rollcallv1.KeepAliveResponse) bool {
	answers := make(map[string]answer, len(resp.GetRenewedLeaseIds()))
	for _, id := range resp.GetRenewedLeaseIds() {
		answers[id] = renewed
	}
	for _, id := range resp.GetLostLeaseIds() {
		answers[id] = lost
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(s.unanswered) == 0 {
		return false
	}
	m := s.unanswered[0]
	s.unanswered = slices.Delete(s.unanswered, 0, 1)
	s.used = s.r.clock.now()
	for _, t := range m.tries {
		t.answer, t.renewAfter = answers[t.e.id], resp.GetRenewAfter().AsDuration()
		s.r.answer(t)
	}
	s.kick() // there is room now
	s.r.kick()
	return true
}

// answer notes what the loop will take; r.mu is held.
func (r *Renewer) answer(t result) {
	if !t.e.stopped {
		r.results = append(r.results, t)
	}
}

// fail ends the stream, and all tries that it has.
func (s *stream) fail(err error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.end(err)
	for _, m := range s.unanswered {
		for _, t := range m.tries {
			t.answer, t.err = failed, err
			s.r.answer(t)
		}
	}
	for e, try := range s.waiting {
		s.r.answer(result{e: e, try: try, endpoint: s.to.endpoint, answer: failed, err: err})
	}
	s.unanswered, s.waiting = nil, map[*Renewal]uint64{}
	s.r.refused = s.r.refused || err != nil && s.r.cfg.Refused(err)
	s.r.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "a stream of renewals ended", slog.Int("endpoint", s.to.endpoint), slog.Any("error", err))
	s.r.kick()
}
