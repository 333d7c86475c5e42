package server

import (
	"context"
	"errors"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

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
	m := memberOf(h, req.GetPeerAddress(), req.GetReplica())
	return m, s.checkAPIAddress(ctx, c, m)
}

// nameTaken words the fold's refusal to add a member of a name that there is: by what the node at the address of the
// request says of itself. refusal is what the fold says.
func (s *clusterService) nameTaken(ctx context.Context, c *memberChange, req *rollcallv1.AddMemberRequest, refusal error) error {
	name, address := req.GetName(), req.GetPeerAddress()
	held := c.records[name]
	if held == nil {
		return refusal
	}
	refused := func(format string, a ...any) error {
		return rpcerror.ToStatus(s.node, rpcerror.MemberRefused(rpcerror.ReasonMemberExists, name, format, a...))
	}
	directory := ShortDirectoryID(held.GetDirectoryId())
	h, _ := s.hello(ctx, address)
	switch theirs := h.GetDirectoryId(); {
	case h.GetNode() != name || theirs == "":
		return refused("%s is a member already, at %s (directory %s); give the new node another name", name, held.GetPeerAddress(), directory)
	case theirs == held.GetDirectoryId():
		return refused("%s is a member already, with the data directory of the node at %s (%s); there is nothing to do", name, address, directory)
	default:
		return refused("%s is a member already, with another data directory (%s) than the node at %s (%s); if that of the member is lost, replace it: rollcall member replace %s --peer %s; else give the new node another name",
			name, directory, address, ShortDirectoryID(theirs), name, address)
	}
}

// checkAPIAddress says why a node cannot have the API address that it tells: clients find a member there. One that does not
// answer may have left it to a new machine; nil: it can.
func (s *clusterService) checkAPIAddress(ctx context.Context, c *memberChange, m *logv1.Member) *rpcerror.Failure {
	var others []*rollcallv1.Member
	for _, other := range c.records {
		if m.GetApiAddress() != "" && other.GetApiAddress() == m.GetApiAddress() && other.GetName() != m.GetName() {
			others = append(others, memberOfRecord(other))
		}
	}
	if len(others) == 0 {
		return nil
	}
	silent := s.silent(ctx, others)
	for _, other := range others {
		if silent[other.GetName()] == "" {
			return rpcerror.MemberRefused(rpcerror.ReasonMemberMismatch, m.GetName(),
				"%s at %s says that clients find it at %s, but that is the API address of %s, which answers; start %s with an --advertise-api of its own",
				m.GetName(), m.GetPeerAddress(), m.GetApiAddress(), other.GetName(), m.GetName())
		}
	}
	return nil
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
		f := rpcerror.MemberRefused(rpcerror.ReasonNotFound, name, "member %q does not exist, so nobody can take its place; add it: rollcall member add %s --peer HOST:PORT", name, name)
		return replacement{}, f
	}
	if address == "" {
		address = held.GetPeerAddress()
	}
	h, f := s.probe(ctx, c, name, address)
	if f != nil && name == s.node { // a node of its own name does not let it in
		f = rpcerror.MemberRefused(rpcerror.ReasonMemberAnswers, name,
			"%s lives: it is the node that was asked; if it is not to be a member any more, stop it, and ask another one", name)
	}
	switch {
	case f == nil && h.GetDirectoryId() != held.GetDirectoryId():
	case c.records[name] == nil && f != nil:
		return replacement{}, f
	default:
		// Either the request was made before, or there is nothing to put into the place, unless force is given to a
		// replacement that was made without and waits.
		if f == nil {
			f = rpcerror.MemberRefused(rpcerror.ReasonMemberAnswers, name,
				"%s answers at %s with the data directory that the cluster knows (%s): there is nothing to replace; if its data is lost, stop it, and start it with an empty data directory",
				name, address, ShortDirectoryID(held.GetDirectoryId()))
		}
		if !req.GetForce() && (req.GetRequestId() == "" || req.GetValidateOnly()) { // nothing is remembered
			return replacement{}, f
		}
		return replacement{member: &logv1.Member{
			Name: name, PeerAddress: address, Replica: held.GetReplica(), DirectoryId: held.GetDirectoryId(),
			ApiAddress: held.GetApiAddress(), Version: held.GetVersion(), Level: held.GetLevel(),
		}, otherwise: f}, nil
	}
	var silent map[string]string
	if !req.GetForce() {
		silent = s.silent(ctx, append(c.otherVoters(name), &rollcallv1.Member{Name: name}))
		if silent[name] == "" {
			return replacement{}, rpcerror.MemberRefused(rpcerror.ReasonMemberAnswers, name,
				"%s lives: it answers with the data directory that the cluster knows (%s), and another node of that name waits at %s; stop the one that is not to be a member any more, or replace it all the same with --force",
				name, ShortDirectoryID(held.GetDirectoryId()), address)
		}
	}
	if f := c.checkLoss(name, "replace", req.GetForce(), silent); f != nil {
		return replacement{}, f
	}
	m := memberOf(h, address, held.GetReplica())
	if m.GetApiAddress() == "" {
		m.ApiAddress = held.GetApiAddress()
	}
	return replacement{member: m}, s.checkAPIAddress(ctx, c, m)
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
	h, err := s.hello(ctx, address)
	if f := judgeProbe(c, name, address, h, err); f != nil {
		return nil, f
	}
	return h, nil
}

// hello is what the node at an address says of itself.
func (s *clusterService) hello(ctx context.Context, address string) (*peerv1.Hello, error) {
	ctx, cancelAnswer := deadline.Answerable(ctx, s.timeout)
	defer cancelAnswer()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.members.ProbeAddress(ctx, address)
}

