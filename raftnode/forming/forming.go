package forming

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/roster"
	"github.com/rollcallhq/rollcall/store"
)

// Forming a cluster.
//
// Raft is safe as long as no voter forgets what it voted and stored. A node that lost its disk has
// forgotten. If nodes bootstrapped by themselves from identical member lists, a wiped node and one
// that had not seen the newest entries would be a majority, elect a leader, and overwrite what was
// acknowledged by the third, which happens to be down. So memory of having been a member must not
// live on the lost disk alone:
//
//   - Every data directory has a random id from birth. A cluster's Founding lists, for every first
//     member, the id of the directory it had then, and every member stores the Founding before its
//     raft starts, hence before it votes for or stores anything.
//   - A node without a Founding never starts raft. It asks all listed members. One that has the
//     Founding and knows this node by this directory passes it on: the node joins, its log empty as
//     it has always been. One that knows this node by another directory tells it that it has lost
//     its data: it waits until it is made a member again, with this directory.
//   - Only the founder, the first member by name, makes a Founding, and only after every other
//     member has answered that it has none and was given the same list.
//
// Wiped while another is down: an acknowledged write is on a majority, and all of that majority have
// the Founding. Any founder, wiped or not, hears from every other member before it founds, so it
// hears from at least one with the Founding, unless the founder is all that is left of that majority,
// or a majority was wiped. A wiped node that is not the founder never founds; it waits.
//
// Two that found at once: they would need different founders, hence different lists; but each had an
// answer from the other, with its list, and lists that differ stop both. A founder that crashes after
// it stored the Founding bootstraps when it starts again: nobody else could have had a log before it.
// Answers may be stale when the founder acts on them, but nobody else makes a Founding meanwhile, and
// a member wiped in that moment is in the Founding with its old directory: it is refused.
//
// A node that was made a member of a cluster that runs has the Founding too, with a note that it joined: such a one never
// founds, and never bootstraps, whatever its name.
//
// --force-bootstrap founds without the silent ones, whose directories are then not known ("" in the
// Founding, any will do until the member announces its own). It is for one node, and for those who
// know that the silent ones hold nothing.

// Node is what decides: a node as it is configured, with the data that it has.
type Node struct {
	peerport.View
	PeerAddress string // where others find it
	Directory   string // the path of its data directory
	Force       bool   // it founds although some do not answer
	Joins       bool   // it was told to wait to be made a member: it never founds
	Joined      bool   // it was made a member of a cluster that ran
}

// Answer is how a member answered a probe.
type Answer struct {
	Member  peerport.Member // its name is "" if only an address is known, and nobody answered there
	Address string          // that answered
	Hello   *peerv1.Hello   // nil: Err says why
	Err     error
}

// name is what people call who was asked.
func (a Answer) name() string { return cmp.Or(a.Member.Name, a.Member.PeerAddress) }

// at is name with the address that answered.
func (a Answer) at() string {
	return fmt.Sprintf("%s (%s)", cmp.Or(a.Hello.GetNode(), a.Member.Name), a.Address)
}

// Decision is what follows from a round of answers: exactly one of Adopt, Found, Fatal and Waiting is set.
type Decision struct {
	Adopt   *store.Founding // a cluster's, which has this node as a member
	Joined  bool            // with Adopt: the cluster ran before this node's directory was a member's
	Roster  *store.Roster   // with Adopt: who belongs to the cluster; nil: nobody told
	Found   *store.Founding // to be made by this node; its ClusterID is still ""
	Fatal   error
	Waiting string // for what, in words
	Unknown bool   // with Waiting: there is a cluster, and it does not know this node's directory
}

// Decide says what a node without a Founding does after a round of answers, one for each other member, or for each
// address that it was told to join.
func Decide(n Node, answers []Answer) Decision {
	if d, ok := n.decideByClusters(answers); ok {
		return d
	}
	if n.Joins {
		return Decision{Waiting: describeJoining(answers)}
	}
	mine := memberAddresses(n.Members)
	directories := map[string]string{n.View.Node: n.DirectoryID}
	var silent []Answer
	for _, a := range answers {
		if a.Hello == nil {
			silent = append(silent, a)
			continue
		}
		theirs := map[string]string{}
		for _, m := range a.Hello.GetMembers() {
			theirs[m.GetName()] = m.GetPeerAddress()
		}
		if len(theirs) == 0 {
			return Decision{Waiting: fmt.Sprintf("waiting for %s to form the cluster: it was started with --join, and waits to be made a member of another one", a.Member.Name)}
		}
		if !maps.Equal(mine, theirs) {
			return Decision{Fatal: &Error{fmt.Sprintf("%s and %s were given different members; %s: %s; %s: %s",
				n.View.Node, a.Member.Name, n.View.Node, describeMembers(mine), a.Member.Name, describeMembers(theirs))}}
		}
		directories[a.Member.Name] = a.Hello.GetDirectoryId()
	}
	founder := slices.Min(slices.Collect(maps.Keys(mine)))
	if !n.Force && (n.View.Node != founder || len(silent) > 0) {
		return Decision{Waiting: describeWaiting(n.View.Node, founder, silent)}
	}
	f := &store.Founding{}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		f.Members = append(f.Members, store.FoundingMember{Name: name, PeerAddress: mine[name], DirectoryID: directories[name]})
	}
	return Decision{Found: f}
}

