package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// This file says what the commands of members do: a logv1.MemberCommand. It knows nothing of raft: which members vote by
// now, and whether those that are left have a quorum, is for the node to say that takes the request.

func evaluateMember(tx *Tx, payload []byte) *logv1.Refusal {
	var c logv1.MemberCommand
	if c.UnmarshalVT(payload) != nil {
		return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
	}
	switch c := c.GetCommand().(type) {
	case *logv1.MemberCommand_Add:
		return tx.addMember(c.Add)
	case *logv1.MemberCommand_Remove:
		return tx.removeMember(c.Remove)
	case *logv1.MemberCommand_Replace:
		return tx.replaceMember(c.Replace)
	case *logv1.MemberCommand_Promote:
		return tx.promoteMember(c.Promote)
	}
	return invalid("command", logv1.Refusal_PROBLEM_UNKNOWN)
}

// addMember makes a node a member. It votes as soon as raft's configuration says so.
func (tx *Tx) addMember(c *logv1.AddMember) *logv1.Refusal {
	m := c.GetMember()
	if refusal := checkNewMember(m); refusal != nil {
		return refusal
	}
	if held := tx.s.member(m.GetName()); held != nil {
		return memberExists(m, held)
	}
	return tx.putMember(m, nil, m.GetReplica())
}

