package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// KeepAlive implements rollcall.v1.Admin. The stream goes on while nobody leads, and ends with UNAVAILABLE when
// the node stops or its registry is not the cluster's, so that clients move to another node.
func (a *admin) KeepAlive(stream grpc.BidiStreamingServer[rollcallv1.KeepAliveRequest, rollcallv1.KeepAliveResponse]) (err error) {
	defer rpcerror.Recovered(a.log, a.node, "Admin.KeepAlive", false, &err)
	if refusal := a.incoming.CheckCluster(stream.Context(), a.node, a.registry.ClusterID()); refusal != nil {
		return rpcerror.ToStatus(a.node, refusal)
	}
	caller, refusal := a.callers.Caller(stream.Context())
	var who *standing
	if refusal == nil {
		who, refusal = a.stand(caller)
	}
	if refusal != nil {
		return rpcerror.ToStatus(a.node, refusal)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	call := finisherOf(ctx)
	end := func(why error) {
		cancel(why)
		// The handler waits for the next message most of the time, and only the end of the call ends that. It does
		// nothing when the call has ended.
		if call != nil {
			_ = call.WriteStatus(status.Convert(rpcerror.ToStatus(a.node, why)))
		}
	}
	defer context.AfterFunc(a.ending, func() { end(rpcerror.ErrStopping) })()
	defer a.fence.OnRaise(end)()
	stop, f := a.recheck(ctx, caller, end)
	defer stop()
	if f != nil {
		return rpcerror.ToStatus(a.node, f)
	}
	if f := a.refusal(); f != nil {
		return rpcerror.ToStatus(a.node, f)
	}
	connection, _ := peer.FromContext(ctx)
	out := flowcontrol.NewAnswerSender(a.renewals, connection)
	defer out.Close()
	err = a.keepAlive(ctx, who, stream, out)
	// A stream that this node ended says why.
	if ended := (*rpcerror.Failure)(nil); errors.As(context.Cause(ctx), &ended) {
		err = ended
		if !out.Gone() {
			// The client does not read. The status would wait behind the answer that it leaves unread, and Stop
			// would wait for it.
			a.cutOff(stream.Context())
		}
	}
	return rpcerror.ToStatus(a.node, err)
}

// refusal returns why this node must not answer for the registry; nil if it may.
func (a *admin) refusal() *rpcerror.Failure {
	if f := a.fence.Refusal(); f != nil {
		return f
	}
	if a.registry.ClusterID() == "" {
		return rpcerror.NoCluster()
	}
	return nil
}

// keepAlive answers message after message until the client has sent its last one.
func (a *admin) keepAlive(ctx context.Context, who *standing, stream grpc.ServerStream, out *flowcontrol.AnswerSender) error {
	cluster := a.registry.ClusterID() // in the first message only
	// All messages of the stream are received into, and answered from, the same memory.
	req, answer := &rollcallv1.KeepAliveRequest{}, &keepAliveAnswer{}
	for {
		switch err := stream.RecvMsg(req); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := validateKeepAlive(req); err != nil {
			return err
		}
		if f := who.lost(); f != nil {
			return f
		}
		if f := out.Take(keepAliveBytes(req)); f != nil {
			return f
		}
		res := answer.renew(ctx, who, req)
		if err := ctx.Err(); err != nil {
			return err
		}
		res.ClusterId, cluster = cluster, ""
		if err := out.Send(ctx, stream, res); err != nil {
			return err
		}
	}
}

// keepAliveAnswer is the answer to a KeepAliveRequest.
type keepAliveAnswer struct {
	message    rollcallv1.KeepAliveResponse
	renewAfter durationpb.Duration
}

// renew renews the leases of a validated message. What it returns is valid until the next call. It changes req.
func (k *keepAliveAnswer) renew(ctx context.Context, who *standing, req *rollcallv1.KeepAliveRequest) *rollcallv1.KeepAliveResponse {
	mine, others := who.ownLeases(distinct(req.GetLeaseIds()))
	renewed, lost, waiting, again := who.renewer.Renew(ctx, mine)
	if len(others) > 0 {
		lost = slices.Concat(lost, others)
	}
	m := &k.message
	m.RenewedLeaseIds, m.LostLeaseIds, m.WaitingLeaseIds, m.RenewAfter = renewed, lost, waiting, nil
	if again > 0 {
		k.renewAfter.Seconds, k.renewAfter.Nanos = int64(again/time.Second), int32(again%time.Second)
		m.RenewAfter = &k.renewAfter
	}
	return m
}

// keepAliveBytes is about how many bytes a message and its answer hold until the answer has left.
func keepAliveBytes(req *rollcallv1.KeepAliveRequest) int {
	const each = 4 * 16 // headers of strings: of the message, of the round, of the answer; tags and lengths
	bytes := each * len(req.GetLeaseIds())
	for _, id := range req.GetLeaseIds() {
		bytes += 2 * len(id)
	}
	return bytes
}

// distinct removes from ids what repeats an earlier one. It changes ids.
func distinct(ids []string) []string {
	if len(ids) < 2 {
		return ids
	}
	known := make(map[string]struct{}, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if _, again := known[id]; !again {
			known[id] = struct{}{}
			kept = append(kept, id)
		}
	}
	return kept
}

// validateKeepAlive returns nil if nothing is wrong. A message without ids is answered: it shows that both sides
// live.
func validateKeepAlive(req *rollcallv1.KeepAliveRequest) error {
	var vs violations
	if n := len(req.GetLeaseIds()); n > limits.MaxRenewedAtOnce {
		vs.add("lease_ids", "has %d entries; at most %d are allowed, send several messages", n, limits.MaxRenewedAtOnce)
		return rpcerror.Invalid(vs...)
	}
	for i, id := range req.GetLeaseIds() {
		if id != "" && limits.LeaseID(id) == nil {
			continue
		}
		vs.requiredLease("lease_ids["+strconv.Itoa(i)+"]", id)
		if len(vs) > rpcerror.MaxViolations {
			break
		}
	}
	if len(vs) > 0 {
		return rpcerror.Invalid(vs...)
	}
	return nil
}
