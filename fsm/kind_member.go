package fsm

import (
	"errors"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// memberKind are the members as they announced themselves, by name.
var memberKind = &Kind{
	Number:     logv1.Kind_KIND_MEMBER,
	Name:       "member",
	History:    true,
	PerCluster: true,
	New:        func() Value { return new(logv1.Member) },
	applied:    membersApplied,
	Check: func(key string, v Value) error {
		if v.(*logv1.Member).GetName() != key {
			return errors.New("it has another name")
		}
		return nil
	},
}

// member returns nil for one that has not announced itself.
func (s *state) member(name string) *logv1.Member {
	m, _ := s.record(memberKind, name).(*logv1.Member)
	return m
}

// evaluateAnnounce takes what a member says of itself. It refuses a member whose name belongs to another data
// directory, and one whose binary cannot fold the cluster's feature level.
func (s *state) evaluateAnnounce(p *plan, m *logv1.Member) {
	known := s.member(m.GetName())
	if known.GetDirectoryId() != "" && known.GetDirectoryId() != m.GetDirectoryId() {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), invalid("member.directory_id", logv1.Refusal_PROBLEM_CONFLICT))
		p.refusal.Given, p.refusal.Held = m.GetDirectoryId(), known.GetDirectoryId()
		return
	}
	if level := logv1.LevelOf(m.GetLevel()); level < s.level {
		p.refusal = of(logv1.Kind_KIND_MEMBER, m.GetName(), beyond("member.level", logv1.Refusal_PROBLEM_TOO_LOW, int64(level), int64(s.level)))
		return
	}
	s.change(p, memberKind, m.GetName(), m, logv1.EventType_EVENT_TYPE_MEMBER_CHANGED)
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

// Members returns the announced members by name. The caller must not modify them.
func (f *FSM) Members() map[string]*logv1.Member {
	members := map[string]*logv1.Member{}
	f.view.Load().tables.find(memberKind).records.Scan(func(name string, v Value) bool {
		members[name] = v.(*logv1.Member)
		return true
	})
	return members
}
