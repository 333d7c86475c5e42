package peerport

import (
	"cmp"
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/store"
)

// View is what a node knows of itself and its cluster at one moment. Everything that is decided
// about a peer is decided on a view and the peer's hello alone.
type View struct {
	Node        string
	DirectoryID string
	Version     string
	Members     []Member          // as configured, by name
	Founding    *store.Founding   // nil: belongs to no cluster
	Known       map[string]string // member → data directory; "": any
	// Leaving are data directories, each with its member's name, that were removed and may still be in raft's
	// configuration: they count in elections until they are not.
	Leaving map[string]string
	// Removed returns when a data directory was removed that is not in Leaving; nil: it was not.
	Removed func(directory string) *peerv1.Removed
	Roster  *peerv1.Roster  // told to members; nil: there is none to tell
	Waiting *peerv1.Waiting // nil: the node does not wait to be made a member
	Running bool            // raft runs

	MaxLevel     uint32 // the highest feature level that this binary can read
	ClusterLevel uint32 // the cluster's, as far as this node knows
}

// ClusterID is "" for a node that belongs to no cluster.
func (v View) ClusterID() string {
	if v.Founding == nil {
		return ""
	}
	return v.Founding.ClusterID
}

// AnotherDirectory is what a node answers in the place of the directory by which it knows a member, when the caller
// has another one. No directory has this id.
const AnotherDirectory = "another"

// Question is the hello of a dialer: no more than the acceptor needs to recognise this node.
func (v View) Question(purpose peerv1.Hello_Purpose, to string) *peerv1.Hello {
	h := v.Hello(purpose, to)
	h.Members, h.Founding, h.YourDirectoryId = nil, nil, ""
	return h
}

// Answer is the hello of an acceptor to a dialer's. The id of a data directory is what members recognise each other
// by. A node that belongs to a cluster tells ids only to who has shown the right one for the name that it gives;
// anybody else hears whether the node knows that name, and whether the directory that it has shown was removed.
func (v View) Answer(h *peerv1.Hello) *peerv1.Hello {
	newer := logv1.LevelOf(h.GetLevel()) >= logv1.LevelMembers // an older process would not take a hello with newer fields
	if v.Founding == nil || v.recognises(h) {
		answer := v.Hello(h.GetPurpose(), h.GetNode())
		if v.leaves(h) {
			answer.YourDirectoryId = h.GetDirectoryId()
		}
		if newer && h.GetPurpose() == peerv1.Hello_PURPOSE_PROBE {
			answer.Waiting = v.Waiting
			if v.ClusterLevel >= logv1.LevelMembers {
				answer.Roster = v.Roster
			}
		}
		return answer
	}
	answer := v.answerStranger(h)
	if _, member := v.Known[h.GetNode()]; member {
		answer.YourDirectoryId = AnotherDirectory
	}
	if newer {
		answer.Removed = v.removed(h)
	}
	return answer
}

// recognises reports whether the sender of a hello has shown the directory of the member that it says it is.
func (v View) recognises(h *peerv1.Hello) bool {
	known, member := v.Known[h.GetNode()]
	return member && (known == "" || known == h.GetDirectoryId()) || v.leaves(h)
}

// leaves reports whether the sender of a hello was removed, and may still count in elections.
func (v View) leaves(h *peerv1.Hello) bool {
	name, ok := v.Leaving[h.GetDirectoryId()]
	return ok && name == h.GetNode()
}

// removed says when the directory was removed that the sender of a hello has shown; nil: it was not.
func (v View) removed(h *peerv1.Hello) *peerv1.Removed {
	if v.Removed == nil || h.GetDirectoryId() == "" || h.GetClusterId() != "" && h.GetClusterId() != v.ClusterID() {
		return nil
	}
	return v.Removed(h.GetDirectoryId())
}

