package explain

import (
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestMembers(t *testing.T) {
	for want, m := range map[string]*rollcallv1.Member{
		"n4 is joining: 1,234 entries behind":     {Name: "n4", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING, PhaseDetail: "1,234 entries behind"},
		"n4 is a voter":                           {Name: "n4", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_VOTER},
		"r1 is a replica":                         {Name: "r1", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA},
		"n3 is leaving: waits: n2; does not hear": {Name: "n3", Phase: rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING, PhaseDetail: "waits: n2\ndoes not hear"},
		"n5 is a voter":                           {Name: "n5", Voter: true}, // of an older node
		"n6 is a member":                          {Name: "n6"},
		"n7 is a member: x":                       {Name: "n7", Phase: 99, PhaseDetail: "x"}, // of a newer one
	} {
		if got := Member(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	voters := func(n int) *rollcallv1.GetStatusResponse {
		s := &rollcallv1.GetStatusResponse{Members: []*rollcallv1.MemberStatus{{Member: &rollcallv1.Member{Name: "r1", Replica: true}}}}
		for range n {
			s.Members = append(s.Members, &rollcallv1.MemberStatus{Member: &rollcallv1.Member{Voter: true}})
		}
		return s
	}
	for n, want := range map[int]string{1: "one voter is left, and must run for changes", 2: "of 2 voters, 2 must run for changes", 3: "of 3 voters, 2 must run for changes", 4: "of 4 voters, 3 must run for changes", 5: "of 5 voters, 3 must run for changes"} {
		if got := Voters(voters(n)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What happened to members, and who did it: a node announces itself, all else is a command.
func TestChangesOfMembers(t *testing.T) {
	const changed, removed = rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, rollcallv1.EventType_EVENT_TYPE_MEMBER_REMOVED
	node, ann := &rollcallv1.Actor{Name: "node n4", Verified: true}, &rollcallv1.Actor{Name: "ann"}
	at := func(replica bool) *rollcallv1.Member {
		return &rollcallv1.Member{Name: "n4", ApiAddress: "h:1", PeerAddress: "h:2", DirectoryId: "0123abcd", Replica: replica}
	}
	gone := &rollcallv1.Member{Name: "n4", DirectoryId: "0123abcd"}
	for _, test := range []struct {
		want string
		e    *rollcallv1.Event
	}{
		{"member n4 at h:1", &rollcallv1.Event{Type: changed, Actor: node, Member: at(false)}},
		{"member n4 at h:1", &rollcallv1.Event{Type: changed, Actor: node, Member: at(true)}},
		{"member n4 is to vote, directory 0123abcd", &rollcallv1.Event{Type: changed, Actor: ann, Member: at(false)}},
		{"member n4 is to vote, directory 0123abcd", &rollcallv1.Event{Type: changed, Actor: &rollcallv1.Actor{Name: "node n4"}, Member: at(false)}}, // who calls himself so
		{"member n4 is to follow as a replica, directory 0123abcd", &rollcallv1.Event{Type: changed, Actor: ann, Member: at(true)}},
		{"member n4 ends, directory 0123abcd", &rollcallv1.Event{Type: changed, Actor: ann, Member: gone}},
		{"removal of member n4 forgotten, directory 0123abcd", &rollcallv1.Event{Type: changed, Member: gone}},
		{"member n4 removed for ever, directory 0123abcd", &rollcallv1.Event{Type: removed, Actor: ann, Member: gone}},
		{"member n4 removed for ever", &rollcallv1.Event{Type: removed, Actor: ann, Member: &rollcallv1.Member{Name: "n4"}}},
	} {
		if got := Change(time.Time{}, test.e); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
