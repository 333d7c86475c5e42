package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// HashAt implements rollcall.peer.v1.Peer.
func (s *peerService) HashAt(ctx context.Context, req *peerv1.HashAtRequest) (res *peerv1.HashAtResponse, err error) {
	defer recovered(s.log, s.router.node, "Peer.HashAt", false, &err)
	if s.replica == nil {
		return s.UnimplementedPeerServer.HashAt(ctx, req)
	}
	own := s.replica.HashAt(req.GetIndex())
	if own == nil {
		return &peerv1.HashAtResponse{}, nil
	}
	theirs := req.GetOwn()
	if theirs.GetVersion() == own.GetVersion() && theirs.GetIndex() == own.GetIndex() && string(theirs.GetHash()) != string(own.GetHash()) {
		s.replica.Suspect(req.GetIndex(), req.GetNode())
	}
	return &peerv1.HashAtResponse{Known: true, Version: own.GetVersion(), Hash: own.GetHash()}, nil
}

// AskHash asks another member for its state hash after the log entry at index. own is this node's,
// nil if it does not know or should not say. The answer is nil if the member does not know.
func (s *Server) AskHash(ctx context.Context, member string, index uint64, own *logv1.StateHash) (*logv1.StateHash, error) {
	conn, err := s.pool.get(member)
	if err == nil {
		err = conn.ready(ctx, true)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", member, inWords(err))
	}
	res, err := peerv1.NewPeerClient(conn).HashAt(ctx, &peerv1.HashAtRequest{Index: index, Node: s.cfg.Node, Own: own})
	switch st := status.Convert(err); {
	case st.Code() == codes.DeadlineExceeded:
		return nil, fmt.Errorf("%s: no answer", member)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", member, errors.New(st.Message()))
	case !res.GetKnown():
		return nil, nil
	}
	return &logv1.StateHash{Version: res.GetVersion(), Index: index, Hash: res.GetHash()}, nil
}
