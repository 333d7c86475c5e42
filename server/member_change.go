package server

import (
	"context"

	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// memberChange is a change of members on its way through this node. It is the only one: so what it was checked against
// is not changed by another one of this node meanwhile. Those of other nodes are left to the fold and to the leader.
type memberChange struct {
	service *clusterService
	caller  *authn.Caller
	// What this node knew after the call began, by which time it knew of every change that was acknowledged before.
	records  map[string]*logv1.Member
	founders map[string]*logv1.Member
	status   NodeStatus
}

// needsCluster refuses at once what a node cannot do that belongs to no cluster yet: another one can.
func (s *clusterService) needsCluster() error {
	if s.source.NodeStatus().Formed {
		return nil
	}
	return rpcerror.NotWritten("node %s belongs to no cluster yet; ask a member", s.node)
}

// beginMemberChange lets a change of members in: its caller must be allowed to make it, and the request valid, before
// anybody is asked anything on its behalf. The error is a status. Without one, end must be called.
func (s *clusterService) beginMemberChange(ctx context.Context, req changeRequest, invalid error) (*memberChange, error) {
	caller, err := s.changes.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.reads.deny(s.reads.access.Of(caller).Denied(access.Cluster)); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	if invalid != nil {
		return nil, rpcerror.ToStatus(s.node, invalid)
	}
	if err := s.needsCluster(); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	wait, cancel := deadline.Answerable(ctx, s.changes.router.Timeout)
	defer cancel()
	select {
	case s.changing <- struct{}{}:
	case <-wait.Done():
		return nil, rpcerror.ToStatus(s.node, rpcerror.NotWritten("another change of members is under way on node %s", s.node))
	}
	c := &memberChange{service: s, caller: caller}
	if err := s.reads.Tracker.Confirm(wait); err != nil {
		c.end()
		return nil, rpcerror.ToStatus(s.node, rpcerror.NotWritten("node %s could not make sure that it knows the newest members: %w", s.node, err))
	}
	c.records, c.founders, c.status = s.members.MemberRecords(), s.members.SilentFounders(), s.source.NodeStatus()
	return c, nil
}

func (c *memberChange) end() { <-c.service.changing }

// known returns what this node knows of a member; nil: there is no such member.
func (c *memberChange) known(name string) *logv1.Member {
	if m := c.records[name]; m != nil {
		return m
	}
	return c.founders[name]
}

// memberChanged is what became of a change of members.
type memberChanged struct {
	record   *logv1.Member // after the change; of a member that is removed, before it; nil: there was none
	revision int64
}

// propose routes the command, which has no actor yet. The error is a status.
func (c *memberChange) propose(ctx context.Context, req changeRequest, what *logv1.Command) (memberChanged, error) {
	s := c.service
	cmd := command(c.caller, req)
	cmd.Kind = what.GetKind()
	result, err := s.changes.propose(ctx, cmd, req.GetValidateOnly())
	if err != nil {
		return memberChanged{}, err
	}
	made := memberChanged{revision: result.GetRevision()}
	if record := (accessChange{result}).record(logv1.Kind_KIND_MEMBER); len(record.GetValue()) > 0 {
		made.record = new(logv1.Member)
		if err := made.record.UnmarshalVT(record.GetValue()); err != nil {
			return memberChanged{}, rpcerror.ToStatus(s.node, rpcerror.OutcomeUnknown("the leader's answer cannot be read: %w", err))
		}
	}
	return made, nil
}

// shown is a member as a change leaves it. Raft's configuration follows.
func (c *memberChange) shown(m *logv1.Member) *rollcallv1.Member {
	shown := memberOfRecord(m)
	shown.Phase = rollcallv1.MemberPhase_MEMBER_PHASE_JOINING
	now := memberNamed(c.status.Members, m.GetName())
	switch {
	case now.GetDirectoryId() != shown.DirectoryId:
	case now.GetVoter():
		shown.Voter, shown.Phase = true, rollcallv1.MemberPhase_MEMBER_PHASE_VOTER
	case now.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA && m.GetReplica():
		shown.Phase = rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	}
	return shown
}

// left is a member that was removed, as it was.
func (c *memberChange) left(name string, m *logv1.Member) *rollcallv1.Member {
	if m == nil {
		return memberNamed(c.status.Members, name)
	}
	was := memberOfRecord(m)
	if now := memberNamed(c.status.Members, name); now.GetDirectoryId() == was.DirectoryId {
		was.Voter, was.Phase = now.GetVoter(), now.GetPhase()
	}
	return was
}

func memberOfRecord(m *logv1.Member) *rollcallv1.Member {
	return &rollcallv1.Member{
		Name: m.GetName(), ApiAddress: m.GetApiAddress(), PeerAddress: m.GetPeerAddress(), Replica: m.GetReplica(),
		DirectoryId: ShortDirectoryID(m.GetDirectoryId()),
	}
}

// ShortDirectoryID is how people see the id of a data directory: its first 8 characters. All of it is what members
// recognise each other by.
func ShortDirectoryID(id string) string { return id[:min(8, len(id))] }

// reasonOf is the reason that a status gives.
func reasonOf(err error) string { return rpcerror.InfoOf(status.Convert(err)).GetReason() }
