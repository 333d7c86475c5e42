package roster

import (
	"cmp"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/store"
)

// Directory is the data directory of a server in raft's configuration; "": it is not known. Founders' stand in the
// founding; a founder that was silent then had, before it was removed, the directory with the oldest tombstone of its
// name, unless it was removed without anybody knowing it: later directories of the name are not the founder's.
func (m *Members) Directory(founding *store.Founding, address raft.ServerAddress) string {
	name, directory := serveraddress.Split(address)
	if directory != "" {
		return directory
	}
	if founding != nil {
		for _, f := range founding.Members {
			if f.Name == name {
				directory = f.DirectoryID
			}
		}
	}
	if directory != "" || m.nobody[name] {
		return directory
	}
	var oldest int64
	for _, r := range m.removed {
		if r.GetName() == name && (oldest == 0 || r.GetRevision() < oldest) {
			directory, oldest = r.GetDirectoryId(), r.GetRevision()
		}
	}
	return cmp.Or(directory, m.Known[name])
}

// Leaving returns the data directories, each with its member's name, of servers in raft's configurations that are no
// member's any more, as far as this node knows. addresses are the servers'.
func (m *Members) Leaving(founding *store.Founding, addresses []raft.ServerAddress) map[string]string {
	var leaving map[string]string
	for _, address := range addresses {
		name, _ := serveraddress.Split(address)
		directory := m.Directory(founding, address)
		known, member := m.Known[name]
		if directory == "" || m.removed[directory] == nil && member && (known == "" || known == directory) {
			continue
		}
		if leaving == nil {
			leaving = map[string]string{}
		}
		leaving[directory] = name
	}
	return leaving
}

// AllRemoved returns all data directories that were removed, each with the name that it had.
func (m *Members) AllRemoved() map[string]string {
	all := make(map[string]string, len(m.removed))
	for directory, r := range m.removed {
		all[directory] = r.GetName()
	}
	return all
}
