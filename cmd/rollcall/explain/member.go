package explain

import (
	"fmt"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Phase is how far a change of a member is, in one word: "joining", "voter", "replica", "leaving". A node of an older
// version does not tell, but only knows voters.
func Phase(m *rollcallv1.Member) string {
	switch {
	case m.GetPhase() != rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED:
		if v := m.GetPhase().Descriptor().Values().ByNumber(m.GetPhase().Number()); v != nil {
			return apijson.EnumName(v)
		}
	case m.GetVoter():
		return "voter"
	}
	return "-"
}

// Member says what a member is, and what its phase waits for: "n4 is joining: 1,234 entries behind", "n4 is a voter".
func Member(m *rollcallv1.Member) string {
	phase := Phase(m)
	switch phase {
	case "voter", "replica":
		phase = "a " + phase
	case "-":
		phase = "a member"
	}
	text := format.Printable(m.GetName()) + " is " + phase
	if detail := m.GetPhaseDetail(); detail != "" {
		text += ": " + format.Printable(format.OneLine(detail))
	}
	return text
}

// Voters says how many members vote, and how many of them changes need: "of 4 voters, 3 must run for changes".
func Voters(s *rollcallv1.GetStatusResponse) string {
	voters := 0
	for _, m := range s.GetMembers() {
		if m.GetMember().GetVoter() {
			voters++
		}
	}
	if voters == 1 {
		return "one voter is left, and must run for changes"
	}
	return fmt.Sprintf("of %d voters, %d must run for changes", voters, voters/2+1)
}

// memberChange says what an event changed of who belongs to the cluster.
func memberChange(e *rollcallv1.Event) string {
	m := e.GetMember()
	name, directory := format.OrDash(m.GetName()), ""
	if id := m.GetDirectoryId(); id != "" {
		directory = ", directory " + format.Printable(id)
	}
	switch {
	case e.GetType() == rollcallv1.EventType_EVENT_TYPE_MEMBER_REMOVED:
		return "member " + name + " removed for ever" + directory
	case m.GetPeerAddress() == "" && m.GetApiAddress() == "" && e.GetActor() == nil:
		return "removal of member " + name + " forgotten" + directory
	case m.GetPeerAddress() == "" && m.GetApiAddress() == "":
		return "member " + name + " ends" + directory
	case announced(e):
		return "member " + name + " at " + format.OrDash(m.GetApiAddress())
	case m.GetReplica():
		return "member " + name + " is to follow as a replica" + directory
	}
	return "member " + name + " is to vote" + directory
}

// announced reports whether a node itself said where it is and what it can do, as every node does when it starts. All
// other changes of members are somebody's commands.
func announced(e *rollcallv1.Event) bool {
	a := e.GetActor()
	return a == nil || a.GetVerified() && a.GetName() == "node "+e.GetMember().GetName()
}
