package server

import (
	"fmt"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// lostAfter is how long a member must have been silent before its machine may be lost. Until then it is more likely that
// it comes back by itself.
const lostAfter = 10 * time.Minute

// astrayAfter is how long a node has to find the cluster that it was made a member of, before somebody must help it. It
// asks for it every second or so.
const astrayAfter = 10 * time.Second

// calledBy is a member's name, with its phase if that is one in which nobody counts on it.
func calledBy(m *rollcallv1.Member) string {
	switch p := m.GetPhase(); p {
	case rollcallv1.MemberPhase_MEMBER_PHASE_JOINING, rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA, rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING:
		return m.GetName() + " (" + PhaseText(p) + ")"
	}
	return m.GetName()
}

// lossRemedy is what to do about a member that has lost its data, or may have, as it has been silent for very long; "":
// nothing yet, or nothing while the cluster takes no writes.
func lossRemedy(a answer, silence time.Duration, writable bool) string {
	name := a.member.GetName()
	switch {
	case !writable:
		return ""
	case a.lost:
		return fmt.Sprintf("; run: rollcall member replace %s", name)
	case silence >= lostAfter:
		return fmt.Sprintf("; if its data is lost, start it with an empty data directory and run: rollcall member replace %s", name)
	}
	return ""
}

// detailWaits begins the detail of a phase that does not go on until somebody does something.
const detailWaits = "waits: "

// waitingChanges names the changes of members that do not go on, and why. Who is silent is named elsewhere.
func waitingChanges(members []*rollcallv1.MemberStatus, silent map[string]bool) (texts []string) {
	for _, ms := range members {
		m := ms.GetMember()
		why, waits := strings.CutPrefix(m.GetPhaseDetail(), detailWaits)
		if !waits || silent[m.GetName()] && m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_JOINING {
			continue
		}
		texts = append(texts, calledBy(m)+" waits: "+why)
	}
	return texts
}

// takeDetails takes what the leader says of what changes of members wait for: only a leader knows.
func takeDetails(statuses []*rollcallv1.MemberStatus, leader *rollcallv1.GetStatusResponse) {
	for _, told := range leader.GetMembers()[1:] {
		for _, ms := range statuses {
			if m := ms.GetMember(); m.GetName() == told.GetMember().GetName() && m.GetPhase() == told.GetMember().GetPhase() {
				m.PhaseDetail = told.GetMember().GetPhaseDetail()
			}
		}
	}
}
