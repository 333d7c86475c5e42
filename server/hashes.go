package server

import (
	"context"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// HashAt implements rollcall.peer.v1.Peer.
func (s *peerService) HashAt(ctx context.Context, req *peerv1.HashAtRequest) (res *peerv1.HashAtResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Peer.HashAt", false, &err)
	if s.replica == nil {
		return s.UnimplementedPeerServer.HashAt(ctx, req)
	}
	newest, revision := s.replica.Held()
	res = &peerv1.HashAtResponse{Revision: revision, AppliedIndex: newest.GetIndex()}
	own := s.replica.HashAt(req.GetIndex())
	if own == nil {
		return res, nil
	}
	theirs := req.GetOwn()
	if theirs.GetVersion() == own.GetVersion() && theirs.GetIndex() == own.GetIndex() && string(theirs.GetHash()) != string(own.GetHash()) {
		s.replica.Suspect(req.GetIndex(), req.GetNode())
	}
	res.Known, res.Version, res.Hash = true, own.GetVersion(), own.GetHash()
	return res, nil
}

// AskHash asks another member for its state hash after the log entry at index. own is this node's state hash;
// nil if it does not know it or must not tell it. The answer is nil if the member does not know its own.
func (s *Server) AskHash(ctx context.Context, member string, index uint64, own *logv1.StateHash) (*logv1.StateHash, error) {
	res, err := askHash(ctx, s.pool, s.cfg.Node, member, index, own)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", member, err)
	case !res.GetKnown():
		return nil, nil
	}
	return &logv1.StateHash{Version: res.GetVersion(), Index: index, Hash: res.GetHash()}, nil
}
