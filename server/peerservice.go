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
	replica   Replica // nil: knows no state hashes
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

// Propose implements rollcall.peer.v1.Peer.
func (s *peerService) Propose(ctx context.Context, req *peerv1.ProposeRequest) (res *peerv1.ProposeResponse, err error) {
	node := s.router.node
	defer recovered(s.log, node, "Peer.Propose", true, &err)
	if err := validateCommand(req.GetCommand()); err != nil {
		return nil, statusError(node, err)
	}
	if s.router.drains() {
		return nil, statusError(node, notWritten("node %s is stopping", node))
	}
	if s.router.gate.closed() != nil {
		return nil, statusError(node, notWritten("node %s has stopped serving", node))
	}
	if leader, leading := s.router.termBegun(ctx); !leading {
		switch leader {
		case "":
			err = notWritten("node %s does not lead and knows nobody who does", node)
		case node:
			err = notWritten("leader %s has not begun its term", node)
		default:
			err = notWritten("node %s does not lead, %s does", node, leader)
		}
		return nil, statusError(node, err)
	}
	result, err := s.router.here(ctx, req.GetCommand(), req.GetValidateOnly())
	if err != nil {
		return nil, statusError(node, changeFailure(err))
	}
	return &peerv1.ProposeResponse{Result: result}, nil
}
