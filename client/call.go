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
	backoffBase      = 50 * time.Millisecond
	backoffMax       = time.Second
	maxTimeoutFactor = 5 // an attempt may take at most so many times AttemptTimeout
	// leastTry is the least time in which another try of a write is begun, when a node refused the one
	// before it as not written. In less, the answer might come too late, and the outcome would be unknown for nothing.
	leastTry = 25 * time.Millisecond
	// repeatFor is how long after its first try a write of unknown outcome is tried again. Nodes remember
	// its request id for ten minutes; after that a try would be a write of its own. The rest of the ten
	// minutes is for clocks that differ and for a try that is slow.
	repeatFor = 5 * time.Minute
)

// try is how one attempt at one endpoint failed.
type try struct {
	err    error
	unsent bool // surely
	stuck  bool // it was not sent because others waited to be sent before it, to a node that is connected
}

// unknownOutcome is the first try of a write that may have been done; err is nil if there was none. From
// then on only an answer that all tries of the request would get settles what became of it.
type unknownOutcome struct {
	err   *Error
	since time.Time // when the try began
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

// invoke makes the RPC of an operation on conn.
type invoke func(ctx context.Context, conn grpc.ClientConnInterface) error

// run makes a call. If it fails with ErrClusterChanged, the client belongs to the other cluster from then on:
// the caller is told so by the error.
func (c *Client) run(ctx context.Context, op operation, call invoke) error {
	err := c.tryEndpoints(ctx, op, call)
	if err == nil {
		return nil
	}
	if err.Reason == ReasonClusterChanged {
		c.adoptCluster(err.ClusterID)
	}
	return err
}

// tryEndpoints tries call at one endpoint after the other until one of them settles it.
func (c *Client) tryEndpoints(ctx context.Context, op operation, call invoke) *Error {
	if !utf8.ValidString(op.service) {
		return op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	endpoints, chosen, bad := c.order(ctx, op)
	if bad != nil {
		return bad
	}
	ctx, done := c.begin(ctx)
	defer done()
	var latest *Error // of the failures that were not the end of ctx: a node's answer if there is one
	var unknown unknownOutcome
	for round := 0; ; round++ {
		var (
			failures []*Error
			reached  bool          // an endpoint could be connected to
			settled  *Error        // an answer that another round would not change
			worth    bool          // of another round
			hint     time.Duration // how long a node asked to be left alone
		)
		if !chosen && round > 0 {
			endpoints, _, _ = c.order(ctx, op)
		}
		for _, e := range endpoints {
			cause := c.over(ctx)
			switch {
			case unknown.err != nil && (cause != nil || unknown.expired()):
				return unknown.ended(op, cause)
			case cause != nil:
				return op.ended(cause, latest)
			case op.write && unknown.err == nil && latest != nil && latest.Reason == reasonNotWritten && endsWithin(ctx, leastTry):
				return op.ended(context.DeadlineExceeded, latest)
			}
			if unknown.err != nil && op.cluster == "" {
				op.cluster = c.Cluster() // only this cluster remembers the request id
			}
			begun := time.Now()
			t := c.try(ctx, e, op, round, call)
			if t.err == nil {
				if !chosen {
					c.prefer(e)
				}
				return nil
			}
			v, w := op.judge(t)
			f := op.failed(e, t.err, w)
			cause = c.over(ctx)
			c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "an endpoint did not settle a call", slog.String("endpoint", e.address), slog.Any("error", f))
			if w == WrittenUnknown || t.stuck {
				c.leave(e, cause)
			}
			if w == WrittenUnknown && unknown.err == nil {
				unknown = unknownOutcome{f, begun}
			}
			switch {
			case unknown.err == f && cause != nil:
				return f.because(cause)
			case unknown.err != nil && v == verdictFinal && !decides(f):
				// It is said of this try alone, and another try would get the same.
				return unknown.addAnswer(f).because(cause)
			case unknown.err != nil && cause != nil && v != verdictFinal:
				return unknown.ended(op, cause)
			case cause != nil && (v != verdictFinal || t.unsent):
				if latest == nil {
					latest = f
				}
				return op.ended(cause, latest)
			case v == verdictFinal:
				if !t.unsent && !chosen {
					c.prefer(e)
				}
				return f.because(cause)
			}
			// What a node says tells more than that another cannot be reached.
			if latest == nil || f.Reason != "" || latest.Reason == "" {
				latest = f
			}
			failures = append(failures, f)
			if v == verdictUnsent {
				continue
			}
			reached = true
			if v == verdictRetry {
				worth = true
			} else {
				settled = f
			}
			hint = max(hint, retryDelay(t.err))
		}
		switch {
		case reached && !worth && unknown.err != nil:
			if settled != unknown.err {
				unknown.addAnswer(settled)
			}
			return unknown.err
		case reached && !worth:
			return settled
		case !reached && unknown.err == nil:
			return op.unanswered(failures)
		}
		pause(ctx, max(roundPause(round), min(hint, backoffMax)))
	}
}

// try makes one attempt at e, bounded in time. A write that is given up may still be done, and the next try
// of it then gets its answer.
func (c *Client) try(ctx context.Context, e *endpoint, op operation, round int, call invoke) try {
	timeout := c.attemptTimeout(round)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := e.connect(bounded)
	if err != nil {
		if bounded.Err() != nil && ctx.Err() == nil {
			err = status.Error(codes.Unavailable, fmt.Sprintf("no connection within %v", timeout))
		}
		return try{err: err, unsent: true}
	}
	t, done := try{}, false
	if op.streamed != nil {
		// A write that is alone is a call of its own, which is as fast and leaves nothing open.
		if e.writes.Begin() {
			t, done = e.tryStream(bounded, op)
		}
		defer e.writes.End()
	}
	if !done {
		tracked, sends := track(withCluster(bounded, op.cluster))
		t.err = call(tracked, conn)
		t.unsent = sends.unsent()
	}
	if t.err != nil && bounded.Err() != nil && ctx.Err() == nil && errorInfo(status.Convert(t.err)) == nil {
		t.err = status.Error(codes.DeadlineExceeded, fmt.Sprintf("no answer within %v", timeout))
	}
	return t
}

// endsWithin reports whether the deadline of ctx is less than d away.
func endsWithin(ctx context.Context, d time.Duration) bool {
	at, ok := ctx.Deadline()
	return ok && time.Until(at) < d
}

// attemptTimeout is how long an attempt may take in a round, or a watch until its first message.
func (c *Client) attemptTimeout(round int) time.Duration {
	return c.cfg.AttemptTimeout * time.Duration(min(round+1, maxTimeoutFactor))
}

// leave makes later calls start at another endpoint than the one that left this call waiting. If the caller
// went away, that says nothing about the endpoint.
func (c *Client) leave(e *endpoint, cause error) {
	if cause == nil || errors.Is(cause, context.DeadlineExceeded) {
		c.avoid(e)
	}
}

// roundPause returns the pause after a round. It grows, and is random so that clients do not retry together.
func roundPause(round int) time.Duration {
	d := min(backoffBase<<min(round, 10), backoffMax)
	return d/2 + rand.N(d/2)
}

// retryDelay returns how long a node asks to be left alone; 0 if it does not ask.
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
