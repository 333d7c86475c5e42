package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// localProblems says what is wrong as far as this node knows, worst first. writable: a change through it would go.
func localProblems(node string, st NodeStatus, v verdict, writable bool) []string {
	var out []string
	if v.readsWhy != "" {
		out = append(out, ownProblem(node, st, v.readsWhy))
	}
	if st.Alarm != "" && v.readsWhy == "" {
		out = append(out, node+": "+st.Alarm)
	}
	if st.Formed && st.Leader == "" {
		out = append(out, "no leader: writes are refused")
	}
	out = append(out, localCutProblems(node, st, writable)...)
	return append(out, clockProblems(st.Clocks)...)
}

// clockProblems names the members whose clocks are off.
func clockProblems(clocks []ClockOffset) []string {
	var out []string
	if n := len(clocks); n > 1 && slices.IndexFunc(clocks, func(c ClockOffset) bool { return !c.Off || c.Ahead > 0 }) < 0 {
		// Either all clocks were set back, or a leader whose clock was ahead made the log's time.
		return []string{fmt.Sprintf("the clocks of all members are behind the log's time, by %s and more: it runs at half speed until they meet",
			roughly(-slices.MaxFunc(clocks, func(a, b ClockOffset) int { return cmp.Compare(a.Ahead, b.Ahead) }).Ahead))}
	}
	for _, c := range clocks {
		if c.Off {
			out = append(out, fmt.Sprintf("%s: its clock is %s %s: check its time service", c.Member, roughly(c.Ahead.Abs()), direction(c.Ahead)))
		}
	}
	return out
}

func direction(ahead time.Duration) string {
	if ahead < 0 {
		return "behind"
	}
	return "ahead"
}

// roughly gives a duration a precision that people can use.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d.Round(24*time.Hour)/(24*time.Hour))
	case d >= 2*time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// ownProblem says why a node does not serve. It does not blame a node that only waits for a cluster.
func ownProblem(node string, st NodeStatus, why string) string {
	if !st.Formed && st.Failed == "" {
		return why
	}
	return node + ": " + why
}

// severity orders problems: first those that stop writes, then those that stop this node, then those that may
// do so later.
type severity int

const (
	noWrites severity = iota
	memberSilent
	memberUnwell
)

// problems says in words what is wrong with the cluster, worst first.
func problems(node string, st NodeStatus, res *rollcallv1.GetStatusResponse, leader *answer, answers []answer, now time.Time) []string {
	type problem struct {
		severity severity
		text     string
	}
	var list []problem
	add := func(s severity, format string, a ...any) {
		list = append(list, problem{s, fmt.Sprintf(format, a...)})
	}

	voters, answering := 0, 0
	silent := make(map[string]bool)
	for _, a := range answers {
		silent[a.member.GetName()] = a.res == nil && !st.calls(a.member.GetName())
	}
	for _, m := range st.Members {
		if m.GetVoter() {
			voters++
			if !silent[m.GetName()] {
				answering++
			}
		}
	}
	voters += len(st.GoneVoters)
	quorum := voters/2 + 1
	self := memberStatusNamed(res.GetMembers(), node)
	closed := cuts(node, self, st, answers, now)
	for _, c := range closed {
		s := memberSilent
		if c.to == res.GetLeader() && slices.Contains(c.from, node) {
			s = noWrites
		}
		add(s, "%s", c.words(node, st, res.GetLeader(), res.GetWritable()))
	}

	switch {
	case !st.Formed:
		add(noWrites, "%s", ownProblem(node, st, self.GetError()))
	case res.GetLeader() == "":
		text := fmt.Sprintf("no leader: writes are refused; %d of %d voters needed", quorum, voters)
		if answering < quorum {
			text += fmt.Sprintf(", %d of them answered; if the others are lost for good: \"rollcall recover --help\"", answering)
		}
		add(noWrites, "%s", text)
	case cutFrom(closed, node, res.GetLeader()): // said above
	case leader.res == nil:
		add(noWrites, "leader %s does not answer: writes through this node are refused until it does or another leads", res.GetLeader())
	case !leader.res.GetWritable():
		add(noWrites, "leader %s does not take writes yet", res.GetLeader())
	case st.Leader == "":
		add(noWrites, "%s knows no leader: writes through it are refused; %s leads", node, res.GetLeader())
	}

	for _, a := range answers {
		name := a.member.GetName()
		if a.res != nil {
			ms := a.res.GetMembers()[0]
			switch {
			case ms.GetError() != "" && !(ms.GetError() == self.GetError() && !st.Formed):
				add(memberUnwell, "%s: %s", name, ms.GetError())
			case !ms.GetReady() && ms.GetError() == "" && res.GetLeader() != "" && a.member.GetPhase() != rollcallv1.MemberPhase_MEMBER_PHASE_JOINING:
				add(memberUnwell, "%s: not ready: it has heard no leader lately", name)
			}
			continue
		}
		if a.member.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING || cutFrom(closed, node, name) {
			continue // it is to be silent, or was named above
		}
		silence := now.Sub(a.since)
		what, todo, _ := strings.Cut(a.why, "; ")
		text := calledBy(a.member) + ": " + what
		if a.lost {
			text, todo = calledBy(a.member)+" has lost its data: it waits with an empty data directory", ""
		}
		if a.astray && silence >= astrayAfter {
			text = calledBy(a.member) + " runs, but has not found this cluster"
			todo = "its log says for what it waits; start it with --join and the peer address of a member"
		}
		if silence >= time.Second {
			text += " for " + inSeconds(silence)
		}
		if todo != "" {
			text += "; " + todo
		}
		if a.member.GetVoter() && answering == quorum && res.GetWritable() {
			text += "; one more failure stops writes"
		}
		add(memberSilent, "%s", text+lossRemedy(a, silence, res.GetWritable()))
	}
	for _, text := range waitingChanges(res.GetMembers(), silent) {
		add(memberUnwell, "%s", text)
	}
	if st.Formed {
		switch {
		case self.GetError() != "":
			add(memberUnwell, "%s", ownProblem(node, st, self.GetError()))
		case !self.GetReady() && res.GetLeader() != "":
			add(memberUnwell, "%s: not ready: it has heard no leader lately", node)
		}
	}
	for _, text := range clockProblems(st.Clocks) {
		add(memberUnwell, "%s", text)
	}
	slices.SortStableFunc(list, func(a, b problem) int { return int(a.severity - b.severity) })
	var out []string
	for _, p := range list {
		out = append(out, p.text)
	}
	return out
}

func memberStatusNamed(members []*rollcallv1.MemberStatus, name string) *rollcallv1.MemberStatus {
	for _, m := range members {
		if m.GetMember().GetName() == name {
			return m
		}
	}
	return nil
}