// removeMember takes a member's place away from its data directory. With force it also removes what the name had before
// although the members that are left may not answer, if that still waits for them.
func (tx *Tx) removeMember(c *logv1.RemoveMember) *logv1.Refusal {
	name := c.GetName()
	if refusal := checkRemoved(name, c.GetDirectoryId()); refusal != nil {
		return refusal
	}
	before := tx.s.member(name)
	if before == nil && c.GetForce() && tx.force(name) {
		return nil
	}
	directory, refusal := tx.s.directoryOf(name, before, c.GetDirectoryId())
	if refusal != nil {
		return refusal
	}
	if refusal := tx.s.checkLastVoter(name, before); refusal != nil {
		return refusal
	}
	if before != nil {
		tx.s.change(tx.p, memberKind, name, nil, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
	}
	tx.remove(name, directory, "", !before.GetJoined(), c.GetForce())
	tx.forgetRemoved()
	return nil
}

// replaceMember removes the directory that a member has and adds another one, at once. Given the directory that the member
// has already, it does for force what removeMember does.
func (tx *Tx) replaceMember(c *logv1.ReplaceMember) *logv1.Refusal {
	m := c.GetMember()
	if refusal := checkNewMember(m); refusal != nil {
		return refusal
	}
	if refusal := checkRemoved(m.GetName(), c.GetDirectoryId()); refusal != nil {
		return refusal
	}
	before := tx.s.member(m.GetName())
	if before != nil && before.GetDirectoryId() == m.GetDirectoryId() {
		if c.GetForce() && tx.force(m.GetName()) {
			return nil
		}
		return memberExists(m, before)
	}
	directory, refusal := tx.s.directoryOf(m.GetName(), before, c.GetDirectoryId())
	if refusal != nil {
		return refusal
	}
	if directory == m.GetDirectoryId() { // a founder's that has not announced itself
		return memberExists(m, &logv1.Member{Name: m.GetName(), DirectoryId: directory})
	}
	if refusal := tx.s.checkLastVoter(m.GetName(), before); refusal != nil {
		return refusal
	}
	tx.remove(m.GetName(), directory, m.GetDirectoryId(), !before.GetJoined(), c.GetForce())
	if refusal := tx.putMember(m, before, before.GetReplica() || m.GetReplica()); refusal != nil {
		return refusal
	}
	tx.forgetRemoved()
	return nil
}

// promoteMember makes a replica a member that votes. One that votes already, or will, does not change.
func (tx *Tx) promoteMember(c *logv1.PromoteMember) *logv1.Refusal {
	name := c.GetName()
	if refusal := checkMemberName(name); refusal != nil {
		return refusal
	}
	before := tx.s.member(name)
	if before == nil {
		return tx.s.noMember(name)
	}
	m := proto.CloneOf(before)
	m.Replica = false
	if refusal := tx.s.checkRoom(name, before, false); refusal != nil {
		return refusal
	}
	tx.s.change(tx.p, memberKind, name, m, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
	return nil
}

// putMember makes m a member that was added, in the place of before; nil: in no place. m is as its node told it.
func (tx *Tx) putMember(m, before *logv1.Member, replica bool) *logv1.Refusal {
	s := tx.s
	if other := s.memberIn(m.GetDirectoryId()); other != nil {
		return memberExists(m, other)
	}
	if refusal := directoryRemoved(m, s.removed(m.GetDirectoryId())); refusal != nil {
		return refusal
	}
	if level := logv1.LevelOf(m.GetLevel()); level < s.level {
		return of(logv1.Kind_KIND_MEMBER, m.GetName(), beyond("member.level", logv1.Refusal_PROBLEM_TOO_LOW, int64(level), int64(s.level)))
	}
	if refusal := s.checkRoom(m.GetName(), before, replica); refusal != nil {
		return refusal
	}
	s.change(tx.p, memberKind, m.GetName(), &logv1.Member{
		Name:        m.GetName(),
		ApiAddress:  m.GetApiAddress(),
		PeerAddress: m.GetPeerAddress(),
		DirectoryId: m.GetDirectoryId(),
		Version:     m.GetVersion(),
		Level:       m.GetLevel(),
		Replica:     replica,
		Joined:      true,
	}, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
	return nil
}

// checkMemberName refuses what cannot be the name of a node.
func checkMemberName(name string) *logv1.Refusal {
	switch {
	case name == "":
		return invalid("name", logv1.Refusal_PROBLEM_EMPTY)
	case len(name) > limits.MaxNodeNameBytes:
		return beyond("name", logv1.Refusal_PROBLEM_TOO_LONG, len(name), limits.MaxNodeNameBytes)
	}
	if refusal := textRefusal("name", limits.MemberField(name)); refusal != nil {
		return refusal
	}
	if !limits.NodeName(name) {
		r := invalid("name", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Given = name
		return r
	}
	return nil
}

// checkNewMember checks what a node that is to be a member says of itself, without looking at the registry.
func checkNewMember(m *logv1.Member) *logv1.Refusal {
	if refusal := checkMemberName(m.GetName()); refusal != nil {
		return refusal
	}
	if m.GetPeerAddress() == "" {
		return invalid("peer_address", logv1.Refusal_PROBLEM_EMPTY)
	}
	if refusal := textRefusal("peer_address", limits.Address(m.GetPeerAddress())); refusal != nil {
		return refusal
	}
	if m.GetDirectoryId() == "" || logv1.IsUnknownDirectory(m.GetDirectoryId()) {
		return invalid("member.directory_id", logv1.Refusal_PROBLEM_EMPTY)
	}
	return checkMember(m)
}

// checkRemoved checks which member is to be removed, without looking at the registry.
func checkRemoved(name, directory string) *logv1.Refusal {
	if refusal := checkMemberName(name); refusal != nil {
		return refusal
	}
	if refusal := textRefusal("directory_id", limits.MemberField(directory)); refusal != nil {
		return refusal
	}
	if logv1.IsUnknownDirectory(directory) && directory != logv1.UnknownDirectory(name) {
		r := invalid("directory_id", logv1.Refusal_PROBLEM_UNKNOWN)
		r.Given = directory
		return r
	}
	return nil
}

// directoryOf returns the directory of a member that is to be removed, "" if nobody knows it. A member without a record is
// a founder that has not announced itself: given is its directory, as the node knows it that took the request.
func (s *state) directoryOf(name string, before *logv1.Member, given string) (string, *logv1.Refusal) {
	switch {
	case before.GetDirectoryId() != "":
		return before.GetDirectoryId(), nil
	case before == nil && (given == "" || s.newestRemoved(name) != nil || s.removed(given) != nil || s.memberIn(given) != nil):
		return "", s.noMember(name)
	case logv1.IsUnknownDirectory(given):
		return "", nil
	}
	return given, nil
}

// noMember refuses a command about a member that is none. held is the directory that it had, and value the revision of its
// removal, if it was one.
func (s *state) noMember(name string) *logv1.Refusal {
	r := s.newestRemoved(name)
	return of(logv1.Kind_KIND_MEMBER, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND, Held: r.GetDirectoryId(), Value: r.GetRevision()})
}

// memberExists refuses to make m a member because another one has its name, or its directory.
func memberExists(m, other *logv1.Member) *logv1.Refusal {
	return of(logv1.Kind_KIND_MEMBER, other.GetName(), &logv1.Refusal{Reason: logv1.Refusal_REASON_MEMBER_EXISTS, Given: m.GetDirectoryId(), Held: other.GetDirectoryId()})
}

// directoryRemoved refuses m if removed says that it belongs to the cluster no more; nil if removed is.
func directoryRemoved(m *logv1.Member, removed *logv1.RemovedMember) *logv1.Refusal {
	if removed == nil {
		return nil
	}
	return of(logv1.Kind_KIND_MEMBER, m.GetName(), &logv1.Refusal{
		Reason: logv1.Refusal_REASON_DIRECTORY_REMOVED,
		Given:  m.GetDirectoryId(),
		Held:   removed.GetName(),
		Value:  removed.GetRevision(),
	})
}

// memberIn returns the member that has a data directory; nil: none has.
func (s *state) memberIn(directory string) (found *logv1.Member) {
	s.eachMember(func(m *logv1.Member) bool {
		if m.GetDirectoryId() == directory {
			found = m
		}
		return found == nil
	})
	return found
}

// eachMember visits the members by name until visit returns false.
func (s *state) eachMember(visit func(*logv1.Member) bool) {
	s.tables.find(memberKind).records.Scan(func(_ string, v Value) bool { return visit(v.(*logv1.Member)) })
}

// others returns how many members there are without one: replicas, or such that vote or will.
func (s *state) others(without string, replicas bool) (count int) {
	s.eachMember(func(m *logv1.Member) bool {
		if m.GetName() != without && m.GetReplica() == replicas {
			count++
		}
		return true
	})
	return count
}

// checkRoom refuses one member too many. before is the member in its place. Founders that have not announced themselves
// are not counted: the registry does not know them.
func (s *state) checkRoom(name string, before *logv1.Member, replica bool) *logv1.Refusal {
	if before != nil && before.GetReplica() == replica {
		return nil
	}
	field, limit := "voters", limits.MaxVoters
	if replica {
		field, limit = "replicas", limits.MaxReplicas
	}
	if s.others(name, replica) >= limit {
		return of(logv1.Kind_KIND_MEMBER, name, tooMany(field, limit))
	}
	return nil
}

// checkLastVoter refuses to remove the only member of the registry that votes.
func (s *state) checkLastVoter(name string, before *logv1.Member) *logv1.Refusal {
	if before.GetReplica() || s.others(name, false) > 0 {
		return nil
	}
	return of(logv1.Kind_KIND_MEMBER, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_LAST_VOTER, Held: before.GetDirectoryId()})
}
