package client_test

import (
	"context"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// The fake takes every change of members, as a change that makes one event.

func (n *fakeNode) AddMember(ctx context.Context, req *rollcallv1.AddMemberRequest) (*rollcallv1.AddMemberResponse, error) {
	revision, err := n.change(ctx, "AddMember", req, req.GetValidateOnly(), nil, event{service: "member " + req.GetName()})
	return &rollcallv1.AddMemberResponse{Member: &rollcallv1.Member{Name: req.GetName()}, Revision: revision}, err
}

func (n *fakeNode) RemoveMember(ctx context.Context, req *rollcallv1.RemoveMemberRequest) (*rollcallv1.RemoveMemberResponse, error) {
	revision, err := n.change(ctx, "RemoveMember", req, req.GetValidateOnly(), nil, event{service: "member " + req.GetName()})
	return &rollcallv1.RemoveMemberResponse{Member: &rollcallv1.Member{Name: req.GetName()}, Revision: revision}, err
}

func (n *fakeNode) ReplaceMember(ctx context.Context, req *rollcallv1.ReplaceMemberRequest) (*rollcallv1.ReplaceMemberResponse, error) {
	revision, err := n.change(ctx, "ReplaceMember", req, req.GetValidateOnly(), nil, event{service: "member " + req.GetName()})
	return &rollcallv1.ReplaceMemberResponse{Member: &rollcallv1.Member{Name: req.GetName()}, Revision: revision}, err
}

func (n *fakeNode) PromoteMember(ctx context.Context, req *rollcallv1.PromoteMemberRequest) (*rollcallv1.PromoteMemberResponse, error) {
	revision, err := n.change(ctx, "PromoteMember", req, req.GetValidateOnly(), nil, event{service: "member " + req.GetName()})
	return &rollcallv1.PromoteMemberResponse{Member: &rollcallv1.Member{Name: req.GetName()}, Revision: revision}, err
}

func (n *fakeNode) TransferLeadership(ctx context.Context, req *rollcallv1.TransferLeadershipRequest) (*rollcallv1.TransferLeadershipResponse, error) {
	if err := n.enter(ctx, "TransferLeadership", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	onWrite, calls := n.onWrite, len(n.calls)
	n.cluster.mu.Unlock()
	if onWrite != nil {
		if err := onWrite(ctx, calls); err != nil {
			return nil, err
		}
	}
	return &rollcallv1.TransferLeadershipResponse{Leader: req.GetTo(), Term: 8}, nil
}
