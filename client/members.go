package client

import (
	"cmp"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// MemberChange is what AddMember, RemoveMember and ReplaceMember change. A field that means nothing to a call is an
// error: its caller would rely on an effect.
type MemberChange struct {
	Name string // of the node
	// PeerAddress, host:port, is where the other nodes reach it. AddMember needs it; in ReplaceMember "" is where the
	// member was.
	PeerAddress string
	// Replica, of AddMember: it follows, and never votes. A node that was started as a replica is one without it.
	Replica bool
	// Force, of RemoveMember and ReplaceMember: although the members that are left may not be a quorum that answers, and
	// then stop all writes; and, of ReplaceMember, although the member that is replaced lives.
	Force bool
}

// AddMember makes a node a member that waits for it (rollcall serve --join). It is answered when the cluster has agreed
// on it. Then the node catches up, and gets its vote by itself: [Client.ClusterStatus] says how far it is, as
// Member.phase. Like all changes of members it can be repeated with the same WriteOptions.RequestID; of the other options
// IfRevision, AllowMissing, BreakGlass, LeaseID and TTL are none of it.
//
// Refusals, of which nothing was written: [ReasonMemberExists], [ReasonDirectoryRemoved], [ReasonMemberUnreachable],
// [ReasonMemberMismatch], [ReasonMemberNotEmpty], [ReasonMemberNotWaiting], [ReasonUpgradeIncomplete], and
// [ReasonTableFull] if there are 9 voters, or 20 replicas.
func (c *Client) AddMember(ctx context.Context, m MemberChange, o WriteOptions) (*rollcallv1.AddMemberResponse, error) {
	op := c.memberWrite("add member", m.Name, &o)
	if err := cmp.Or(o.refuse(op, 0), m.refuse(op, "Force", m.Force)); err != nil {
		return nil, err
	}
	return changeMember(ctx, c, op, &rollcallv1.AddMemberRequest{
		Name:         m.Name,
		PeerAddress:  m.PeerAddress,
		Replica:      m.Replica,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}, rollcallv1.ClusterClient.AddMember)
}

// RemoveMember takes a member out of the cluster for ever: its data directory is never a member again, and its process
// ends. A leader hands leadership over first. See [Client.AddMember] for what it has in common with all changes.
//
// Refusals: a member that does not exist (code NOT_FOUND), [ReasonLastVoter], [ReasonWouldLoseQuorum],
// [ReasonChangeInProgress].
func (c *Client) RemoveMember(ctx context.Context, m MemberChange, o WriteOptions) (*rollcallv1.RemoveMemberResponse, error) {
	op := c.memberWrite("remove member", m.Name, &o)
	if err := cmp.Or(o.refuse(op, 0), m.refuse(op, "PeerAddress", m.PeerAddress != ""), m.refuse(op, "Replica", m.Replica)); err != nil {
		return nil, err
	}
	return changeMember(ctx, c, op, &rollcallv1.RemoveMemberRequest{
		Name:         m.Name,
		Force:        m.Force,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}, rollcallv1.ClusterClient.RemoveMember)
}

// ReplaceMember puts a node of the same name, with an empty data directory, into the place of a member that has lost
// its own. The new one catches up before it votes, as after AddMember. See [Client.AddMember] for what it has in common
// with all changes.
//
// Refusals: those of AddMember but [ReasonMemberExists], those of RemoveMember, and [ReasonMemberAnswers] if the member
// lives.
func (c *Client) ReplaceMember(ctx context.Context, m MemberChange, o WriteOptions) (*rollcallv1.ReplaceMemberResponse, error) {
	op := c.memberWrite("replace member", m.Name, &o)
	if err := cmp.Or(o.refuse(op, 0), m.refuse(op, "Replica", m.Replica)); err != nil {
		return nil, err
	}
	return changeMember(ctx, c, op, &rollcallv1.ReplaceMemberRequest{
		Name:         m.Name,
		PeerAddress:  m.PeerAddress,
		Force:        m.Force,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}, rollcallv1.ClusterClient.ReplaceMember)
}

// PromoteMember makes a read replica a voter, as soon as it has caught up. See [Client.AddMember] for what it has in
// common with all changes.
func (c *Client) PromoteMember(ctx context.Context, name string, o WriteOptions) (*rollcallv1.PromoteMemberResponse, error) {
	op := c.memberWrite("promote member", name, &o)
	if err := o.refuse(op, 0); err != nil {
		return nil, err
	}
	return changeMember(ctx, c, op, &rollcallv1.PromoteMemberRequest{
		Name:         name,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}, rollcallv1.ClusterClient.PromoteMember)
}

// TransferLeadership hands leadership to a voter, "": to the one that is furthest, and returns when it leads. Once a node
// may have been asked it is not tried again, as a second transfer could undo the first: an error with WrittenUnknown
// means that [Client.ClusterStatus] knows more. If leadership stays where it is the reason is [ReasonNotTransferred].
func (c *Client) TransferLeadership(ctx context.Context, to string) (*rollcallv1.TransferLeadershipResponse, error) {
	op := operation{name: "transfer leadership", member: to, write: true, once: true, alone: true}
	return changeMember(ctx, c, op, &rollcallv1.TransferLeadershipRequest{To: to}, rollcallv1.ClusterClient.TransferLeadership)
}

// memberWrite completes o, so that every try of the call is the same request. The nodes ask other nodes, so that no
// second one is asked beside the first.
func (c *Client) memberWrite(name, member string, o *WriteOptions) operation {
	op := c.writing(name, o, false)
	op.member, op.alone = member, true
	return op
}

// refuse returns an error if a field is set that means nothing to the call.
func (m *MemberChange) refuse(op operation, field string, set bool) error {
	if !set {
		return nil
	}
	return op.error(codes.InvalidArgument, "MemberChange."+field+" is given, and means nothing to this call", nil)
}

// changeMember makes one change of who belongs to the cluster.
func changeMember[Request, Response any](
	ctx context.Context, c *Client, op operation, req Request,
	call func(rollcallv1.ClusterClient, context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return call(rollcallv1.NewClusterClient(conn), ctx, req, o...)
	})
	if err != nil {
		var none Response
		return none, err
	}
	return a.message.(Response), nil
}
