package server

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// peerService implements rollcall.peer.v1.Peer: it answers other members. It never forwards and never tries
// again. The node that the client called does both.
type peerService struct {
	peerv1.UnimplementedPeerServer
	node      string
	router    *forward.Router
	receiver  *forward.Receiver
	freshness *freshness.Tracker
	lessor    Lessor
	replica   Replica // nil: knows no state hashes
	log       *slog.Logger
}

// Forward implements rollcall.peer.v1.Peer.
func (s *peerService) Forward(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	receiver := *s.receiver
	receiver.Validate = func(cmd *logv1.Command) error { return validateForwarded(peerconn.CallerOf(stream.Context()), cmd) }
	return receiver.Serve(stream)
}

// ReadIndex implements rollcall.peer.v1.Peer. A node that is stopping still answers, because as long as it
// leads no other node can.
func (s *peerService) ReadIndex(ctx context.Context, _ *peerv1.ReadIndexRequest) (res *peerv1.ReadIndexResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Peer.ReadIndex", false, &err)
	s.router.TermBegun(ctx)
	index, err := s.freshness.LeaderIndex(ctx)
	if err != nil {
		return nil, rpcerror.ToStatus(s.node, &rpcerror.Failure{Reason: rpcerror.ReasonNotFresh, Message: err.Error(), Err: err})
	}
	return &peerv1.ReadIndexResponse{Index: index}, nil
}

// Renew implements rollcall.peer.v1.Peer. A node that is stopping still renews, because as long as it leads no
// other node can.
func (s *peerService) Renew(ctx context.Context, req *peerv1.RenewRequest) (res *peerv1.RenewResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Peer.Renew", false, &err)
	if f := s.leads(ctx, len(req.GetLeaseIds())); f != nil {
		return nil, rpcerror.ToStatus(s.node, f)
	}
	lost, waiting, err := s.lessor.Renew(ctx, req.GetLeaseIds())
	if err != nil {
		return nil, rpcerror.ToStatus(s.node, &rpcerror.Failure{Reason: rpcerror.ReasonNoLeader, Message: err.Error(), Err: err})
	}
	return &peerv1.RenewResponse{LostLeaseIds: lost, WaitingLeaseIds: waiting}, nil
}

// LeaseTimes implements rollcall.peer.v1.Peer.
func (s *peerService) LeaseTimes(ctx context.Context, req *peerv1.LeaseTimesRequest) (res *peerv1.LeaseTimesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Peer.LeaseTimes", false, &err)
	if f := s.leads(ctx, len(req.GetLeaseIds())); f != nil {
		return nil, rpcerror.ToStatus(s.node, f)
	}
	times, err := s.lessor.Times(req.GetLeaseIds())
	if err != nil {
		return nil, rpcerror.ToStatus(s.node, &rpcerror.Failure{Reason: rpcerror.ReasonNoLeader, Message: err.Error(), Err: err})
	}
	return &peerv1.LeaseTimesResponse{Times: times}, nil
}

// leads says why this node cannot tell another member about so many leases; nil: it can, because it leads.
func (s *peerService) leads(ctx context.Context, ids int) *rpcerror.Failure {
	if ids > limits.MaxRenewedAtOnce {
		return rpcerror.Invalid(rpcerror.Violation{Field: "lease_ids", Description: fmt.Sprintf("has %d entries; at most %d are allowed", ids, limits.MaxRenewedAtOnce)})
	}
	if f := s.router.Fence.Refusal(); f != nil {
		return f
	}
	if leader, leading := s.router.TermBegun(ctx); !leading {
		return &rpcerror.Failure{Reason: rpcerror.ReasonNoLeader, Message: "node " + s.node + " does not lead; as far as it knows the leader is " + strconv.Quote(leader)}
	}
	return nil
}
