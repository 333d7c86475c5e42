package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Forwarder sends a command one hop, to the leader. The other side (Receiver) never forwards.
type Forwarder struct {
	pool    *peerconn.Pool
	leaders leadership
	timeout time.Duration // the most that a small forwarded call may work
	limit   int           // of the commands on their way to one member

	mu      sync.Mutex // guards streams
	streams map[*peerconn.Conn]*Stream
}

// NewForwarder returns a Forwarder over the connections of pool. Calls to a member end soon when leaders tells of another
// leader. A forwarded call works for timeout at
// most, and for longer if it is large or behind large ones (deadline.Transfer). At most limit of them are on
// their way to one member.
func NewForwarder(pool *peerconn.Pool, leaders leadership, timeout time.Duration, limit int) *Forwarder {
	return &Forwarder{pool: pool, leaders: leaders, timeout: timeout, limit: limit, streams: make(map[*peerconn.Conn]*Stream)}
}

// stream returns the forward stream on conn, which leads to member.
func (f *Forwarder) stream(member string, conn *peerconn.Conn) *Stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.streams[conn]
	if s == nil {
		s = NewStream(conn, f.limit, func(ctx context.Context, giveUp func()) { watchLeader(ctx, f.leaders, member, giveUp) })
		f.streams[conn] = s
	}
	return s
}

// Close waits until no stream runs. The pool must be closed before.
func (f *Forwarder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.streams {
		s.Close()
	}
}

// propose fails with NotWritten only if the command was never handed to a ready connection, or if the leader
// says so itself. After that the outcome is unknown unless the leader tells it, because gRPC's UNAVAILABLE
// does not say whether the request had left. It waits for the connection until patience ends or leadership
// has changed.
func (f *Forwarder) propose(ctx, patience context.Context, changed <-chan struct{}, leader string, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	conn, err := f.pool.Get(leader)
	if err != nil {
		return nil, rpcerror.NotWritten("leader %s cannot be reached: %w", leader, err)
	}
	if conn.GetState() != connectivity.Ready {
		wait, done := peerconn.EndedBy(patience, changed)
		err = conn.Ready(wait, false)
		done()
	}
	if err != nil {
		return nil, rpcerror.NotWritten("leader %s cannot be reached: %s", leader, peerconn.Describe(err))
	}
	within := f.timeout
	var latest time.Time
	if at, ok := ctx.Deadline(); ok {
		left := time.Until(at)
		left -= deadline.Margin(left)
		within, latest = min(within, left), time.Now().Add(left)
	} else if at, ok := patience.Deadline(); ok {
		within = min(within, time.Until(at))
	}
	if within <= 0 {
		return nil, rpcerror.NotWritten("no time is left to ask leader %s", leader)
	}
	res, sent, err := f.stream(leader, conn).Do(ctx, &peerv1.ForwardedCommand{Command: cmd, ValidateOnly: validateOnly}, within, latest)
	return (&callResult{res, err, sent}).outcome(leader)
}

// start sends the commands of calls, which belong to one Calls, to the leader at once. It returns those that it did not take, because it would
// have to wait for a connection first, or because check refuses them.
func (f *Forwarder) start(leader string, calls []*Call, check func(*logv1.Command) error) (left []*Call) {
	conn, err := f.pool.Get(leader)
	if err != nil || conn.GetState() != connectivity.Ready {
		return calls
	}
	now := time.Now()
	pending := make([]*pendingCall, 0, len(calls))
	for _, c := range calls {
		latest := answerBy(now, c.Deadline)
		if c.ValidateOnly || !latest.After(now) || check(c.Command) != nil {
			left = append(left, c)
			continue
		}
		c.leader = leader
		call := &pendingCall{
			command: &peerv1.ForwardedCommand{Command: c.Command}, proposal: &c.proposal,
			within: min(f.timeout, latest.Sub(now)), latest: latest,
		}
		call.size = call.command.SizeVT()
		pending = append(pending, call)
	}
	f.stream(leader, conn).start(pending)
	calls[0].calls.forwarded(pending)
	return left
}

// outcome is the leader's answer to a command, or a failure that says what is known of the outcome.
func (r *callResult) outcome(leader string) (*logv1.Result, error) {
	var full fullError
	switch res, err := r.result, r.err; {
	case errors.As(err, &full):
		return nil, full
	case err != nil && !r.sent:
		return nil, rpcerror.NotWritten("leader %s cannot be reached: %s", leader, peerconn.Describe(err))
	case err != nil:
		st, ok := status.FromError(err)
		if !ok {
			st = status.FromContextError(err)
		}
		return nil, forwarded(leader, st)
	case res.GetResult() != nil:
		return res.GetResult(), nil
	}
	var failed spb.Status
	if failure := r.result.GetFailure(); len(failure) == 0 || proto.Unmarshal(failure, &failed) != nil {
		return nil, rpcerror.OutcomeUnknown("leader %s answered without a result", leader)
	}
	return nil, forwarded(leader, status.FromProto(&failed))
}

// forwarded is the outcome of a command that was sent to the leader and failed. It is unknown unless the
// leader itself said more, with an ErrorInfo of ours.
func forwarded(leader string, st *status.Status) error {
	info := rpcerror.InfoOf(st)
	if info.GetMetadata()[rpcerror.MetaWritten] != rpcerror.WrittenNo {
		err := fmt.Errorf("the call to leader %s: %s", leader, st.Message())
		switch st.Code() {
		case codes.DeadlineExceeded:
			return rpcerror.OutcomeUnknown("%w: %w", err, context.DeadlineExceeded)
		case codes.Canceled:
			return rpcerror.OutcomeUnknown("%w: %w", err, context.Canceled)
		}
		return rpcerror.OutcomeUnknown("%w", err)
	}
	f := &rpcerror.Failure{Reason: info.GetReason(), Message: st.Message(), Meta: info.GetMetadata(), Code: st.Code(), Err: st.Err()}
	for _, d := range st.Details() {
		if m, ok := d.(protoadapt.MessageV1); ok && d != any(info) {
			f.Details = append(f.Details, m)
		}
	}
	return f
}
