package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
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

// invoke makes the RPC of an operation on conn. Two endpoints can be asked at the same time: it must change nothing
// that both would.
type invoke func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error)

// answer is what a node answered.
type answer struct {
	message         any         // what the RPC returned
	header, trailer metadata.MD // if the operation wants them
}

// try is what became of one attempt.
type try struct {
	answer
	err    error
	unsent bool // surely
	stuck  bool // it was not sent because others waited to be sent before it, to a node that is connected
	// credential is the generation of the token that it carried; 0: none.
	credential uint64
}

// run makes a call. If it fails with ErrClusterChanged, the client belongs to the other cluster from then on:
// the caller is told so by the error. With an error, the answer is the last one.
func (c *Client) run(ctx context.Context, op operation, call invoke) (answer, error) {
	if !utf8.ValidString(op.service) {
		return answer{}, op.error(codes.InvalidArgument, "the service's name is not valid UTF-8", nil)
	}
	endpoints, chosen, bad := c.order(ctx)
	if bad != nil {
		return answer{}, op.error(codes.InvalidArgument, bad.Error(), nil)
	}
	ctx, done := c.begin(ctx)
	defer done()
	p := &pursuit{c: c, ctx: ctx, op: op, call: call, round: round{endpoints: endpoints}, chosen: chosen}
	p.out = p.place[:0]
	err := p.alone()
	if err == nil {
		return p.answer, nil
	}
	if err.Reason == ReasonClusterChanged {
		c.adoptCluster(err.ClusterID)
	}
	return p.answer, err
}

// attempt is one try at one endpoint, bounded in time. A write that is given up may still be done, and the next try
// of it then gets its answer.
type attempt struct {
	e       *endpoint
	ctx     context.Context
	cancel  context.CancelFunc
	timeout time.Duration
	begun   time.Time
	cluster string // that the request is for; "": any
	heard   uint64 // what e.heard was when it began
}

// make makes an attempt. It changes nothing of p: others can be under way.
func (p *pursuit) make(a *attempt) try {
	conn, err := a.e.connect(a.ctx)
	if err != nil {
		if a.ctx.Err() != nil && p.ctx.Err() == nil {
			err = status.Error(codes.Unavailable, fmt.Sprintf("no connection within %v", a.timeout))
		}
		return try{err: err, unsent: true}
	}
	t, done := try{}, false
	if p.op.streamed != nil {
		// A write that is alone is a call of its own, which is as fast and leaves nothing open.
		if a.e.writes.Begin() {
			t, done = a.e.tryStream(a.ctx, p.op.streamed, a.cluster)
		}
		defer a.e.writes.End()
	}
	if !done {
		tracked, sends := track(withCluster(a.ctx, a.cluster))
		if p.op.headers {
			// gRPC sends the headers of an error in a trailer.
			t.message, t.err = p.call(tracked, conn, grpc.Header(&t.header), grpc.Trailer(&t.trailer))
		} else {
			t.message, t.err = p.call(tracked, conn)
		}
		t.unsent, t.credential = sends.unsent(), sends.credential.Load()
	}
	if t.err == nil || errorInfo(status.Convert(t.err)) != nil {
		a.e.noteHeard()
	} else if a.ctx.Err() != nil && p.ctx.Err() == nil {
		t.err = status.Error(codes.DeadlineExceeded, fmt.Sprintf("no answer within %v", a.timeout))
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
