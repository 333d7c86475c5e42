package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	pauseBase    = 50 * time.Millisecond
	pauseMax     = time.Second
	patienceGain = 5 // at most so many times AttemptTimeout
	// repeatFor is how long after its first try a write of unknown outcome is tried again. Nodes
	// remember its request id for ten minutes; by then a try would be a write of its own. The rest is
	// for clocks that differ and for a try that is slow.
	repeatFor = 5 * time.Minute
)

// verdict is what a failed try means for the call.
type verdict int

const (
	stands      verdict = iota // it is the call's answer
	unreachable                // the request surely was not sent
	again                      // not done, or harmless to repeat; may go better later
	elsewhere                  // harmless to repeat; may go better on another endpoint, not later
)

// try is how one attempt at one endpoint failed.
type try struct {
	err    error
	unsent bool // surely
}

// doubt is the first try of a write whose outcome nobody knows; err is nil if there was none. From
// then on only an answer that all tries of the request would get settles what became of it.
type doubt struct {
	err   *Error
	since time.Time // when the try began
}

func (d *doubt) expired() bool { return d.err != nil && time.Since(d.since) >= repeatFor }

// ended is the error of a write that cannot be tried any longer.
func (d *doubt) ended(op operation, cause error) *Error {
	if cause == nil {
		f := *d.err
		f.Message = fmt.Sprintf("%s; tried again for %v", cmp.Or(f.Message, f.Code.String()), repeatFor)
		return &f
	}
	f := op.ended(cause, d.err)
	f.Written = WrittenUnknown
	return f
}

// invoke makes the RPC of an operation on conn.
type invoke func(ctx context.Context, conn grpc.ClientConnInterface) error

// run tries call on one endpoint after the other until one of them settles it.
func (c *Client) run(ctx context.Context, op operation, call invoke) error {
	if !utf8.ValidString(op.service) {
		return op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	ctx, done := c.begin(ctx)
	defer done()
	var latest *Error // of the failures that were not the end of ctx: a node's answer if there is one
	var d doubt
	for round := 0; ; round++ {
		var (
			failures []*Error
			reached  bool          // an endpoint could be connected to
			settled  *Error        // an answer that another round would not change
			worth    bool          // of another round
			hint     time.Duration // a node's wish
		)
		for _, e := range c.order() {
			cause := c.over(ctx)
			switch {
			case d.err != nil && (cause != nil || d.expired()):
				return d.ended(op, cause)
			case cause != nil:
				return op.ended(cause, latest)
			}
			begun := time.Now()
			t := c.try(ctx, e, op, round, call)
			if t.err == nil {
				c.prefer(e)
				return nil
			}
			v, w := op.judge(t)
			f := op.failed(e, t.err, w)
			cause = c.over(ctx)
			c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "an endpoint did not settle a call", slog.String("endpoint", e.address), slog.Any("error", f))
			if w == WrittenUnknown {
				c.leave(e, cause)
				if d.err == nil {
					d = doubt{f, begun}
				}
			}
			switch {
			case d.err == f && cause != nil:
				return f.because(cause)
			case d.err != nil && v == stands && !decides(f):
				// Said of this try alone, and nothing would come of another.
				d.err.Message += "; then, from " + f.Endpoint + ": " + plain(f.Message)
				return d.err.because(cause)
			case d.err != nil && cause != nil && v != stands:
				return d.ended(op, cause)
			case cause != nil && (v != stands || t.unsent):
				if latest == nil {
					latest = f
				}
				return op.ended(cause, latest)
			case v == stands:
				if !t.unsent {
					c.prefer(e)
				}
				return f.because(cause)
			}
			// What a node says tells more than that another cannot be reached.
			if latest == nil || f.Reason != "" || latest.Reason == "" {
				latest = f
			}
			failures = append(failures, f)
			if v == unreachable {
				continue
			}
			reached = true
			if v == again {
				worth = true
			} else {
				settled = f
			}
			hint = max(hint, retryDelay(t.err))
		}
		switch {
		case reached && !worth && d.err != nil:
			return d.err
		case reached && !worth:
			return settled
		case !reached && d.err == nil:
			return op.unanswered(failures)
		}
		pause(ctx, max(wait(round), min(hint, pauseMax)))
	}
}

