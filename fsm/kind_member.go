package fsm

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// memberKind are the members, by name: founders as they announced themselves, and those that were added. Who is a member
// is decided here, and raft's configuration follows. What changes it is in member_commands.go.
var memberKind = &Kind{
	Number:       logv1.Kind_KIND_MEMBER,
	Name:         "member",
	History:      true,
	PerCluster:   true,
	New:          func() Value { return new(logv1.Member) },
	applied:      membersApplied,
	CommandLevel: logv1.LevelMembers,
	ResultBefore: true,
	Check: func(key string, v Value) error {
		if v.(*logv1.Member).GetName() != key {
			return errors.New("it has another name")
		}
		return nil
	},
}

func init() { memberKind.Evaluate = evaluateMember } // which refers to the kind

// member returns nil for one that was neither added nor has announced itself.
func (s *state) member(name string) *logv1.Member {
	m, _ := s.record(memberKind, name).(*logv1.Member)
	return m
}

// evaluateAnnounce takes what a member says of itself. It refuses a member whose name belongs to another data
// directory, a directory that was removed, and a binary that cannot fold the cluster's feature level. What a member is
// not asked stays as it is: whether it votes, and whether it was added.
func (s *state) evaluateAnnounce(p *plan, m *logv1.Member) {
	known := s.member(m.GetName())
	if known.GetDirectoryId() != "" && known.GetDirectoryId() != m.GetDirectoryId() {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), invalid("member.directory_id", logv1.Refusal_PROBLEM_CONFLICT))
		p.refusal.Given, p.refusal.Held = m.GetDirectoryId(), known.GetDirectoryId()
		return
	}
	if p.refusal = s.mayAnnounce(m, known); p.refusal != nil {
		return
	}
	if level := logv1.LevelOf(m.GetLevel()); level < s.level {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), beyond("member.level", logv1.Refusal_PROBLEM_TOO_LOW, int64(level), int64(s.level)))
		return
	}
	if m.GetReplica() != known.GetReplica() || m.GetJoined() != known.GetJoined() {
		m = proto.CloneOf(m)
		m.Replica, m.Joined = known.GetReplica(), known.GetJoined()
	}
	s.change(p, memberKind, m.GetName(), m, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
}

// mayAnnounce refuses what belongs to the cluster no more: a directory that was removed, and also any other one under the
// name of a member that was removed. Only a founder's name gets a record by an announcement, and once it was removed it
// gets the next one when it is added. It also refuses the directory of a member that was added under another name.
func (s *state) mayAnnounce(m, known *logv1.Member) *logv1.Refusal {
	r := s.removed(m.GetDirectoryId())
	if r == nil && known == nil {
		r = s.newestRemoved(m.GetName())
	}
	if other := s.memberIn(m.GetDirectoryId()); r == nil && known == nil && other.GetJoined() {
		return memberExists(m, other)
	}
	return directoryRemoved(m, r)
}

func checkMember(m *logv1.Member) *logv1.Refusal {
	if m.GetName() == "" {
		return invalid("member.name", logv1.Refusal_PROBLEM_EMPTY)
	}
	for _, f := range [...]struct {
		field string
		bad   *limits.Error
	}{
		{"member.name", limits.MemberField(m.GetName())},
		{"member.api_address", limits.Address(m.GetApiAddress())},
		{"member.peer_address", limits.Address(m.GetPeerAddress())},
		{"member.directory_id", limits.MemberField(m.GetDirectoryId())},
		{"member.version", limits.MemberField(m.GetVersion())},
	} {
		if f.bad != nil {
			return textRefusal(f.field, f.bad)
		}
	}
	if !isKey(m.GetName()) {
		r := invalid("member.name", logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER)
		r.Given = m.GetName()
		return r
	}
	return nil
}

// Members returns the members by name: those that were added, and founders that have announced themselves. The caller must
// not modify them.
func (f *FSM) Members() map[string]*logv1.Member {
	members := map[string]*logv1.Member{}
	f.view.Load().tables.find(memberKind).records.Scan(func(name string, v Value) bool {
		members[name] = v.(*logv1.Member)
		return true
	})
	return members
}
