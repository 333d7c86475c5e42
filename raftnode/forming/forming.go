package forming

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
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
//     its data: it stops.
//   - Only the founder, the first member by name, makes a Founding, and only after every other
//     member has answered that it has none and was given the same list.
//
// Wiped while another is down: an acknowledged write is on a majority, and all of that majority have
// the Founding. Any founder, wiped or not, hears from every other member before it founds, so it
// hears from at least one with the Founding, unless the founder is all that is left of that majority,
// or a majority was wiped. A wiped node that is not the founder never founds; it waits, or stops.
//
// Two that found at once: they would need different founders, hence different lists; but each had an
// answer from the other, with its list, and lists that differ stop both. A founder that crashes after
// it stored the Founding bootstraps when it starts again: nobody else could have had a log before it.
// Answers may be stale when the founder acts on them, but nobody else makes a Founding meanwhile, and
// a member wiped in that moment is in the Founding with its old directory: it is refused.
//
// --force-bootstrap founds without the silent ones, whose directories are then not known ("" in the
// Founding, any will do until the member announces its own). It is for one node, and for those who
// know that the silent ones hold nothing.

// Answer is how a member answered a probe.
type Answer struct {
	Member  peerport.Member
	Address string        // that answered
	Hello   *peerv1.Hello // nil: Err says why
	Err     error
}

// Decision is what follows from a round of answers: exactly one field is set.
type Decision struct {
	Adopt   *store.Founding // a cluster's, which has this node as a member
	Found   *store.Founding // to be made by this node; its ClusterID is still ""
	Fatal   error
	Waiting string // for what, in words
}

// Decide says what a node without a Founding does after a round of answers, one for each other
// member.
func Decide(v peerport.View, directory string, force bool, answers []Answer) Decision {
	if d, ok := decideByClusters(v, directory, answers); ok {
		return d
	}
	mine := memberAddresses(v.Members)
	directories := map[string]string{v.Node: v.DirectoryID}
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
		if !maps.Equal(mine, theirs) {
			return Decision{Fatal: &Error{fmt.Sprintf("%s and %s were given different members; %s: %s; %s: %s",
				v.Node, a.Member.Name, v.Node, describeMembers(mine), a.Member.Name, describeMembers(theirs))}}
		}
		directories[a.Member.Name] = a.Hello.GetDirectoryId()
	}
	founder := slices.Min(slices.Collect(maps.Keys(mine)))
	if !force && (v.Node != founder || len(silent) > 0) {
		return Decision{Waiting: describeWaiting(v.Node, founder, silent)}
	}
	f := &store.Founding{}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		f.Members = append(f.Members, store.FoundingMember{Name: name, PeerAddress: mine[name], DirectoryID: directories[name]})
	}
	return Decision{Found: f}
}

// decideByClusters decides if anybody who answered has a cluster.
func decideByClusters(v peerport.View, directory string, answers []Answer) (Decision, bool) {
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
			return Decision{Fatal: &Error{fmt.Sprintf("%s (%s) belongs to cluster %s, but %s (%s) belongs to cluster %s",
				first.Member.Name, first.Address, peerport.ShortClusterID(first.Hello.GetClusterId()),
				a.Member.Name, a.Address, peerport.ShortClusterID(a.Hello.GetClusterId()))}}, true
		}
	}
	// One that knows this directory suffices: the others' folds may be behind.
	listed := false
	for _, a := range formed {
		directory, ok := directoryOf(v.Node, a.Hello)
		listed = listed || ok
		if ok && (directory == "" || directory == v.DirectoryID) && a.Hello.GetFounding() != nil {
			return Decision{Adopt: peerport.FoundingFromProto(a.Hello.GetFounding())}, true
		}
	}
	cluster := peerport.ShortClusterID(first.Hello.GetClusterId())
	if listed {
		return Decision{Fatal: &Error{fmt.Sprintf("%s belongs to cluster %s but %s is empty; start it with its own data directory; if that is lost, %s",
			v.Node, cluster, directory, raftlog.LostMember)}}, true
	}
	return Decision{Fatal: &Error{fmt.Sprintf("%s is not a member of cluster %s, which %s (%s) belongs to; %s",
		v.Node, cluster, first.Member.Name, first.Address, newMembers)}}, true
}

// newMembers is what to do when a cluster shall have another member: no command adds one.
const newMembers = `start it with the --member list that the cluster has, or make a new cluster with the new list from a backup ` +
	`("rollcall snapshot save", then "rollcall snapshot restore" for each member)`

// directoryOf is the directory by which the sender of a hello knows a node, and whether it knows it
// at all. What was announced to the cluster is newer than its founding.
func directoryOf(node string, h *peerv1.Hello) (string, bool) {
	if id := h.GetYourDirectoryId(); id != "" {
		return id, true
	}
	return peerport.FoundingDirectory(h.GetFounding(), node)
}

// Check checks a node that has a Founding against what its peers answered at its start. Those
// who are silent or have no cluster do not matter.
func Check(v peerport.View, directory string, answers []Answer) error {
	var stranger error
	for _, a := range answers {
		id := a.Hello.GetClusterId()
		if id == "" {
			continue
		}
		if id != v.ClusterID() {
			return &Error{fmt.Sprintf("%s belongs to cluster %s, but %s (%s) belongs to cluster %s",
				directory, peerport.ShortClusterID(v.ClusterID()), a.Member.Name, a.Address, peerport.ShortClusterID(id))}
		}
		known, ok := directoryOf(v.Node, a.Hello)
		if ok && known == v.DirectoryID {
			return nil
		}
		if ok && known != "" && stranger == nil {
			stranger = &Error{fmt.Sprintf("%s is not the data directory by which %s (%s) knows %s; start it with that directory; if it is lost, %s",
				directory, a.Member.Name, a.Address, v.Node, raftlog.LostMember)}
		}
	}
	return stranger
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
