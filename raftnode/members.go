package raftnode

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/roster"
	"github.com/rollcallhq/rollcall/store"
)

const (
	// askPause is at least between two rounds of asking who belongs to the cluster: whoever says hello may cause one.
	askPause = 5 * time.Second
	// leavePause is between two looks at whether a removed member is still in raft's configuration.
	leavePause = 250 * time.Millisecond
	// notePause is before identity.json is written again after that failed.
	notePause = time.Minute
)

// knownMembers is who belongs to the cluster, and of what it was computed.
type knownMembers struct {
	founding *store.Founding
	noted    *store.Roster // nil: none, or the fold is as new
	changed  int64
	*roster.Members
}

// roster is who belongs to the cluster as far as this node knows. It is computed again only when it may have changed:
// every hello asks for it.
func (n *Node) roster() *roster.Members {
	founding, noted := n.founding.Load(), n.noted.Load()
	revision := n.cfg.State.Revision() // before the rest, which may be newer
	if noted != nil && noted.Revision <= revision {
		noted = nil
	}
	changed := n.cfg.State.MembersRevision()
	if k := n.members.Load(); k != nil && k.founding == founding && k.noted == noted && k.changed == changed {
		return k.Members
	}
	k := &knownMembers{founding: founding, noted: noted, changed: changed}
	k.Members = roster.Of(founding, noted, roster.Fold{
		Revision: revision, Changed: changed, Members: n.cfg.State.Members(), Removed: n.cfg.State.Removed(),
	})
	n.members.Store(k)
	return k.Members
}

func (n *Node) view() peerport.View {
	m := n.roster()
	v := peerport.View{
		Node:        n.cfg.Node,
		DirectoryID: n.directoryID,
		Version:     n.cfg.Version,
		Members:     n.cfg.Members,
		Founding:    n.founding.Load(),
		Known:       m.Known,
		Running:     n.raft.Load() != nil,
		Roster:      m.Proto(),

		MaxLevel:     n.cfg.State.MaxLevel(),
		ClusterLevel: n.cfg.State.Level(),
	}
	if v.Founding == nil {
		v.Waiting = &peerv1.Waiting{Replica: n.cfg.Replica, ApiAddress: n.cfg.APIAddress}
		return v
	}
	leaving, settled := n.leaving(m)
	v.Leaving = leaving
	v.Removed = func(directory string) *peerv1.Removed {
		r := m.Removed(directory)
		if _, leaves := leaving[directory]; r == nil || leaves || !settled {
			return nil
		}
		return &peerv1.Removed{Revision: r.GetRevision(), DirectoryId: directory, By: ShortDirectory(r.GetReplacedBy())}
	}
	return v
}

// leaving returns the data directories that may count in elections though they are no member's, each with its name:
// their servers are to be removed from raft's configuration. settled is false while the newest configuration is not
// committed. Then the older ones count too: another leader may put one in its place, and may itself be a server only of
// that one.
func (n *Node) leaving(m *roster.Members) (leaving map[string]string, settled bool) {
	r := n.raft.Load()
	if r == nil {
		return m.AllRemoved(), false
	}
	var addresses []raft.ServerAddress
	servers := r.GetConfiguration().Configuration().Servers
	committed := n.committed(r)
	if settled = n.log.Committed(committed); !settled {
		servers = slices.Concat(servers, n.log.Earlier(committed)) // raft shares the first
	}
	for _, server := range servers {
		addresses = append(addresses, server.Address)
	}
	return m.Leaving(n.founding.Load(), addresses), settled
}

// committed is the newest log entry that this node knows to be committed.
func (n *Node) committed(r *raft.Raft) uint64 {
	// Raft learns after a restart only from the leader how much is committed; what is applied was.
	return max(r.CommitIndex(), n.cfg.State.AppliedIndex())
}

