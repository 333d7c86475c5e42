package main

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeMembers is what a fake knows of changes of members; its mutex guards it. Who is a member stands in the status.
type fakeMembers struct {
	asked []proto.Message // requests, in order
	steps []fakeStep      // what comes next: one before each answer of GetStatus
}

// fakeStep changes what a fake says of its members, or returns the error of GetStatus.
type fakeStep func(f *fake) error

// phase is a step: a member is in a phase.
func phase(name string, p rollcallv1.MemberPhase, detail string) fakeStep {
	return func(f *fake) error {
		if m := f.memberOf(name); m != nil {
			m.Phase, m.PhaseDetail, m.Voter = p, detail, p == voter
		}
		return nil
	}
}

// ready is a step: a member has caught up and answers.
func ready(name string) fakeStep {
	return func(f *fake) error {
		for _, m := range f.status.Members {
			if m.GetMember().GetName() == name {
				m.Ready, m.Revision = true, f.revision
			}
		}
		return nil
	}
}

// without is a step: the cluster does without a member.
func without(name string) fakeStep {
	return func(f *fake) error {
		f.status.Members = slices.DeleteFunc(f.status.Members, func(m *rollcallv1.MemberStatus) bool { return m.GetMember().GetName() == name })
		return nil
	}
}

func unanswering(code codes.Code, message string) fakeStep {
	return func(*fake) error { return refusal(code, "", message, nil) }
}

const (
	joining = rollcallv1.MemberPhase_MEMBER_PHASE_JOINING
	voter   = rollcallv1.MemberPhase_MEMBER_PHASE_VOTER
	replica = rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	leaving = rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING
)

// startMembers gives a fake three voters, and what comes after the next change.
func (f *fake) startMembers(steps ...fakeStep) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = &rollcallv1.GetStatusResponse{ClusterId: "3f9ac2d18e6b4f05", Node: "n1", Leader: "n1", Term: 2, Writable: true}
	for i, name := range []string{"n1", "n2", "n3"} {
		f.status.Members = append(f.status.Members, &rollcallv1.MemberStatus{Ready: true, Role: rollcallv1.Role_ROLE_FOLLOWER, Member: &rollcallv1.Member{
			Name: name, ApiAddress: "127.0.0.1:76" + string(rune('0'+i)) + "0", PeerAddress: "127.0.0.1:76" + string(rune('0'+i)) + "1",
			Voter: true, Phase: voter, DirectoryId: "d1r" + name + "00",
		}})
	}
	f.status.Members[0].Role = rollcallv1.Role_ROLE_LEADER
	f.members = fakeMembers{steps: steps}
}

func (f *fake) memberOf(name string) *rollcallv1.Member {
	for _, m := range f.status.Members {
		if m.GetMember().GetName() == name {
			return m.Member
		}
	}
	return nil
}

// statusNow is the answer of GetStatus; f.mu is held.
func (f *fake) statusNow() (*rollcallv1.GetStatusResponse, error) {
	if len(f.members.asked) > 0 && len(f.members.steps) > 0 {
		step := f.members.steps[0]
		f.members.steps = f.members.steps[1:]
		if err := step(f); err != nil {
			return nil, err
		}
	}
	s := proto.CloneOf(f.status)
	if len(f.members.asked) > 0 {
		s.Revision = f.revision
	}
	return s, f.noStatus
}

// changes begins a change of a member.
func (f *fake) changes(req proto.Message, validateOnly bool) error {
	f.members.asked = append(f.members.asked, req)
	if f.refuse != nil || validateOnly {
		return f.refuse
	}
	f.revision++
	return nil
}

func (f *fake) AddMember(_ context.Context, req *rollcallv1.AddMemberRequest) (*rollcallv1.AddMemberResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &rollcallv1.Member{Name: req.GetName(), PeerAddress: req.GetPeerAddress(), ApiAddress: "127.0.0.1:7630", Replica: req.GetReplica(), DirectoryId: "d1r" + req.GetName() + "00", Phase: joining}
	if err := f.changes(req, req.GetValidateOnly()); err != nil || req.GetValidateOnly() {
		return &rollcallv1.AddMemberResponse{Member: m}, err
	}
	f.status.Members = append(f.status.Members, &rollcallv1.MemberStatus{Member: proto.CloneOf(m), Role: rollcallv1.Role_ROLE_NON_VOTER})
	return &rollcallv1.AddMemberResponse{Member: m, Revision: f.revision}, nil
}

func (f *fake) RemoveMember(_ context.Context, req *rollcallv1.RemoveMemberRequest) (*rollcallv1.RemoveMemberResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.memberOf(req.GetName())
	if m == nil {
		return nil, refusal(codes.NotFound, "NOT_FOUND", req.GetName()+" is no member", map[string]string{"member": req.GetName(), "written": "no"})
	}
	m = proto.CloneOf(m)
	if err := f.changes(req, req.GetValidateOnly()); err != nil || req.GetValidateOnly() {
		return &rollcallv1.RemoveMemberResponse{Member: m}, err
	}
	f.memberOf(req.GetName()).Phase = leaving
	return &rollcallv1.RemoveMemberResponse{Member: m, Revision: f.revision}, nil
}

func (f *fake) ReplaceMember(_ context.Context, req *rollcallv1.ReplaceMemberRequest) (*rollcallv1.ReplaceMemberResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.memberOf(req.GetName())
	if err := f.changes(req, req.GetValidateOnly()); err != nil || req.GetValidateOnly() {
		return &rollcallv1.ReplaceMemberResponse{Member: m}, err
	}
	m.DirectoryId, m.Phase, m.Voter = "d2r"+req.GetName()+"00", joining, false
	return &rollcallv1.ReplaceMemberResponse{Member: proto.CloneOf(m), Revision: f.revision}, nil
}

func (f *fake) PromoteMember(_ context.Context, req *rollcallv1.PromoteMemberRequest) (*rollcallv1.PromoteMemberResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.memberOf(req.GetName())
	if !req.GetValidateOnly() && f.refuse == nil && m.GetPhase() == voter && !m.GetReplica() {
		return &rollcallv1.PromoteMemberResponse{Member: proto.CloneOf(m), Revision: f.revision}, nil // nothing changes
	}
	if err := f.changes(req, req.GetValidateOnly()); err != nil || req.GetValidateOnly() {
		return &rollcallv1.PromoteMemberResponse{Member: m}, err
	}
	m.Replica, m.Phase = false, joining
	return &rollcallv1.PromoteMemberResponse{Member: proto.CloneOf(m), Revision: f.revision}, nil
}

func (f *fake) TransferLeadership(_ context.Context, req *rollcallv1.TransferLeadershipRequest) (*rollcallv1.TransferLeadershipResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	to := req.GetTo()
	if to == "" {
		to = "n2"
	}
	f.status.Leader = to
	f.status.Term++
	return &rollcallv1.TransferLeadershipResponse{Leader: to, Term: f.status.Term}, nil
}