// answerStranger is the hello of an acceptor to who is not the member that it says it is: without any ids of
// directories, and addresses.
func (v View) answerStranger(h *peerv1.Hello) *peerv1.Hello {
	answer := v.Hello(h.GetPurpose(), h.GetNode())
	answer.Members, answer.Founding, answer.DirectoryId, answer.YourDirectoryId = nil, nil, "", ""
	return answer
}

// Hello is all that the node says of itself to the named peer.
func (v View) Hello(purpose peerv1.Hello_Purpose, to string) *peerv1.Hello {
	h := &peerv1.Hello{
		Protocol:        helloProtocol,
		Purpose:         purpose,
		Node:            v.Node,
		To:              to,
		ClusterId:       v.ClusterID(),
		DirectoryId:     v.DirectoryID,
		Version:         v.Version,
		YourDirectoryId: v.Known[to],
		Level:           logv1.LevelNumber(v.MaxLevel),
	}
	for _, m := range v.Members {
		h.Members = append(h.Members, &peerv1.MemberAddress{Name: m.Name, PeerAddress: m.PeerAddress})
	}
	if v.Founding != nil {
		h.Founding = foundingToProto(v.Founding)
	}
	return h
}

// Refuse says why the node does not want what a dialer asks for; "": it does. A probe is only
// refused by who is not meant: all else it wants to know.
func (v View) Refuse(h *peerv1.Hello) string {
	switch {
	case h.GetProtocol() != helloProtocol:
		return fmt.Sprintf("%s speaks version %d of the hello, %s version %d", v.Node, helloProtocol, h.GetNode(), h.GetProtocol())
	case h.GetTo() != v.Node && (h.GetTo() != "" || h.GetPurpose() != peerv1.Hello_PURPOSE_PROBE):
		return fmt.Sprintf("this is %s, not %s", v.Node, h.GetTo())
	case h.GetNode() == "" || h.GetDirectoryId() == "":
		return "the hello names no node or no data directory"
	case h.GetNode() == v.Node && h.GetDirectoryId() == v.DirectoryID:
		return fmt.Sprintf("%s was called by itself", v.Node)
	case h.GetNode() == v.Node:
		return fmt.Sprintf("%s was called by another node named %s", v.Node, v.Node)
	}
	switch h.GetPurpose() {
	case peerv1.Hello_PURPOSE_PROBE:
		return ""
	case peerv1.Hello_PURPOSE_RAFT, peerv1.Hello_PURPOSE_RPC, peerv1.Hello_PURPOSE_CLOCK:
	default:
		return fmt.Sprintf("%s does not know purpose %d", v.Node, h.GetPurpose())
	}
	if reason := v.Stranger(h); reason != "" {
		return reason
	}
	if h.GetClusterId() == "" {
		return fmt.Sprintf("%s belongs to cluster %s, %s to none yet", v.Node, ShortClusterID(v.ClusterID()), h.GetNode())
	}
	if !v.Running {
		return fmt.Sprintf("%s is starting", v.Node)
	}
	return v.outdated(h)
}

// outdated says why the sender of a hello cannot be a member any more: its binary cannot read what the
// cluster writes. "": it can.
func (v View) outdated(h *peerv1.Hello) string {
	level := logv1.LevelOf(h.GetLevel())
	if level >= v.ClusterLevel {
		return ""
	}
	return fmt.Sprintf("cluster %s is at feature level %d; %s runs %s, which can read level %d at most: start a newer version of it",
		ShortClusterID(v.ClusterID()), v.ClusterLevel, h.GetNode(), cmp.Or(h.GetVersion(), "a version"), level)
}

