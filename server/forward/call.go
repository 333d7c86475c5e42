package forward

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Call is one command that came over a stream, on its way to an answer. It needs no goroutine unless it has to be
// tried again.
type Call struct {
	ID           uint64 // of the calls of the stream that are not answered each once
	Command      *logv1.Command
	ValidateOnly bool
	Deadline     time.Time // nobody waits for the answer any more
	Value        any       // for who made the call

	calls    *Calls
	router   *Router // tries again; nil: nobody does
	leader   string  // that the command was forwarded to
	bytes    int64   // that the call took from a budget
	proposal logv1.Proposal
	sweepAt  time.Time // guarded by calls.mu; zero: it is answered, or will be in time without being given up
	until    time.Time // guarded by calls.mu: how long the leader's answer is waited for; zero: until Deadline
	done     bool      // guarded by calls.mu: it is answered

	answer any // see logv1.Waiter
	err    error
}

// Result returns the answer, or a failure that says what is known of the outcome. Calls.Next has returned the
// call.
func (c *Call) Result() (*logv1.Result, error) {
	if c.err != nil {
		return nil, c.err
	}
	if res := logv1.ResultOf(c.answer); res != nil {
		return res, nil
	}
	return nil, rpcerror.OutcomeUnknown("the registry answered %v", c.answer)
}

// Fail answers a call that was not started, or whose start panicked, unless it is answered. Calls.Wake has it sent.
func (c *Call) Fail(err error) {
	if _, ok := c.proposal.GiveUp(); ok {
		c.settle(nil, err)
	}
}

// Answer implements logv1.Waiter. What is surely not written is tried again, if there is a router.
func (c *Call) Answer(answer any, err error) {
	if r, ok := answer.(*callResult); ok {
		var result *logv1.Result
		if result, err = r.outcome(c.leader); err == nil {
			answer = result
		}
	}
	if err != nil && c.router != nil {
		f := rpcerror.OfChange(err)
		if f.Reason == rpcerror.ReasonNotWritten {
			go c.await(c.router.seek)
			return
		}
		err = f
	}
	c.settle(answer, err)
}

// Flush implements logv1.Waiter.
func (c *Call) Flush() { c.calls.wakeSender() }

// Done answers a call that was not started with what is no result of a command, unless it was given up. Answered
// returns it.
func (c *Call) Done(answer any) { c.proposal.Answer(answer, nil) }

// Answered returns what Done was given, or why the call has no answer.
func (c *Call) Answered() (answer any, err error) { return c.answer, c.err }

// alone answers a call that was not started in a goroutine of its own.
func (c *Call) alone(propose func(context.Context, *logv1.Command, bool) (*logv1.Result, error)) {
	if _, ok := c.proposal.GiveUp(); ok {
		go c.await(propose)
	}
}

// await answers the call with what propose returns, which may take as long as the call has.
func (c *Call) await(propose func(context.Context, *logv1.Command, bool) (*logv1.Result, error)) {
	ctx, cancel := context.WithDeadline(c.calls.ctx, c.Deadline)
	defer cancel()
	result, err := propose(ctx, c.Command, c.ValidateOnly)
	if err != nil {
		c.settle(nil, err)
	} else {
		c.settle(result, nil)
	}
	c.Flush()
}

// settle is the end of a call.
func (c *Call) settle(answer any, err error) {
	c.answer, c.err = answer, err
	c.calls.settled(c)
}

// expire gives up what has no more time, and returns whether that settled the call. Until it is sent a command is
// given up a little early, so that the caller learns that it is not written. calls.mu is held.
func (c *Call) expire(now time.Time) bool {
	end := c.Deadline
	if !c.until.IsZero() && c.until.Before(end) {
		end = c.until
	}
	if now.Before(end) {
		if !c.proposal.GiveUpUnsent() {
			c.sweepAt = end
			return false
		}
		c.err = rpcerror.NotWritten("%w", context.DeadlineExceeded)
		return true
	}
	return c.giveUp(context.DeadlineExceeded)
}

// giveUp ends the call because of cause, and returns whether that settled it. calls.mu is held.
func (c *Call) giveUp(cause error) bool {
	c.sweepAt = time.Time{}
	sent, ok := c.proposal.GiveUp()
	switch {
	case !ok: // its answer comes, or it is tried again in a goroutine that ends in time
		return false
	case sent:
		c.err = rpcerror.OutcomeUnknown("%w", cause)
	default:
		c.err = rpcerror.NotWritten("%w", cause)
	}
	return true
}

// answerBy is when a call that is not sent is given up.
func answerBy(now, at time.Time) time.Time {
	left := at.Sub(now)
	return at.Add(-min(deadline.Margin(left), left/2))
}
