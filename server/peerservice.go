package server

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/freshness"
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
	replica   Replica // nil: knows no state hashes
	log       *slog.Logger
}

// Forward implements rollcall.peer.v1.Peer.
func (s *peerService) Forward(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	return s.receiver.Serve(stream)
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
