package server

import (
	"context"
	"fmt"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// forwarder sends a command one hop, to the leader. The other side (peerService) never forwards.
type forwarder struct {
	pool    *peerPool
	timeout time.Duration // the most a forwarded call may work
}

// propose fails with NotWritten only for what happened before the call was handed to a ready
// connection, or what the leader itself says. Everything after that is unknown unless the leader
// says otherwise: gRPC's UNAVAILABLE does not tell whether the request had left. It waits for the
// connection until patience ends or leadership has changed.
func (f *forwarder) propose(ctx, patience context.Context, changed <-chan struct{}, leader string, cmd *logv1.Command, validateOnly bool) (*logv1.Result, error) {
	conn, err := f.pool.get(leader)
	if err != nil {
		return nil, notWritten("leader %s cannot be reached: %w", leader, err)
	}
	if conn.GetState() != connectivity.Ready {
		wait, done := endedBy(patience, changed)
		err = conn.ready(wait, false)
		done()
	}
	if err != nil {
		return nil, notWritten("leader %s cannot be reached: %s", leader, inWords(err))
	}
	work := f.timeout
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		work = min(work, left-answerMargin(left))
	}
	if work <= 0 {
		return nil, notWritten("no time is left to ask leader %s", leader)
	}
	res, sent, err := conn.line.do(ctx, &peerv1.ForwardedCommand{Command: cmd, ValidateOnly: validateOnly}, time.Now().Add(work))
	switch {
	case err != nil && !sent:
		return nil, notWritten("leader %s cannot be reached: %s", leader, inWords(err))
	case err != nil:
		st, ok := status.FromError(err)
		if !ok {
			st = status.FromContextError(err)
		}
		return nil, forwarded(leader, st)
	case res.GetResult() != nil:
		return res.GetResult(), nil
	}
	var failure spb.Status
	if len(res.GetFailure()) == 0 || proto.Unmarshal(res.GetFailure(), &failure) != nil {
		return nil, outcomeUnknown("leader %s answered without a result", leader)
	}
	return nil, forwarded(leader, status.FromProto(&failure))
}

// forwarded is the outcome of a command that was sent to the leader and failed. Only the leader's own
// word, an ErrorInfo of ours, counts as more than unknown.
func forwarded(leader string, st *status.Status) error {
	info := errorInfo(st)
	if info.GetMetadata()[MetaWritten] != WrittenNo {
		err := fmt.Errorf("the call to leader %s: %s", leader, st.Message())
		switch st.Code() {
		case codes.DeadlineExceeded:
			return outcomeUnknown("%w: %w", err, context.DeadlineExceeded)
		case codes.Canceled:
			return outcomeUnknown("%w: %w", err, context.Canceled)
		}
		return outcomeUnknown("%w", err)
	}
	f := &failure{reason: info.GetReason(), msg: st.Message(), meta: info.GetMetadata(), code: st.Code(), err: st.Err()}
	for _, d := range st.Details() {
		if m, ok := d.(protoadapt.MessageV1); ok && d != any(info) {
			f.details = append(f.details, m)
		}
	}
	return f
}
