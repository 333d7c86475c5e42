package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/connectivity"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// cutAfter is from when on a member that cannot be connected to counts as cut off: a restart takes less.
const cutAfter = 5 * time.Second

// justStarted is how long what others found of a member may be of before its start. They dial every 5 s, and a dial may
// take 2 s.
const justStarted = 20 * time.Second

// starting says whether a member has started lately, by what it says itself.
func starting(m *rollcallv1.MemberStatus, now time.Time) bool {
	age := now.Sub(m.GetStartTime().AsTime())
	return m.GetStartTime() != nil && age >= 0 && age < justStarted
}

// Unreached is a member to which this node has not been able to connect.
type Unreached struct {
	Member string
	For    time.Duration
	Why    string // how the last try failed, with the address
	Calls  bool   // it has connected to this node since
}

// cannotReach are the members to which this node has not been able to connect for some seconds, by name.
func (st NodeStatus) cannotReach() []string {
	var names []string
	for _, u := range st.CannotReach {
		if u.For >= cutAfter {
			names = append(names, u.Member)
		}
	}
	return names
}

// calls says whether a member connects to this node that cannot be connected to.
func (st NodeStatus) calls(member string) bool {
	return slices.ContainsFunc(st.CannotReach, func(u Unreached) bool { return u.Member == member && u.Calls })
}

// canForward says whether a change through this node would get to a leader: the node leads, or is connected to the
// leader, or knows nothing against it.
func (s *clusterService) canForward(st NodeStatus) bool {
	switch {
	case st.Leading:
		return true
	case st.Leader == "" || st.Leader == s.node:
		return false
	case !slices.Contains(st.cannotReach(), st.Leader):
		return true
	}
	conn, err := s.pool.Get(st.Leader)
	return err == nil && conn.GetState() == connectivity.Ready
}

// cut is the ways to one member that are closed.
type cut struct {
	to   string
	from []string // by name
	back bool     // the member can connect to all of them
}

// cuts finds the members that live and to which others cannot connect. One that has just started is not among them: the
// others may not have tried since. A member that nobody hears is down: that is no cut.
func cuts(node string, own *rollcallv1.MemberStatus, st NodeStatus, answers []answer, now time.Time) []cut {
	cannot := map[string][]string{node: st.cannotReach()} // by member, of those that told
	started := map[string]bool{node: starting(own, now)}
	for _, a := range answers {
		if a.res != nil {
			ms := a.res.GetMembers()[0]
			cannot[a.member.GetName()], started[a.member.GetName()] = ms.GetCannotReach(), starting(ms, now)
		}
	}
	var all []cut
	for _, m := range st.Members {
		to := m.GetName()
		theirs, told := cannot[to]
		if !told && !st.calls(to) || started[to] {
			continue
		}
		c := cut{to: to, back: true}
		for _, from := range st.Members {
			name := from.GetName()
			if name == to || !slices.Contains(cannot[name], to) {
				continue
			}
			c.from = append(c.from, name)
			c.back = c.back && (told && !slices.Contains(theirs, name) || !told && name == node)
		}
		if c.from != nil {
			all = append(all, c)
		}
	}
	return all
}

// words says what is cut, and what follows for changes. writable: a change through this node would go all the same.
func (c cut) words(node string, st NodeStatus, leader string, writable bool) string {
	text := fmt.Sprintf("%s cannot connect to %s", listed(c.from), c.to)
	where := memberNamed(st.Members, c.to).GetPeerAddress()
	if i := slices.IndexFunc(st.CannotReach, func(u Unreached) bool { return u.Member == c.to }); i >= 0 {
		where = st.CannotReach[i].Why
	}
	if where != "" {
		text += " (" + where + ")"
	}
	them := "them"
	if len(c.from) == 1 {
		them = "it"
	}
	if c.back {
		text += ", which can connect to " + them
	}
	switch {
	case c.to == leader:
		text += ": writes through " + them + " fail"
		if writable && slices.Equal(c.from, []string{node}) {
			text += " as soon as its old connection ends"
		}
		if st.Unsucceeded {
			text += ", and no voter is known that could lead better"
		}
	case slices.Contains(c.from, leader):
		text += ": " + c.to + " gets no changes"
	case memberNamed(st.Members, c.to).GetVoter(): // others never lead
		text += ": writes through " + them + " would fail if " + c.to + " led"
	}
	return text + "; look at firewalls, and at the peer address of " + c.to
}

// listed is "n1", "n1 and n2", or "n1, n2 and n3".
func listed(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// cutFrom says whether this node is among those that cannot connect to a member that lives.
func cutFrom(all []cut, node, to string) bool {
	return slices.ContainsFunc(all, func(c cut) bool { return c.to == to && slices.Contains(c.from, node) })
}

// localCutProblems names the cuts that this node knows of without asking.
func localCutProblems(node string, st NodeStatus, writable bool) []string {
	var out []string
	// What others found of this node it does not know.
	for _, c := range cuts(node, nil, st, nil, time.Now()) {
		out = append(out, c.words(node, st, st.Leader, writable))
	}
	return out
}