// Stranger says why the sender of a hello is not the member of this cluster that it says it is; ""
// if it is, or if it belongs to no cluster yet.
func (v View) Stranger(h *peerv1.Hello) string {
	if v.Founding == nil {
		return fmt.Sprintf("%s belongs to no cluster yet", v.Node)
	}
	if id := h.GetClusterId(); id != "" && id != v.ClusterID() {
		return fmt.Sprintf("%s belongs to cluster %s, %s to cluster %s",
			v.Node, ShortClusterID(v.ClusterID()), h.GetNode(), ShortClusterID(id))
	}
	if v.recognises(h) {
		return ""
	}
	if removed := v.removed(h); removed != nil {
		return fmt.Sprintf("the data directory of %s was removed from cluster %s at revision %d", h.GetNode(), ShortClusterID(v.ClusterID()), removed.GetRevision())
	}
	if _, member := v.Known[h.GetNode()]; !member {
		return fmt.Sprintf("%s is not a member of cluster %s", h.GetNode(), ShortClusterID(v.ClusterID()))
	}
	return fmt.Sprintf("%s has another data directory than the one cluster %s knows; start it with that one; if it is lost, with an empty one, and run \"rollcall member replace %s\"",
		h.GetNode(), ShortClusterID(v.ClusterID()), h.GetNode())
}

// Reject says why the dialer does not want the connection after all, given the acceptor's answer
// from address; nil: it does. It wants a probe from whoever is there if to is "".
func (v View) Reject(purpose peerv1.Hello_Purpose, to, address string, h *peerv1.Hello) error {
	refused := func(reason string) error {
		return &RefusedError{Peer: to, Address: address, Reason: reason}
	}
	switch {
	case to != "" && h.GetNode() != to && h.GetNode() != "":
		return refused(fmt.Sprintf("%s is %s, not %s", address, h.GetNode(), to))
	case purpose != peerv1.Hello_PURPOSE_PROBE && v.Founding != nil && h.GetClusterId() == "" && h.GetDirectoryId() != "" && !v.recognises(h):
		return refused(fmt.Sprintf("%s waits with an empty data directory; if its own is lost, run \"rollcall member replace %s\"", h.GetNode(), h.GetNode()))
	case h.GetRefusal() != "":
		return refused(h.GetRefusal())
	case h.GetProtocol() != helloProtocol:
		return refused(fmt.Sprintf("%s speaks version %d of the hello, %s version %d", cmp.Or(to, address), h.GetProtocol(), v.Node, helloProtocol))
	case h.GetNode() == "" || h.GetDirectoryId() == "" && (purpose != peerv1.Hello_PURPOSE_PROBE || h.GetClusterId() == ""):
		return refused(fmt.Sprintf("the hello of %s names no node or no data directory", address))
	case purpose == peerv1.Hello_PURPOSE_PROBE:
		return nil
	}
	if reason := v.Stranger(h); reason != "" {
		return refused(reason)
	}
	if reason := v.outdated(h); reason != "" {
		return refused(reason)
	}
	return nil
}

// ShortClusterID is how people see a cluster id: its first four digits.
func ShortClusterID(id string) string { return id[:min(4, len(id))] }

func foundingToProto(f *store.Founding) *peerv1.Founding {
	p := &peerv1.Founding{ClusterId: f.ClusterID}
	for _, m := range f.Members {
		p.Members = append(p.Members, &peerv1.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress, DirectoryId: m.DirectoryID})
	}
	return p
}

// FoundingFromProto is what a hello says of how its cluster was founded.
func FoundingFromProto(p *peerv1.Founding) *store.Founding {
	f := &store.Founding{ClusterID: p.GetClusterId()}
	for _, m := range p.GetMembers() {
		f.Members = append(f.Members, store.FoundingMember{Name: m.GetName(), PeerAddress: m.GetPeerAddress(), DirectoryID: m.GetDirectoryId()})
	}
	return f
}

// FoundingDirectory is the data directory that a founding gives a member.
func FoundingDirectory(f *peerv1.Founding, name string) (directory string, ok bool) {
	for _, m := range f.GetMembers() {
		if m.GetName() == name {
			return m.GetDirectoryId(), true
		}
	}
	return "", false
}
