package server

import (
	"context"
	"errors"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// probeTimeout is how long a node that is to be a member has to say who it is.
const probeTimeout = 2 * time.Second

// whoToAdd asks the node at the address of a request who it is, and returns the member that it is to be. A node that is
// a member already is not asked: either the request was made before, and the fold remembers what came of it, or the fold
// refuses it.
func (s *clusterService) whoToAdd(ctx context.Context, c *memberChange, req *rollcallv1.AddMemberRequest) (*logv1.Member, *rpcerror.Failure) {
	name := req.GetName()
	if held := c.records[name]; held != nil {
		return &logv1.Member{
			Name: name, PeerAddress: req.GetPeerAddress(), Replica: req.GetReplica() || held.GetReplica(),
			DirectoryId: held.GetDirectoryId(), ApiAddress: held.GetApiAddress(), Version: held.GetVersion(), Level: held.GetLevel(),
		}, nil
	}
	if c.founders[name] != nil {
		return nil, rpcerror.MemberRefused(rpcerror.ReasonMemberExists, name,
			"%s is a member already, since the cluster was founded; it has not been heard of since: start it, or replace it: rollcall member replace %s", name, name)
	}
	h, f := s.probe(ctx, c, name, req.GetPeerAddress())
	if f != nil {
		return nil, f
	}
	return memberOf(h, req.GetPeerAddress(), req.GetReplica()), nil
}

// replacement is who takes the place of a member.
type replacement struct {
	member *logv1.Member
	// otherwise is why the request is refused if the fold does not remember it, and says that the member is there; nil: what
	// the fold says.
	otherwise *rpcerror.Failure
}

// whoReplaces is whoToAdd of a node in the place of a member. The member itself must be silent, or the change is forced:
// what lives is removed, or taken over, and not replaced by mistake.
func (s *clusterService) whoReplaces(ctx context.Context, c *memberChange, req *rollcallv1.ReplaceMemberRequest) (replacement, *rpcerror.Failure) {
	name, address := req.GetName(), req.GetPeerAddress()
	held := c.known(name)
	if held == nil {
		// The fold says so, unless the request was made before and the member was removed since then.
		return replacement{member: &logv1.Member{Name: name, PeerAddress: address}}, nil
	}
	if address == "" {
		address = held.GetPeerAddress()
	}
	h, f := s.probe(ctx, c, name, address)
	switch {
	case f == nil && h.GetDirectoryId() != held.GetDirectoryId():
	case c.records[name] == nil && f != nil:
		return replacement{}, f
	default:
		// Either the request was made before, or there is nothing to put into the place.
		if f == nil {
			f = rpcerror.MemberRefused(rpcerror.ReasonMemberAnswers, name,
				"%s answers at %s with the data directory that the cluster knows (%s): there is nothing to replace; if its data is lost, stop it, and start it with an empty data directory",
				name, address, ShortDirectoryID(held.GetDirectoryId()))
		}
		if req.GetRequestId() == "" || req.GetValidateOnly() { // nothing is remembered
			return replacement{}, f
		}
		return replacement{member: &logv1.Member{
			Name: name, PeerAddress: address, Replica: held.GetReplica(), DirectoryId: held.GetDirectoryId(),
			ApiAddress: held.GetApiAddress(), Version: held.GetVersion(), Level: held.GetLevel(),
		}, otherwise: f}, nil
	}
	if !req.GetForce() && s.answers(ctx, name) {
		return replacement{}, rpcerror.MemberRefused(rpcerror.ReasonMemberAnswers, name,
			"%s lives: it answers with the data directory that the cluster knows (%s), and another node of that name waits at %s; stop the one that is not to be a member any more, or replace it all the same with --force",
			name, ShortDirectoryID(held.GetDirectoryId()), address)
	}
	if f := s.checkLoss(ctx, c, name, "replace", req.GetForce()); f != nil {
		return replacement{}, f
	}
	m := memberOf(h, address, held.GetReplica())
	if m.GetApiAddress() == "" {
		m.ApiAddress = held.GetApiAddress()
	}
	return replacement{member: m}, nil
}

// memberOf is the member that a node which waits is to be.
func memberOf(h *peerv1.Hello, address string, replica bool) *logv1.Member {
	return &logv1.Member{
		Name: h.GetNode(), PeerAddress: address, ApiAddress: h.GetWaiting().GetApiAddress(), DirectoryId: h.GetDirectoryId(),
		Version: h.GetVersion(), Level: h.GetLevel(), Replica: replica || h.GetWaiting().GetReplica(),
	}
}

// probe asks the node at an address who it is. It returns what a node says that waits to be a member of this name, or
// that is the member of this name already.
func (s *clusterService) probe(ctx context.Context, c *memberChange, name, address string) (*peerv1.Hello, *rpcerror.Failure) {
	ctx, cancelAnswer := deadline.Answerable(ctx, probeTimeout)
	defer cancelAnswer()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	h, err := s.members.ProbeAddress(ctx, address)
	if f := judgeProbe(c, name, address, h, err); f != nil {
		return nil, f
	}
	return h, nil
}

// judgeProbe says why the node that answered at an address, if one did, cannot be the member of a name; nil: it can, or
// it is.
func judgeProbe(c *memberChange, name, address string, h *peerv1.Hello, err error) *rpcerror.Failure {
	refused := func(reason, format string, a ...any) *rpcerror.Failure {
		return rpcerror.MemberRefused(reason, name, format, a...)
	}
	if h == nil {
		if impostor := (*ImpostorError)(nil); errors.As(err, &impostor) {
			return refused(rpcerror.ReasonMemberMismatch, "who answers at %s does not prove to be %s: %s", address, name, impostor.Error())
		}
		return refused(rpcerror.ReasonMemberUnreachable, "nobody answers at %s (%s); start %s there first, with: rollcall serve --node %s --join, and an empty data directory",
			address, peerconn.Describe(err), name, name)
	}
	ours, theirs := c.status.ClusterID, h.GetClusterId()
	held := c.known(name)
	switch level := logv1.LevelOf(h.GetLevel()); {
	case h.GetNode() != name && h.GetNode() == c.service.node:
		return refused(rpcerror.ReasonMemberMismatch, "%s is the address of %s itself, not of %s", address, h.GetNode(), name)
	case h.GetNode() != name:
		return refused(rpcerror.ReasonMemberMismatch, "%s answers at %s, not %s", nodeCalled(h.GetNode()), address, name)
	case theirs != "" && theirs != ours:
		return refused(rpcerror.ReasonMemberNotEmpty, "the data directory of %s at %s belongs to another cluster (%s, and this is %s); start it with an empty one",
			name, address, shortClusterID(theirs), shortClusterID(ours))
	case theirs != "" && (held == nil || held.GetDirectoryId() != "" && held.GetDirectoryId() != h.GetDirectoryId()):
		return refused(rpcerror.ReasonMemberNotEmpty, "the data directory of %s at %s belonged to this cluster before, and is not that of a member now; start it with an empty one",
			name, address)
	case theirs != "":
		return nil
	case level < max(c.status.Level, logv1.LevelMembers):
		return rpcerror.MemberOutdated(name, h.GetVersion(), level, max(c.status.Level, logv1.LevelMembers))
	case err != nil:
		return refused(rpcerror.ReasonMemberUnreachable, "%s at %s does not answer this node: %s", name, address, err)
	case h.GetWaiting() == nil:
		return refused(rpcerror.ReasonMemberNotWaiting, "%s at %s is about to found a cluster, and does not wait to be added to this one; start it with --join in place of --member", name, address)
	case h.GetDirectoryId() == "":
		return refused(rpcerror.ReasonMemberMismatch, "%s at %s does not say which data directory it has", name, address)
	}
	return nil
}

// nodeCalled is the name that a node gives itself; it may be any text.
func nodeCalled(name string) string {
	if name == "" {
		return "a node without a name"
	}
	return rpcerror.QuoteShort(name)
}

// shortClusterID is how people see a cluster id.
func shortClusterID(id string) string { return id[:min(4, len(id))] }

// answers says whether a member answers this node.
func (s *clusterService) answers(ctx context.Context, name string) bool {
	if name == s.node {
		return true
	}
	return s.ask(ctx, []*rollcallv1.Member{{Name: name}})[0].res != nil
}

// checkLoss says why the cluster cannot do without a member's vote now; nil: it can, or the member does not vote. Who
// is to lose its vote is asked as well as all others: a quorum is of all voters that are left.
func (s *clusterService) checkLoss(ctx context.Context, c *memberChange, name, verb string, force bool) *rpcerror.Failure {
	var left []*rollcallv1.Member
	votes, leaving := false, ""
	for _, m := range c.status.Members {
		switch {
		case !m.GetVoter():
		case m.GetName() == name:
			votes = true
		default:
			left = append(left, m)
			if m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING {
				leaving = m.GetName()
			}
		}
	}
	gone := 0
	for _, voter := range c.status.GoneVoters {
		if voter != name {
			leaving = voter
			gone++
		}
	}
	if !votes || c.known(name) == nil {
		return nil
	}
	if len(left) == 0 {
		return rpcerror.MemberRefused(rpcerror.ReasonLastVoter, name, "%s is the only voter; wait until another member votes (rollcall member list), or add one", name)
	}
	if force {
		return nil
	}
	if leaving != "" {
		return rpcerror.MemberRefused(rpcerror.ReasonChangeInProgress, name,
			"%s is still being removed, and members that vote are removed one after the other; wait until that is done (rollcall member list), or go on with --force", leaving)
	}
	answers := s.ask(ctx, left)
	answering := len(left) - len(answers) // this node
	var silent []string
	for _, a := range answers {
		if a.res != nil {
			answering++
		} else {
			silent = append(silent, a.member.GetName()+" ("+a.why+")")
		}
	}
	voters := len(left) + gone
	if needed := voters/2 + 1; answering < needed {
		return rpcerror.MemberRefused(rpcerror.ReasonWouldLoseQuorum, name,
			"without %s there are %d voters, %d of them must answer for writes to go on, and %d do; silent: %s; mend those first, or %s %s all the same with --force",
			name, voters, needed, answering, inSentence(silent), verb, name)
	}
	return nil
}
