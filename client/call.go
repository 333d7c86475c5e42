package client

import (
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

// invoke makes the RPC of an operation on conn.
type invoke func(ctx context.Context, conn grpc.ClientConnInterface) error

// run tries call on one endpoint after the other until one of them settles it.
func (c *Client) run(ctx context.Context, op operation, call invoke) error {
	if !utf8.ValidString(op.service) {
		return op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	ctx, done := c.begin(ctx)
	defer done()
	var latest *Error // of the failures that were not the end of ctx
	for round := 0; ; round++ {
		var (
			failures []*Error
			reached  bool          // an endpoint could be connected to
			settled  *Error        // an answer that another round would not change
			worth    bool          // of another round
			hint     time.Duration // a node's wish
		)
		for _, e := range c.order() {
			if cause := c.over(ctx); cause != nil {
				return op.ended(cause, latest)
			}
			t := c.try(ctx, e, op, round, call)
			if t.err == nil {
				c.prefer(e)
				return nil
			}
			v, w := op.judge(t)
			f := op.failed(e, t.err, w)
			cause := c.over(ctx)
			c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "an endpoint did not settle a call", slog.String("endpoint", e.address), slog.Any("error", f))
			switch {
			case cause != nil && (v != stands || t.unsent):
				if latest == nil {
					latest = f
				}
				return op.ended(cause, latest)
			case v == stands:
				if !t.unsent {
					c.learn(e, f, cause)
				}
				return f.because(cause)
			}
			latest = f
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
		if !reached {
			return op.unanswered(failures)
		}
		if !worth {
			return settled
		}
		pause(ctx, max(wait(round), min(hint, pauseMax)))
	}
}

// try makes one attempt at e. What it bounds depends: a read in all, a write only until it is sent,
// as giving up on it later would turn a slow success into an unknown outcome.
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
	within := bounded
	if op.write {
		within = ctx
	}
	tracked, t := track(within)
	err = call(tracked, conn)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
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
	case info.GetReason() == reasonUnknown || said == WrittenUnknown.String():
		return stands, WrittenUnknown
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
	return stands, WrittenUnknown
}

// learn makes later calls start where this one was answered, and not where it was left waiting.
func (c *Client) learn(e *endpoint, f *Error, cause error) {
	if f.Written != WrittenUnknown {
		c.prefer(e)
		return
	}
	// A caller who went away says nothing about the endpoint.
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