// isLookedFor says that a node without a cluster can find this one: it was started with --join, or some other member
// that it was given with --member is one of this cluster, by its name or by its address. Else it would wait for the members
// that it was given, and found a cluster with them.
func (c *memberChange) isLookedFor(h *peerv1.Hello) bool {
	list := h.GetMembers()
	return len(list) == 0 || slices.ContainsFunc(list, func(given *peerv1.MemberAddress) bool {
		if given.GetName() == h.GetNode() {
			return false
		}
		if c.known(given.GetName()) != nil {
			return true
		}
		for _, m := range c.records {
			if m.GetPeerAddress() == given.GetPeerAddress() {
				return true
			}
		}
		return false
	})
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
		if !peerconn.NobodyAnswers(err) {
			return refused(rpcerror.ReasonMemberUnreachable, "this node cannot talk to %s at %s: %s", name, address, peerconn.Describe(err))
		}
		return refused(rpcerror.ReasonMemberUnreachable, "no node answers at %s: %s; start %s there first, with an empty data directory: rollcall serve --node %s --data DIR --join PEER --advertise-api HOST:PORT --advertise-peer %s",
			address, peerconn.Describe(err), name, name, address)
	}
	ours, theirs := c.status.ClusterID, h.GetClusterId()
	held := c.known(name)
	switch level := logv1.LevelOf(h.GetLevel()); {
	case h.GetNode() != name && h.GetNode() == c.service.node:
		return refused(rpcerror.ReasonMemberMismatch, "%s is the address of %s itself, not of %s", address, h.GetNode(), name)
	case h.GetNode() != name:
		return refused(rpcerror.ReasonMemberMismatch, "%s answers at %s, not %s; give the address of the peer port of %s, or start %s there",
			nodeCalled(h.GetNode()), address, name, name, name)
	case theirs != "" && theirs != ours:
		return refused(rpcerror.ReasonMemberNotEmpty, "the data directory of %s at %s belongs to another cluster (%s, and this is %s); start it with an empty one",
			name, address, shortClusterID(theirs), shortClusterID(ours))
	case theirs != "" && (held == nil || h.GetDirectoryId() == "" || !logv1.IsUnknownDirectory(held.GetDirectoryId()) && held.GetDirectoryId() != h.GetDirectoryId()):
		return refused(rpcerror.ReasonMemberNotEmpty, "the data directory of %s at %s belonged to this cluster before, and is not that of a member now; start it with an empty one",
			name, address)
	case theirs != "":
		return nil
	case level < max(c.status.Level, logv1.LevelMembers):
		return rpcerror.MemberOutdated(name, h.GetVersion(), level, max(c.status.Level, logv1.LevelMembers))
	case err != nil:
		return refused(rpcerror.ReasonMemberUnreachable, "%s at %s does not answer this node: %s", name, address, err)
	case h.GetWaiting() == nil || !c.isLookedFor(h):
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

// silent asks members, all at once, and returns those that do not answer, by name, and why.
func (s *clusterService) silent(ctx context.Context, members []*rollcallv1.Member) map[string]string {
	silent := map[string]string{}
	for _, a := range s.ask(ctx, members, false) {
		if a.res == nil {
			silent[a.member.GetName()] = a.why
		}
	}
	return silent
}

// otherVoters are the voters of raft's configuration, as this node knows it, but for one.
func (c *memberChange) otherVoters(name string) (voters []*rollcallv1.Member) {
	for _, m := range c.status.Members {
		if m.GetVoter() && m.GetName() != name {
			voters = append(voters, m)
		}
	}
	return voters
}

// checkLoss says why the cluster cannot do without a member's vote now; nil: it can, or the member does not vote. silent
// are the voters that do not answer, and why.
func (c *memberChange) checkLoss(name, verb string, force bool, silent map[string]string) *rpcerror.Failure {
	if c.known(name) == nil || !memberNamed(c.status.Members, name).GetVoter() {
		return nil
	}
	left := c.otherVoters(name)
	if !slices.ContainsFunc(left, func(m *rollcallv1.Member) bool { return m.GetPhase() != rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING }) {
		return rpcerror.MemberRefused(rpcerror.ReasonLastVoter, name, "%s is the only voter that stays; wait until another member votes (rollcall member list), or add one", name)
	}
	if force {
		return nil
	}
	if leaving := c.leaving(name); leaving != "" {
		return rpcerror.MemberRefused(rpcerror.ReasonChangeInProgress, name,
			"%s is still being removed, and members that vote are removed one after the other; wait until that is done (rollcall member list), or go on with --force", leaving)
	}
	var away []string
	for _, m := range left {
		if why := silent[m.GetName()]; why != "" {
			away = append(away, m.GetName()+" ("+why+")")
		}
	}
	needed := len(left)/2 + 1
	if len(left)-len(away) >= needed {
		return nil
	}
	return rpcerror.MemberRefused(rpcerror.ReasonWouldLoseQuorum, name,
		"without %s there are %d voters, %d of them must answer for writes to go on; answering: %d, silent: %s; mend those first, or %s %s all the same with --force",
		name, len(left), needed, len(left)-len(away), inSentence(away), verb, name)
}

// leaving is another member that raft's configuration still counts as a voter, and that is one no more; "": there is none.
func (c *memberChange) leaving(name string) string {
	for _, m := range c.status.Members {
		if m.GetVoter() && m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING && m.GetName() != name {
			return m.GetName()
		}
	}
	for _, gone := range c.status.GoneVoters {
		if gone != name {
			return gone
		}
	}
	return ""
}
