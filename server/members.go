package server

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// This file holds the calls of rollcall.v1.Cluster that change who belongs to the cluster. What can only be seen from
// outside of the log (who answers at an address, whether a quorum would be left) is checked here, on the node that was
// called. Then the change goes the way of all changes, and the fold decides.

// AddMember implements rollcall.v1.Cluster.
func (s *clusterService) AddMember(ctx context.Context, req *rollcallv1.AddMemberRequest) (res *rollcallv1.AddMemberResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.AddMember", true, &err)
	c, err := s.beginMemberChange(ctx, req, validateAddMember(req))
	if err != nil {
		return nil, err
	}
	defer c.end()
	m, f := s.whoToAdd(ctx, c, req)
	if f != nil {
		return nil, rpcerror.ToStatus(s.node, f)
	}
	made, err := c.propose(ctx, req, logv1.AddMemberCommand(m))
	if err != nil {
		if reasonOf(err) == rpcerror.ReasonMemberExists {
			err = s.nameTaken(ctx, c, req, err)
		}
		return nil, err
	}
	return &rollcallv1.AddMemberResponse{Member: c.shown(made.record), Revision: made.revision}, nil
}

// RemoveMember implements rollcall.v1.Cluster.
func (s *clusterService) RemoveMember(ctx context.Context, req *rollcallv1.RemoveMemberRequest) (res *rollcallv1.RemoveMemberResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.RemoveMember", true, &err)
	c, err := s.beginMemberChange(ctx, req, validateRemoveMember(req))
	if err != nil {
		return nil, err
	}
	defer c.end()
	var silent map[string]string
	if !req.GetForce() {
		silent = s.silent(ctx, c.otherVoters(req.GetName()))
	}
	if f := c.checkLoss(req.GetName(), "remove", req.GetForce(), silent); f != nil {
		return nil, rpcerror.ToStatus(s.node, f)
	}
	made, err := c.propose(ctx, req, logv1.RemoveMemberCommand(req.GetName(), c.known(req.GetName()).GetDirectoryId(), req.GetForce()))
	if err != nil {
		return nil, err
	}
	return &rollcallv1.RemoveMemberResponse{Member: c.left(req.GetName(), made.record), Revision: made.revision}, nil
}

// ReplaceMember implements rollcall.v1.Cluster.
func (s *clusterService) ReplaceMember(ctx context.Context, req *rollcallv1.ReplaceMemberRequest) (res *rollcallv1.ReplaceMemberResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.ReplaceMember", true, &err)
	c, err := s.beginMemberChange(ctx, req, validateReplaceMember(req))
	if err != nil {
		return nil, err
	}
	defer c.end()
	r, f := s.whoReplaces(ctx, c, req)
	if f != nil {
		return nil, rpcerror.ToStatus(s.node, f)
	}
	made, err := c.propose(ctx, req, logv1.ReplaceMemberCommand(r.member, c.known(req.GetName()).GetDirectoryId(), req.GetForce()))
	if err != nil {
		if r.otherwise != nil && reasonOf(err) == rpcerror.ReasonMemberExists {
			return nil, rpcerror.ToStatus(s.node, r.otherwise)
		}
		return nil, err
	}
	return &rollcallv1.ReplaceMemberResponse{Member: c.shown(made.record), Revision: made.revision}, nil
}

// PromoteMember implements rollcall.v1.Cluster.
func (s *clusterService) PromoteMember(ctx context.Context, req *rollcallv1.PromoteMemberRequest) (res *rollcallv1.PromoteMemberResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.PromoteMember", true, &err)
	c, err := s.beginMemberChange(ctx, req, validatePromoteMember(req))
	if err != nil {
		return nil, err
	}
	defer c.end()
	made, err := c.propose(ctx, req, logv1.PromoteMemberCommand(req.GetName()))
	if err != nil {
		return nil, err
	}
	return &rollcallv1.PromoteMemberResponse{Member: c.shown(made.record), Revision: made.revision}, nil
}
