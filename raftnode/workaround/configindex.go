package workaround

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// ConfigurationLog is a log store that knows at which index the newest configuration stands. A change of the
// configuration takes it as prevIndex: the change is then refused if somebody else changed the configuration meanwhile.
// Raft's own GetConfiguration (v1.7.3) always says 0, and so do its statistics.
type ConfigurationLog struct {
	raft.LogStore
	snapshots raft.SnapshotStore

	mu      sync.Mutex // guards what follows
	loading bool       // NewRaft reads the log: the last entry, then all after the snapshot, in order
	indexes []uint64   // of the configurations in the log, ascending
}

var _ raft.MonotonicLogStore = (*ConfigurationLog)(nil)

// NewConfigurationLog wraps the stores that raft.NewRaft is about to be called with. Call Loaded afterwards.
func NewConfigurationLog(log raft.LogStore, snapshots raft.SnapshotStore) *ConfigurationLog {
	return &ConfigurationLog{LogStore: log, snapshots: snapshots, loading: true}
}

// Loaded is called when NewRaft has returned.
func (l *ConfigurationLog) Loaded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loading = false
}

// Index is the log index of the newest configuration in the log, or else in the newest snapshot; 0: there is none.
func (l *ConfigurationLog) Index() (uint64, error) {
	snapshots, err := l.snapshots.List()
	if err != nil {
		return 0, err
	}
	var index uint64
	if len(snapshots) > 0 {
		index = snapshots[0].ConfigurationIndex
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.indexes); n > 0 {
		index = max(index, l.indexes[n-1])
	}
	return index, nil
}

// Committed reports that the newest configuration is committed, given the commit index. What a snapshot holds is.
func (l *ConfigurationLog) Committed(commit uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.indexes)
	return n == 0 || l.indexes[n-1] <= commit
}

// Earlier returns the servers of all configurations that the newest one may yet give way to, given the commit index: of
// the newest that is committed, and of those between the two. One that cannot be read is left out.
func (l *ConfigurationLog) Earlier(commit uint64) []raft.Server {
	l.mu.Lock()
	indexes := slices.Clone(l.indexes)
	l.mu.Unlock()
	var servers []raft.Server
	for i := len(indexes) - 2; i >= 0; i-- {
		var entry raft.Log
		if l.LogStore.GetLog(indexes[i], &entry) == nil {
			servers = append(servers, raft.DecodeConfiguration(entry.Data).Servers...)
		}
		if indexes[i] <= commit {
			return servers
		}
	}
	if snapshots, err := l.snapshots.List(); err == nil && len(snapshots) > 0 {
		servers = append(servers, snapshots[0].Configuration.Servers...)
	}
	return servers
}

// GetLog reads an entry.
func (l *ConfigurationLog) GetLog(index uint64, entry *raft.Log) error {
	err := l.LogStore.GetLog(index, entry)
	if err == nil && entry.Type == raft.LogConfiguration {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.loading {
			l.note(entry.Index)
		}
	}
	return err
}

// StoreLog stores an entry.
func (l *ConfigurationLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores entries.
func (l *ConfigurationLog) StoreLogs(entries []*raft.Log) error {
	if err := l.LogStore.StoreLogs(entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type == raft.LogConfiguration {
			l.mu.Lock()
			l.note(e.Index)
			l.mu.Unlock()
		}
	}
	return nil
}

// note takes an index that is in the log. The caller holds mu.
func (l *ConfigurationLog) note(index uint64) {
	if at, found := slices.BinarySearch(l.indexes, index); !found {
		l.indexes = slices.Insert(l.indexes, at, index)
	}
}

// DeleteRange deletes entries: the oldest ones, which a snapshot covers, or the newest ones, which no quorum has.
func (l *ConfigurationLog) DeleteRange(first, last uint64) error {
	if err := l.LogStore.DeleteRange(first, last); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.indexes = slices.DeleteFunc(l.indexes, func(i uint64) bool { return first <= i && i <= last })
	return nil
}

// IsMonotonic says what the wrapped store says.
func (l *ConfigurationLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
