package server

import (
	"context"
	"log/slog"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// peerService is rollcall.peer.v1.Peer, what followers ask of a leader. It never forwards and never
// tries again: that is left to the node that the client called.
type peerService struct {
	peerv1.UnimplementedPeerServer
	router    *router
	freshness *freshness
	replica   Replica         // nil: knows no state hashes
	ending    context.Context // ends when streams are to
	log       *slog.Logger
}

// ReadIndex implements rollcall.peer.v1.Peer. A node that stops still answers: while it leads, nobody
// else can.
func (s *peerService) ReadIndex(ctx context.Context, _ *peerv1.ReadIndexRequest) (res *peerv1.ReadIndexResponse, err error) {
	node := s.router.node
	defer recovered(s.log, node, "Peer.ReadIndex", false, &err)
	s.router.termBegun(ctx)
	index, err := s.freshness.leading.do(ctx)
	if err != nil {
		return nil, statusError(node, &failure{reason: ReasonNotFresh, msg: err.Error(), err: err})
	}
	return &peerv1.ReadIndexResponse{Index: index}, nil
}
