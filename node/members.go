package node

import (
	"cmp"
	"context"
	"errors"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/store"
)

// membership is what a node knows of who belongs to its cluster.
type membership struct {
	records  map[string]*logv1.Member        // of the registry, by name: who should be a member
	removed  map[string]*logv1.RemovedMember // of the registry, by key: which data directories should be members no more
	founders map[string]store.FoundingMember // by name
	servers  []raftnode.Server               // of raft's configuration, which follows the registry
	details  map[string]string               // by name: what a change of a member waits for; only a leader knows
}

// wants says that the registry wants a server of raft's configuration as it is.
func (s membership) wants(server raftnode.Server) bool {
	record := s.records[server.Name]
	switch {
	case record == nil:
		return false
	case record.GetJoined():
		return server.Directory == record.GetDirectoryId()
	}
	return server.Directory == ""
}

// tombstone returns the record of the removal of a server's data directory; nil: it was not removed. Of a founder raft's
// configuration knows the name only. Whoever has the name after it has a directory there, too.
func (s membership) tombstone(server raftnode.Server) *logv1.RemovedMember {
	if server.Directory != "" {
		return s.removed[server.Directory]
	}
	if r := s.removed[logv1.RemovedKey(server.Name, s.founders[server.Name].DirectoryID)]; r != nil {
		return r
	}
	var first *logv1.RemovedMember
	for _, r := range s.removed {
		if r.GetName() == server.Name && (first == nil || r.GetRevision() < first.GetRevision()) {
			first = r
		}
	}
	return first
}

// members returns all members by name, also those that are still being removed, and as gone voters those whose data
// directory was replaced and whom raft's configuration still counts.
func (s membership) members() (all []*rollcallv1.Member, goneVoters []string) {
	held := make(map[string]raftnode.Server, len(s.servers)) // of those that are as the registry wants them
	for _, server := range s.servers {
		switch {
		case s.wants(server):
			held[server.Name] = server
		case s.records[server.Name] == nil:
			all = append(all, s.withoutRecord(server))
		case server.Voter:
			goneVoters = append(goneVoters, server.Name)
		}
	}
	for name, record := range s.records {
		now, inRaft := held[name]
		if !inRaft && !record.GetJoined() {
			continue // for a moment: raft's configuration and the registry are not read at once
		}
		m := &rollcallv1.Member{
			Name: name, ApiAddress: record.GetApiAddress(), PeerAddress: record.GetPeerAddress(), Replica: record.GetReplica(),
			DirectoryId: server.ShortDirectoryID(record.GetDirectoryId()), Voter: now.Voter, Phase: rollcallv1.MemberPhase_MEMBER_PHASE_JOINING,
		}
		if inRaft {
			m.Phase = phase(now.Voter, record.GetReplica())
		}
		all = append(all, m)
	}
	for _, m := range all {
		m.PhaseDetail = s.details[m.GetName()]
	}
	slices.SortFunc(all, func(a, b *rollcallv1.Member) int { return cmp.Compare(a.GetName(), b.GetName()) })
	slices.Sort(goneVoters)
	return all, goneVoters
}

// withoutRecord is a member that raft's configuration has and the registry has not: it is being removed, or it is a
// founder that has not announced itself.
func (s membership) withoutRecord(in raftnode.Server) *rollcallv1.Member {
	founder := s.founders[in.Name]
	m := &rollcallv1.Member{Name: in.Name, Voter: in.Voter, Phase: phase(in.Voter, false), PeerAddress: founder.PeerAddress}
	directory := cmp.Or(in.Directory, founder.DirectoryID)
	if r := s.tombstone(in); r != nil {
		m.Phase = rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING
		directory = r.GetDirectoryId()
	}
	m.DirectoryId = server.ShortDirectoryID(directory)
	return m
}

func phase(voter, replica bool) rollcallv1.MemberPhase {
	switch {
	case voter:
		return rollcallv1.MemberPhase_MEMBER_PHASE_VOTER
	case replica:
		return rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	}
	return rollcallv1.MemberPhase_MEMBER_PHASE_JOINING
}

// silentFounders are the members of raft's configuration that the registry has not heard of, and has not removed.
func (s membership) silentFounders() map[string]*logv1.Member {
	silent := map[string]*logv1.Member{}
	for _, in := range s.servers {
		if s.records[in.Name] != nil || s.tombstone(in) != nil {
			continue
		}
		founder := s.founders[in.Name]
		silent[in.Name] = &logv1.Member{
			Name: in.Name, PeerAddress: founder.PeerAddress, DirectoryId: cmp.Or(founder.DirectoryID, logv1.UnknownDirectory(in.Name)),
		}
	}
	return silent
}

// membership is of one moment, but for what happens meanwhile.
func (n *Node) membership(s raftnode.Status) membership {
	m := membership{
		records: n.fsm.Members(), removed: n.fsm.Removed(), servers: s.Servers, details: s.Steps,
		founders: map[string]store.FoundingMember{},
	}
	if f := n.directory.Identity().Founding; f != nil {
		for _, founder := range f.Members {
			m.founders[founder.Name] = founder
		}
	}
	return m
}

// members are those of the cluster; while there is none, those that the configuration lists. Addresses that nobody told
// are those of the list.
func (n *Node) members(s raftnode.Status) (all []*rollcallv1.Member, goneVoters []string) {
	if all, goneVoters = n.membership(s).members(); len(all) == 0 {
		for _, m := range n.cfg.Members {
			all = append(all, &rollcallv1.Member{Name: m.Name, Voter: true})
		}
		slices.SortFunc(all, func(a, b *rollcallv1.Member) int { return cmp.Compare(a.GetName(), b.GetName()) })
	}
	for _, m := range all {
		if listed, ok := n.listed(m.GetName()); ok {
			m.ApiAddress = cmp.Or(m.GetApiAddress(), listed.APIAddress)
			m.PeerAddress = cmp.Or(m.GetPeerAddress(), listed.PeerAddress)
		}
	}
	return all, goneVoters
}

// clusterMembers is the cluster as server changes its members.
type clusterMembers struct{ *Node }

// MemberRecords implements server.Members.
func (n clusterMembers) MemberRecords() map[string]*logv1.Member { return n.fsm.Members() }

// SilentFounders implements server.Members.
func (n clusterMembers) SilentFounders() map[string]*logv1.Member {
	silent := n.membership(n.raft.Status()).silentFounders()
	for name, m := range silent {
		if listed, ok := n.listed(name); ok {
			m.PeerAddress = cmp.Or(listed.PeerAddress, m.GetPeerAddress())
			m.ApiAddress = listed.APIAddress
		}
	}
	return silent
}

// Removed implements server.Members.
func (n clusterMembers) Removed() bool {
	return n.fsm.RemovedDirectory(n.directoryID) != nil
}

// ProbeAddress implements server.Members.
func (n clusterMembers) ProbeAddress(ctx context.Context, address string) (*peerv1.Hello, error) {
	h, err := n.raft.ProbeAddress(ctx, address)
	if refusal := (*certs.Refusal)(nil); errors.As(err, &refusal) {
		err = &server.ImpostorError{Err: err}
	}
	return h, err
}

// TransferLeadershipTo implements server.Members.
func (n clusterMembers) TransferLeadershipTo(ctx context.Context, name string) error {
	err := n.raft.TransferLeadershipTo(ctx, name)
	if errors.Is(err, raftnode.ErrNotLeader) {
		return server.ErrNotLeading
	}
	return err
}