// try makes one attempt at e, which is bounded in all: a write that is given up on may still be done,
// and its next try gets the answer to it.
func (c *Client) try(ctx context.Context, e *endpoint, op operation, round int, call invoke) try {
	bound := c.patience(round)
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := e.connect(bounded)
	if err != nil {
		if bounded.Err() != nil && ctx.Err() == nil {
			err = status.Error(codes.Unavailable, fmt.Sprintf("no connection within %v", bound))
		}
		return try{err: err, unsent: true}
	}
	tracked, t := track(bounded)
	err = call(tracked, conn)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil && errorInfo(status.Convert(err)) == nil {
		err = status.Error(codes.DeadlineExceeded, fmt.Sprintf("no answer within %v", bound))
	}
	return try{err: err, unsent: t.unsent()}
}

// patience is how long an attempt may take in a round, or a watch until its first answer.
func (c *Client) patience(round int) time.Duration {
	return c.cfg.AttemptTimeout * time.Duration(min(round+1, patienceGain))
}

// judge tells what a failed try means, and what became of a write.
func (op operation) judge(t try) (verdict, Written) {
	st := status.Convert(t.err)
	if t.unsent {
		switch st.Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			return unreachable, WrittenNo
		}
		return stands, WrittenNo // it can be sent nowhere: too large, for example
	}
	if op.write {
		return judgeWrite(st)
	}
	return judgeRead(st), WrittenNo
}

func judgeRead(st *status.Status) verdict {
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return again
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return elsewhere
	case codes.OutOfRange:
		if errorInfo(st).GetReason() == ReasonAhead {
			return elsewhere // another node may be there
		}
	case codes.ResourceExhausted:
		if errorInfo(st) == nil {
			return elsewhere // gRPC's own: an answer above maxReceiveBytes, a full connection
		}
	}
	return stands
}

func judgeWrite(st *status.Status) (verdict, Written) {
	info := errorInfo(st)
	switch said := info.GetMetadata()[writtenKey]; {
	case info.GetReason() == reasonNotWritten:
		return again, WrittenNo
	case info.GetReason() == reasonUnknown:
		return again, WrittenUnknown
	case said == WrittenUnknown.String():
		return judgeUnknown(st), WrittenUnknown
	case said == WrittenNo.String() && st.Code() == codes.Unavailable:
		return again, WrittenNo // a node that does not serve any more: another may
	case said == WrittenNo.String():
		return stands, WrittenNo
	}
	switch st.Code() {
	case codes.Unimplemented:
		return stands, WrittenNo // also without ErrorInfo: gRPC's own answer of a server that has no such method
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated:
		// Only a node's own word counts: gRPC uses RESOURCE_EXHAUSTED, for one, when an answer is
		// too large to be received, and then the write was done.
		if info != nil {
			return stands, WrittenNo
		}
	}
	return judgeUnknown(st), WrittenUnknown
}

// judgeUnknown is for a write that nobody knows the outcome of. Its request id makes it as harmless to
// repeat as a read.
func judgeUnknown(st *status.Status) verdict {
	if v := judgeRead(st); v != stands {
		return v
	}
	return elsewhere
}

// decides says whether an answer to one try is that to all of them: one that was given in the log,
// where a request id has one answer, or that the same request gets from every node. What a node says
// of itself, a limit or a permission, is not.
func decides(f *Error) bool {
	if f.Written == WrittenUnknown {
		return false
	}
	switch f.Code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return false
}

// leave makes later calls start elsewhere than where this one was left waiting. A caller who went away
// says nothing about the endpoint.
func (c *Client) leave(e *endpoint, cause error) {
	if cause == nil || errors.Is(cause, context.DeadlineExceeded) {
		c.avoid(e)
	}
}

// wait is the pause after a round: growing, and different for every client.
func wait(round int) time.Duration {
	d := min(pauseBase<<min(round, 10), pauseMax)
	return d/2 + rand.N(d/2)
}

// retryDelay is how long a node asks to be left alone; 0 if it does not.
func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
