package roster

import (
	"fmt"
	"maps"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/store"
)

// Fold is what the registry says of the members at one revision.
type Fold struct {
	Revision int64 // of the registry
	Changed  int64 // revision of the newest change of a member or a removal; 0: there was none
	Members  map[string]*logv1.Member
	Removed  map[string]*logv1.RemovedMember // by key
}

// Members is who belongs to the cluster. It never changes.
type Members struct {
	// Revision is that of the newest change that is in it; 0: it is the founding.
	Revision int64
	// Known are the data directories by which members are recognised; "": any.
	Known map[string]string
	// Addresses are the newest peer addresses, of those whose address is known.
	Addresses map[string]string
	// Changed says that the members differ from those of the founding: one was added, replaced or removed.
	Changed bool

	moved   map[string]bool // members whose newest address comes before the one that the configuration lists
	removed map[string]*logv1.RemovedMember
	nobody  map[string]bool // founders that were removed, and whose directory nobody knew
}

// Of returns who belongs to a cluster. noted is what other members told; nil: nothing. It counts as long as it is newer
// than the registry. founding is nil for a node that belongs to no cluster.
func Of(founding *store.Founding, noted *store.Roster, f Fold) *Members {
	m := &Members{Known: map[string]string{}, Addresses: map[string]string{}, moved: map[string]bool{}, removed: map[string]*logv1.RemovedMember{}, nobody: map[string]bool{}}
	if founding == nil {
		return m
	}
	gone := map[string]bool{} // names of founders whose first directory was removed
	for _, r := range f.Removed {
		gone[r.GetName()] = true
		if id := r.GetDirectoryId(); id != "" {
			m.removed[id] = r
		} else {
			m.nobody[r.GetName()] = true
		}
	}
	if noted != nil && f.Revision < noted.Revision {
		m.Revision, m.Changed = noted.Revision, true
		for _, member := range noted.Members {
			m.add(member.Name, member.DirectoryID, member.PeerAddress)
			if !Founder(founding, member.Name, member.DirectoryID) {
				m.moved[member.Name] = true
			}
		}
		return m
	}
	m.Revision, m.Changed = f.Changed, len(f.Removed) > 0
	for _, member := range founding.Members {
		if !gone[member.Name] {
			m.add(member.Name, member.DirectoryID, member.PeerAddress)
		}
	}
	for name, member := range f.Members {
		m.add(name, member.GetDirectoryId(), member.GetPeerAddress())
		if member.GetJoined() {
			m.Changed, m.moved[name] = true, true
		}
	}
	return m
}

// Founder reports whether a founding names a member with that data directory, or with none, as of a member that was
// silent then.
func Founder(founding *store.Founding, name, directory string) bool {
	return slices.ContainsFunc(founding.Members, func(m store.FoundingMember) bool {
		return m.Name == name && (m.DirectoryID == "" || m.DirectoryID == directory)
	})
}

// add takes a member; what is not known of it does not take the place of what is.
func (m *Members) add(name, directory, address string) {
	if directory != "" || m.Known[name] == "" {
		m.Known[name] = directory
	}
	if address != "" {
		m.Addresses[name] = address
	}
}

// Moved reports whether the member's newest address comes before the one that the configuration lists, because it was
// added, or replaced, after the list was made.
func (m *Members) Moved(name string) bool { return m.moved[name] }

// Names are those of the members, in order.
func (m *Members) Names() []string { return slices.Sorted(maps.Keys(m.Known)) }

// Removed returns when a data directory was removed, as far as the registry says; nil: it was not.
func (m *Members) Removed(directory string) *logv1.RemovedMember { return m.removed[directory] }

// Store returns what identity.json keeps.
func (m *Members) Store() store.Roster {
	r := store.Roster{Revision: m.Revision}
	for _, name := range m.Names() {
		r.Members = append(r.Members, store.RosterMember{Name: name, PeerAddress: m.Addresses[name], DirectoryID: m.Known[name]})
	}
	return r
}

// Proto returns what members tell each other; nil: no change is known, so that there is nothing to tell.
func (m *Members) Proto() *peerv1.Roster {
	if m.Revision == 0 {
		return nil
	}
	r := &peerv1.Roster{Revision: m.Revision}
	for _, name := range m.Names() {
		r.Members = append(r.Members, &peerv1.RosterMember{Name: name, PeerAddress: m.Addresses[name], DirectoryId: m.Known[name]})
	}
	return r
}

// FromProto is what another member told; nil: nothing.
func FromProto(p *peerv1.Roster) *store.Roster {
	if p.GetRevision() <= 0 || len(p.GetMembers()) == 0 {
		return nil
	}
	r := &store.Roster{Revision: p.GetRevision()}
	for _, m := range p.GetMembers() {
		r.Members = append(r.Members, store.RosterMember{Name: m.GetName(), PeerAddress: m.GetPeerAddress(), DirectoryID: m.GetDirectoryId()})
	}
	return r
}

// Drift says in what a list of members, name → peer address, differs from who belongs to the cluster, if that matters. A
// founder's address may differ: it is where the list says, and announces that.
func (m *Members) Drift(listed map[string]string) []string {
	var drift []string
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if _, member := m.Known[name]; !member {
			drift = append(drift, name+" is listed and is no member")
		} else if m.moved[name] && m.Addresses[name] != "" && m.Addresses[name] != listed[name] {
			drift = append(drift, fmt.Sprintf("%s is at %s and listed at %s", name, m.Addresses[name], listed[name]))
		}
	}
	for _, name := range m.Names() {
		if _, ok := listed[name]; !ok {
			drift = append(drift, fmt.Sprintf("%s at %s is a member and not listed", name, m.Addresses[name]))
		}
	}
	return drift
}