// addresses are where a member may be found: as listed, as the cluster knows it, and as it was at the founding, in this
// order. What the cluster knows comes first if the member was added or replaced, after the list was made perhaps.
func (n *Node) addresses(name string) []string {
	var all []string
	add := func(address string) {
		if address != "" && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	m := n.roster()
	if m.Moved(name) {
		add(m.Addresses[name])
	}
	for _, listed := range n.cfg.Members {
		if listed.Name == name {
			add(listed.PeerAddress)
		}
	}
	add(m.Addresses[name])
	if f := n.founding.Load(); f != nil {
		for _, founder := range f.Members {
			if founder.Name == name {
				add(founder.PeerAddress)
			}
		}
	}
	return all
}

// met hurries forming when somebody has a cluster. A member of this node's cluster that it does not recognise may have
// been added, or replaced, while this node was away: the others are asked.
func (n *Node) met(h *peerv1.Hello) {
	f := n.founding.Load()
	switch {
	case h.GetClusterId() == "":
	case f == nil:
		nudge(n.kick)
	case h.GetClusterId() == f.ClusterID && h.GetNode() != n.cfg.Node && n.raft.Load() != nil && n.view().Stranger(h) != "":
		nudge(n.ask)
	}
}

// answered takes what another member says of who belongs to the cluster. It is believed because this node asked, at an
// address that it has itself: one that came with a request, as that of a node to be added, is none.
func (n *Node) answered(address string, h *peerv1.Hello) {
	if !slices.Contains(n.cfg.Join, address) && !slices.Contains(n.addresses(h.GetNode()), address) {
		return
	}
	f := n.founding.Load()
	if h.GetClusterId() == "" || f != nil && f.ClusterID != h.GetClusterId() {
		return
	}
	if r := h.GetRemoved(); r.GetDirectoryId() == n.directoryID {
		n.removal.CompareAndSwap(nil, &store.Removal{Revision: r.GetRevision(), ReplacedBy: r.GetBy()})
		nudge(n.told)
	}
	told := roster.FromProto(h.GetRoster())
	if f == nil || told == nil || told.Check() != nil {
		return
	}
	for {
		noted := n.noted.Load()
		if noted != nil && noted.Revision >= told.Revision || told.Revision <= n.cfg.State.Revision() {
			return
		}
		if n.noted.CompareAndSwap(noted, told) {
			nudge(n.told)
			return
		}
	}
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// askMembers asks the other members who belongs to the cluster, each time that there is reason to, until ctx ends.
func (n *Node) askMembers(ctx context.Context) {
	for {
		select {
		case <-n.ask:
		case <-ctx.Done():
			return
		}
		n.probeAll(ctx) // answered takes what they say
		if !sleep(ctx, askPause, nil) {
			return
		}
	}
}

// followMembers keeps what depends on who belongs to the cluster, until ctx ends or this node must stop. Raft runs.
func (n *Node) followMembers(ctx context.Context) {
	for {
		changed := n.cfg.State.MembersChanged()
		again, err := n.keepMembers()
		if err != nil {
			n.fail(err)
			return
		}
		timer := time.NewTimer(again)
		select {
		case <-changed:
		case <-n.told:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// keepMembers notes who belongs to the cluster, forgets who does not, and says when it is to be called again though
// nothing has changed. The error is a RemovedError.
func (n *Node) keepMembers() (again time.Duration, err error) {
	m := n.roster()
	leaving, settled := n.leaving(m)
	// Also if another member told it first: the registry says by whom, and why.
	if own := m.Removed(n.directoryID); own != nil && (n.removal.Load() != nil || settled && leaving[n.directoryID] == "") {
		removal := store.Removal{Revision: own.GetRevision(), Actor: own.GetActor().GetName(), Reason: own.GetReason(), ReplacedBy: own.GetReplacedBy()}
		if own.GetTime() != 0 {
			removal.Time = time.Unix(0, own.GetTime()).UTC()
		}
		n.removal.Store(&removal)
	}
	if err := n.checkRemoved(); err != nil {
		return 0, err
	}
	again = time.Duration(1<<63 - 1)
	if len(leaving) > 0 || m.Removed(n.directoryID) != nil {
		again = leavePause
	}
	if m.Removed(n.directoryID) != nil {
		nudge(n.ask) // the others may have taken it out of raft's configuration, and have no reason to call
	}
	if m.Changed {
		if err := n.cfg.Directory.SetRoster(m.Store()); err != nil {
			n.logger.Error("who belongs to the cluster cannot be written to identity.json; it is tried again", "error", err)
			again = min(again, notePause)
		}
	}
	n.port.Keep(n.concerned(m))
	return again, nil
}

// concerned are the names of all that belong to the cluster, or may still be in raft's configuration.
func (n *Node) concerned(m *roster.Members) map[string]bool {
	names := map[string]bool{}
	for name := range m.Known {
		names[name] = true
	}
	if r := n.raft.Load(); r != nil {
		for _, server := range r.GetConfiguration().Configuration().Servers {
			names[string(server.ID)] = true
		}
	}
	return names
}

// peers are the members that were dialed. Another node that is listed, or was a member, is none.
func (n *Node) peers() []peerport.PeerStatus {
	peers := n.port.Peers()
	if n.raft.Load() == nil {
		return peers
	}
	concerned := n.concerned(n.roster())
	return slices.DeleteFunc(peers, func(p peerport.PeerStatus) bool { return !concerned[p.Name] })
}

// checkRemoved returns a RemovedError if this directory was removed, and notes it for the next start.
func (n *Node) checkRemoved() error {
	r := n.removal.Load()
	if r == nil {
		return nil
	}
	if err := n.cfg.Directory.SetRemoved(*r); err != nil {
		n.logger.Error("it cannot be written to identity.json that this node was removed", "error", err)
	}
	return n.removedError(*r)
}

func (n *Node) removedError(r store.Removal) error {
	e := &RemovedError{Directory: n.cfg.Directory.Path(), Removal: r}
	if f := n.cfg.Directory.Identity().Founding; f != nil {
		e.Cluster = f.ClusterID
	}
	return e
}

// warnOfDrift says once in what the configuration differs from who belongs to the cluster.
func (n *Node) warnOfDrift() {
	m := n.roster()
	if !m.Changed || len(n.cfg.Join) > 0 {
		return
	}
	listed := map[string]string{}
	for _, member := range n.cfg.Members {
		listed[member.Name] = member.PeerAddress
	}
	if drift := m.Drift(listed); len(drift) > 0 {
		n.logger.Warn("the list of members that this node was started with is not the cluster's, which counts", "differs", drift)
	}
}

// others are the names of the members that this node asks: those of the cluster, and those that are listed.
func (n *Node) others() []string {
	names := maps.Clone(n.roster().Known)
	for _, m := range n.cfg.Members {
		names[m.Name] = ""
	}
	delete(names, n.cfg.Node)
	return slices.Sorted(maps.Keys(names))
}

// ProbeAddress asks whoever is at an address, host:port, for its hello. With a RefusedError the hello is returned too. An
// id that no data directory can have is left out: nobody could keep it.
func (n *Node) ProbeAddress(ctx context.Context, address string) (*peerv1.Hello, error) {
	h, err := n.port.ProbeAddress(ctx, address)
	if h != nil && !store.ValidDirectoryID(h.GetDirectoryId()) {
		h.DirectoryId = ""
	}
	return h, err
}
