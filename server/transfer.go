package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// transferTimeout bounds a transfer of leadership whose caller has no deadline. It takes milliseconds if the voter that
// is to lead has all of the log.
const transferTimeout = 10 * time.Second

// TransferLeadership implements rollcall.v1.Cluster. The node that leads does it, asked by the one that was called. A leader
// is asked once: a second time another one might hand leadership back.
func (s *clusterService) TransferLeadership(ctx context.Context, req *rollcallv1.TransferLeadershipRequest) (res *rollcallv1.TransferLeadershipResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.TransferLeadership", true, &err)
	caller, err := s.changes.admit(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.reads.deny(s.reads.access.Of(caller).Denied(access.Cluster)); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	if err := validateTransfer(req); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	if err := s.needsCluster(); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	ctx, cancel := deadline.Answerable(ctx, transferTimeout)
	defer cancel()
	for tries := 1; ; tries++ {
		leader, err := s.awaitLeader(ctx, "")
		if err != nil {
			return nil, rpcerror.ToStatus(s.node, rpcerror.NotWritten("no leader is known, so none can hand over"))
		}
		if leader == s.node {
			res, err = s.handOver(ctx, req.GetTo())
		} else {
			res, err = s.askToHandOver(ctx, leader, req)
		}
		// Who was asked may have stopped leading a moment ago: then nothing was done.
		if !errors.Is(err, ErrNotLeading) || tries == maxAsked || !sleepFor(ctx, askAgain) {
			return res, rpcerror.ToStatus(s.node, err)
		}
	}
}

const (
	// askAgain is how long until the leader is asked again to hand over, after one that did not lead any more.
	askAgain = 100 * time.Millisecond
	// maxAsked is how often at most: for longer than an election takes.
	maxAsked = 20
)

// awaitLeader waits until a leader is known that is not the given one.
func (s *clusterService) awaitLeader(ctx context.Context, other string) (string, error) {
	for {
		changed := s.agreement.Changed() // before Leader, so that no change is missed
		leader, leading := s.agreement.Leader()
		if leader != "" && leader != other && (leader != s.node || leading) {
			return leader, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// askToHandOver has the leader hand over.
func (s *clusterService) askToHandOver(ctx context.Context, leader string, req *rollcallv1.TransferLeadershipRequest) (*rollcallv1.TransferLeadershipResponse, error) {
	conn, err := s.pool.Get(leader)
	if err == nil {
		err = conn.Ready(ctx, true)
	}
	if err != nil {
		return nil, rpcerror.NotWritten("leader %s cannot be reached: %s", leader, peerconn.Describe(err))
	}
	res, err := rollcallv1.NewClusterClient(conn).TransferLeadership(ctx, req)
	st := status.Convert(err)
	info := rpcerror.InfoOf(st)
	switch {
	case err == nil:
		return res, nil
	case st.Code() == codes.Unimplemented:
		return nil, rpcerror.NotTransferred("leader %s runs an older version, which hands leadership over only when it stops; restart it", leader)
	case info.GetReason() == rpcerror.ReasonNotWritten:
		return nil, notLeading(leader)
	case info.GetReason() == rpcerror.ReasonOutcomeUnknown, info.GetMetadata()[rpcerror.MetaWritten] == rpcerror.WrittenNo:
		return nil, &rpcerror.Failure{Reason: info.GetReason(), Message: st.Message(), Meta: info.GetMetadata(), Code: st.Code(), Err: err}
	case st.Code() == codes.DeadlineExceeded:
		return nil, transferUnknown(context.DeadlineExceeded, "leader %s was asked to hand over, and did not answer in time", leader)
	}
	return nil, transferUnknown(err, "leader %s was asked to hand over: %s", leader, st.Message())
}

// TransferLeadership implements rollcall.v1.Cluster for other members. It asks nobody else.
func (s *localCluster) TransferLeadership(ctx context.Context, req *rollcallv1.TransferLeadershipRequest) (res *rollcallv1.TransferLeadershipResponse, err error) {
	c := s.cluster
	defer rpcerror.Recovered(c.log, c.node, "Cluster.TransferLeadership", true, &err)
	if err := validateTransfer(req); err != nil {
		return nil, rpcerror.ToStatus(c.node, err)
	}
	ctx, cancel := deadline.Answerable(ctx, transferTimeout)
	defer cancel()
	res, err = c.handOver(ctx, req.GetTo())
	return res, rpcerror.ToStatus(c.node, err)
}

// handOver hands leadership from this node to a voter, and waits until another one leads.
func (s *clusterService) handOver(ctx context.Context, to string) (*rollcallv1.TransferLeadershipResponse, error) {
	st := s.source.NodeStatus()
	if st.Leader != s.node {
		return nil, notLeading(s.node)
	}
	if to == s.node {
		return &rollcallv1.TransferLeadershipResponse{Leader: s.node, Term: st.Term}, nil
	}
	if m := memberNamed(st.Members, to); to != "" && !m.GetVoter() {
		if m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED {
			return nil, &rpcerror.Failure{Reason: rpcerror.ReasonNotFound, Message: "member " + rpcerror.QuoteShort(to) + " does not exist",
				Meta: map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo, rpcerror.MetaMember: to}}
		}
		return nil, rpcerror.NotTransferred("%s does not vote, so it cannot lead: its phase is %s; see rollcall member list", to, PhaseText(m.GetPhase()))
	}
	err := s.members.TransferLeadershipTo(ctx, to)
	if errors.Is(err, ErrNotLeading) {
		return nil, notLeading(s.node)
	}
	if err != nil {
		if leader, _ := s.agreement.Leader(); leader == s.node || leader == "" && ctx.Err() == nil {
			return nil, rpcerror.NotTransferred("%s still leads: %s", s.node, reasonStays(err, to))
		}
	}
	leader, err := s.awaitLeader(ctx, s.node)
	if err != nil {
		return nil, transferUnknown(err, "%s does not lead any more, and nobody else is known to lead yet", s.node)
	}
	if to != "" && leader != to {
		return nil, rpcerror.NotTransferred("%s leads now, and not %s", leader, to)
	}
	return &rollcallv1.TransferLeadershipResponse{Leader: leader, Term: s.source.NodeStatus().Term}, nil
}

// notLeading says that a node that was asked to hand over does not lead.
func notLeading(node string) *rpcerror.Failure {
	return rpcerror.NotWritten("%s was asked to hand over: %w", node, ErrNotLeading)
}

// transferUnknown says that leadership may be handed over, or may still be.
func transferUnknown(err error, format string, a ...any) *rpcerror.Failure {
	f := rpcerror.OutcomeUnknown("%w", err)
	f.Message = "outcome unknown: " + fmt.Sprintf(format, a...) + "; see rollcall status"
	return f
}

// reasonStays says why a transfer failed.
func reasonStays(err error, to string) string {
	if errors.Is(err, context.DeadlineExceeded) {
		if to == "" {
			return "no voter took over in time"
		}
		return to + " did not take over in time"
	}
	return err.Error()
}

// PhaseText is a phase as people read it.
func PhaseText(p rollcallv1.MemberPhase) string {
	switch p {
	case rollcallv1.MemberPhase_MEMBER_PHASE_JOINING:
		return "joining"
	case rollcallv1.MemberPhase_MEMBER_PHASE_VOTER:
		return "voter"
	case rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA:
		return "replica"
	case rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING:
		return "leaving"
	}
	return "unknown"
}
