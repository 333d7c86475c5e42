package client

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// pursuit is one call on its way to an answer. One goroutine has it at a time: the caller's, which makes the attempts
// itself, one after the other (alone), or the one that takes it over when an endpoint is silent (pursue, in hedge.go).
type pursuit struct {
	c      *Client
	ctx    context.Context
	op     operation
	call   invoke
	chosen bool // the caller named the endpoints

	round  round
	rounds int         // that are over
	out    []*attempt  // under way, the oldest first
	first  attempt     // most calls need no other,
	place  [1]*attempt // and no longer slice
	answer answer      // of the attempt that ended last

	latest  *Error // of the failures that were not the end of ctx: a node's answer if there is one
	unknown unknownOutcome
	// refused is a node's final word on one try of a write, while others were under way that may do it. Nothing more
	// is tried then.
	refused *Error
	renewed uint64 // generation of the first token with which tries are made in place of one that a node refused; 0: none

	hedging // unused until an endpoint is silent
}

// round is one go through the endpoints.
type round struct {
	endpoints []*endpoint // in the order in which they are tried; not to be changed
	next      int         // index of the next one
	failures  []*Error
	reached   bool          // an endpoint could be connected to
	settled   *Error        // an answer that another round would not change
	worth     bool          // of another round
	hint      time.Duration // how long a node asked to be left alone
}

// unknownOutcome is the first failure of a write that may have been done; err is nil if there was none. From
// then on only an answer that all tries of the request would get settles what became of it.
type unknownOutcome struct {
	err   *Error
	since time.Time // when the first try began that may have done it
}

func (u *unknownOutcome) expired() bool { return u.err != nil && time.Since(u.since) >= repeatFor }

// ended returns the error of a write that cannot be tried any longer.
func (u *unknownOutcome) ended(op operation, cause error) *Error {
	if cause == nil {
		f := *u.err
		f.Message = fmt.Sprintf("%s; tried again for %v", cmp.Or(f.Message, f.Code.String()), repeatFor)
		return &f
	}
	f := op.ended(cause, u.err)
	f.Written = WrittenUnknown
	return f
}

// addAnswer notes what another try was answered, which does not settle the outcome.
func (u *unknownOutcome) addAnswer(f *Error) *Error {
	u.err.Message += "; then, from " + f.Endpoint + ": " + oneLine(f.Message)
	return u.err
}

// alone makes one attempt after the other until one of them settles the call, or until an endpoint is silent.
func (p *pursuit) alone() *Error {
	for {
		e := p.peek()
		if e == nil {
			if over := p.roundOver(); over != nil {
				return over
			}
			pause(p.ctx, p.roundPause())
			p.nextRound()
			continue
		}
		if stop := p.stop(); stop != nil {
			return stop
		}
		a := p.begin(e)
		if p.c.cfg.Hedge <= 0 || len(p.round.endpoints) == 1 || p.op.alone {
			if settled, err := p.ended(a, p.make(a)); settled {
				return err
			}
			continue
		}
		silent := time.AfterFunc(p.c.cfg.Hedge, p.takeOver)
		t := p.make(a)
		if !silent.Stop() {
			return p.handOver(a, t)
		}
		if settled, err := p.ended(a, t); settled {
			return err
		}
	}
}

// peek returns the endpoint that is next in this round; nil: there is none.
func (p *pursuit) peek() *endpoint {
	for r := &p.round; r.next < len(r.endpoints); r.next++ {
		e := r.endpoints[r.next]
		if !slices.ContainsFunc(p.out, func(a *attempt) bool { return a.e == e }) {
			return e
		}
	}
	return nil
}

// stop returns an error if no other attempt may begin.
func (p *pursuit) stop() *Error {
	cause := p.c.over(p.ctx)
	switch {
	case p.unknown.err != nil && (cause != nil || p.unknown.expired()):
		return p.unknown.ended(p.op, cause)
	case cause != nil:
		return p.op.ended(cause, p.latest)
	case p.op.write && p.unknown.err == nil && p.latest != nil && p.latest.Reason == reasonNotWritten && endsWithin(p.ctx, leastTry):
		return p.op.ended(context.DeadlineExceeded, p.latest)
	}
	return nil
}

// begin begins an attempt at e, which is next in this round.
func (p *pursuit) begin(e *endpoint) *attempt {
	p.round.next++
	if p.op.write && p.op.cluster == "" && (p.unknown.err != nil || len(p.out) > 0) {
		p.op.cluster = p.c.Cluster() // only this cluster remembers the request id
	}
	a := &p.first
	if a.e != nil {
		a = new(attempt)
	}
	rounds := p.rounds
	if p.op.once {
		rounds = maxTimeoutFactor // there is no second try
	}
	*a = attempt{e: e, begun: time.Now(), timeout: p.c.attemptTimeout(rounds), cluster: p.op.cluster, heard: e.heard.Load()}
	a.ctx, a.cancel = context.WithTimeout(p.ctx, a.timeout)
	p.out = append(p.out, a)
	return a
}