// decideByClusters decides if anybody who answered has a cluster.
func (n Node) decideByClusters(answers []Answer) (Decision, bool) {
	var formed []Answer
	for _, a := range answers {
		if a.Hello.GetClusterId() != "" {
			formed = append(formed, a)
		}
	}
	if len(formed) == 0 {
		return Decision{}, false
	}
	first := formed[0]
	for _, a := range formed[1:] {
		if a.Hello.GetClusterId() != first.Hello.GetClusterId() {
			return Decision{Fatal: &Error{fmt.Sprintf("%s belongs to cluster %s, but %s belongs to cluster %s",
				first.at(), peerport.ShortClusterID(first.Hello.GetClusterId()), a.at(), peerport.ShortClusterID(a.Hello.GetClusterId()))}}, true
		}
	}
	// One that knows this directory suffices: the others' folds may be behind.
	listed := false
	for _, a := range formed {
		directory, ok := directoryOf(n.View.Node, a.Hello)
		listed = listed || ok
		if !ok || directory != "" && directory != n.DirectoryID || a.Hello.GetFounding() == nil {
			continue
		}
		d := Decision{Adopt: peerport.FoundingFromProto(a.Hello.GetFounding())}
		// Of a founder that was silent then, and has just come for the first time, no directory is known. One that is known
		// by its directory before it has the Founding was made a member with it.
		first := directory == "" || slices.ContainsFunc(d.Adopt.Members, func(m store.FoundingMember) bool {
			return m.Name == n.View.Node && m.DirectoryID == n.DirectoryID
		})
		d.Joined, d.Roster = !first, newestRoster(formed)
		return d, true
	}
	return Decision{Waiting: n.describeUnknown(first, listed), Unknown: true}, true
}

// newestRoster is who belongs to the cluster, by the newest of what several members told; nil: none told.
func newestRoster(answers []Answer) *store.Roster {
	var newest *store.Roster
	for _, a := range answers {
		r := roster.FromProto(a.Hello.GetRoster())
		if r != nil && r.Check() == nil && (newest == nil || newest.Revision < r.Revision) {
			newest = r
		}
	}
	return newest
}

// directoryOf is the directory by which the sender of a hello knows a node, and whether it knows it
// at all. What was announced to the cluster is newer than its founding.
func directoryOf(node string, h *peerv1.Hello) (string, bool) {
	if id := h.GetYourDirectoryId(); id != "" {
		return id, true
	}
	return peerport.FoundingDirectory(h.GetFounding(), node)
}

// Check checks a node that has a Founding against what others answered at its start. Those who are silent or have no
// cluster do not matter.
func Check(n Node, answers []Answer) error {
	var stranger, elsewhere error
	for _, a := range answers {
		id := a.Hello.GetClusterId()
		if id == "" {
			continue
		}
		if id != n.ClusterID() {
			elsewhere = cmp.Or(elsewhere, error(&Error{fmt.Sprintf("%s belongs to cluster %s, but %s belongs to cluster %s",
				n.Directory, peerport.ShortClusterID(n.ClusterID()), a.at(), peerport.ShortClusterID(id))}))
			continue
		}
		known, ok := directoryOf(n.View.Node, a.Hello)
		if ok && known == n.DirectoryID {
			return nil
		}
		// One that was made a member was known by then to a majority. Who knows its name by another directory may have
		// been away, and if the directory was removed since, who knows that says so.
		if ok && known != "" && stranger == nil && !n.Joined {
			stranger = &Error{fmt.Sprintf("%s is not the data directory by which %s knows %s; start %s with that directory; if it is lost, %s",
				n.Directory, a.at(), n.View.Node, n.View.Node, n.replaceAdvice())}
		}
	}
	return cmp.Or(stranger, elsewhere)
}

func memberAddresses(members []peerport.Member) map[string]string {
	m := make(map[string]string, len(members))
	for _, member := range members {
		m[member.Name] = member.PeerAddress
	}
	return m
}

// describeWaiting says for whom a node waits and why they do not answer.
func describeWaiting(node, founder string, silent []Answer) string {
	names := make([]string, 0, len(silent)+1)
	reasons := make([]string, 0, len(silent))
	for _, a := range silent {
		names = append(names, a.Member.Name)
		reasons = append(reasons, a.Member.Name+": "+peerport.Reason(a.Err))
	}
	if node != founder && !slices.Contains(names, founder) {
		names = append([]string{founder}, names...)
	}
	text := "waiting for " + strings.Join(names, ", ") + " to form the cluster"
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, "; ")
	}
	return text
}

// NewClusterID returns a random one.
func NewClusterID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// describeMembers renders a member list as operators write it.
func describeMembers(members map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + members[name])
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}