// ended takes what became of an attempt. settled: the call is over, with err or the answer of the attempt.
func (p *pursuit) ended(a *attempt, t try) (settled bool, err *Error) {
	a.cancel()
	p.out = slices.DeleteFunc(p.out, func(o *attempt) bool { return o == a })
	p.answer = t.answer
	if t.err == nil {
		p.answered(a)
		return true, nil
	}
	v, w := p.op.judge(t)
	f := p.op.failed(a.e, t.err, w)
	cause := p.c.over(p.ctx)
	if v == verdictFinal && cause == nil && p.hasOtherToken(f, t.credential) {
		v = verdictRetry
	}
	p.c.cfg.Logger.LogAttrs(p.ctx, slog.LevelDebug, "an endpoint did not settle a call", slog.String("endpoint", a.e.address), slog.Any("error", f))
	if (w == WrittenUnknown || t.stuck) && !p.chosen {
		p.c.leave(a.e, cause)
	}
	if w == WrittenUnknown {
		p.mayBeDone(f, a)
	}
	if v == verdictFinal {
		return p.refusedBy(a, t, f, cause)
	}
	if cause == nil {
		p.failed(f, v, retryDelay(t.err))
	} else if p.latest == nil {
		p.latest = f
	}
	return p.conclude(f, cause)
}

// hasOtherToken reports whether f is a node's refusal of a token in whose place there is another one now, once for a call:
// all tries that were under way with the one before are made again, those with the other one are not.
func (p *pursuit) hasOtherToken(f *Error, used uint64) bool {
	if p.renewed > 0 && used >= p.renewed || !p.c.renewedToken(p.ctx, f, used) {
		return false
	}
	if p.renewed == 0 {
		p.renewed = used + 1
	}
	return true
}

// mayBeDone notes that an attempt of a write failed with f and may have done it all the same.
func (p *pursuit) mayBeDone(f *Error, a *attempt) {
	if p.unknown.err == nil {
		p.unknown = unknownOutcome{f, a.begun}
	}
	if a.begun.Before(p.unknown.since) {
		p.unknown.since = a.begun
	}
}

// refusedBy takes a node's final word on one attempt. It is the call's answer if every other attempt would get it, or
// if there is no other that may have done the write.
func (p *pursuit) refusedBy(a *attempt, t try, f *Error, cause error) (settled bool, err *Error) {
	alone := p.unknown.err == nil && len(p.out) == 0
	switch {
	case p.op.write && !alone && (t.unsent || !decides(f)):
		// It is said of this attempt alone, and another would get the same.
		p.refused = f
		return p.conclude(f, cause)
	case t.unsent && cause != nil:
		return true, p.op.ended(cause, cmp.Or(p.latest, f))
	case !t.unsent:
		p.answered(a)
	}
	return true, f.because(cause)
}

// failed notes a failure in this round.
func (p *pursuit) failed(f *Error, v verdict, hint time.Duration) {
	// What a node says tells more than that another cannot be reached.
	if p.latest == nil || f.Reason != "" || p.latest.Reason == "" {
		p.latest = f
	}
	r := &p.round
	r.failures = append(r.failures, f)
	switch v {
	case verdictUnsent:
		return
	case verdictRetry:
		r.worth = true
	default:
		r.settled = f
	}
	r.reached = true
	r.hint = max(r.hint, hint)
}

// conclude ends the call if nothing more is to be tried or waited for. f is how the attempt failed that ended last.
func (p *pursuit) conclude(f *Error, cause error) (settled bool, err *Error) {
	switch {
	case len(p.out) > 0:
		return false, nil
	case p.refused != nil && p.unknown.err != nil:
		return true, p.unknown.addAnswer(p.refused).because(cause)
	case p.refused != nil:
		return true, p.refused.because(cause)
	case cause == nil:
		return false, nil
	case p.unknown.err == f:
		return true, f.because(cause)
	case p.unknown.err != nil:
		return true, p.unknown.ended(p.op, cause)
	}
	return true, p.op.ended(cause, p.latest)
}

// answered notes that the node of an attempt settled the call.
func (p *pursuit) answered(a *attempt) {
	if !p.chosen {
		p.c.prefer(a.e)
	}
	p.outran(a)
}

// roundOver returns an error if another round is not worth it. All attempts have ended.
func (p *pursuit) roundOver() *Error {
	r := &p.round
	switch {
	case r.reached && !r.worth && p.unknown.err != nil:
		if r.settled != p.unknown.err {
			p.unknown.addAnswer(r.settled)
		}
		return p.unknown.err.because(p.c.over(p.ctx))
	case r.reached && !r.worth:
		return r.settled.because(p.c.over(p.ctx))
	case !r.reached && p.unknown.err == nil:
		return p.op.unanswered(r.inOrder())
	}
	return nil
}

// inOrder returns the failures in the order in which the endpoints were tried: one that was waited for longer fails
// after one that was asked beside it.
func (r *round) inOrder() []*Error {
	var failures []*Error
	for _, e := range r.endpoints {
		for _, f := range r.failures {
			if f.Endpoint == e.address {
				failures = append(failures, f)
			}
		}
	}
	return failures
}

func (p *pursuit) roundPause() time.Duration {
	return max(roundPause(p.rounds), min(p.round.hint, backoffMax))
}

func (p *pursuit) nextRound() {
	p.rounds++
	endpoints := p.round.endpoints
	if !p.chosen {
		endpoints = p.c.rotated()
	}
	p.round = round{endpoints: endpoints}
}
