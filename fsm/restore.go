package fsm

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// Snapshot answers raft.ErrNothingNewToSnapshot until raft has delivered the entries that the
// registry file already holds: a snapshot names the index that raft is at, and holds the registry file's.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Halted(); err != nil {
		return nil, err
	}
	if !f.delivered || f.quarantined.Load() {
		return nil, raft.ErrNothingNewToSnapshot
	}
	return f.cfg.RegistryFile.Snapshot()
}

// Restore makes the registry what an arriving snapshot says. If that fails the FSM halts, and goes
// on serving reads from the state it had until the process ends: by then the registry file may have dropped
// what it had not stored, and entries appended to it would leave a gap. The next start finds the
// snapshot in raft's store and the registry file behind it, and rebuilds the registry file from it.
func (f *FSM) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	start := time.Now()
	if err := f.Halted(); err != nil {
		return err
	}
	if err := f.restore(rc); err != nil {
		err = fmt.Errorf("%w: restore a snapshot: %w", ErrHalted, err)
		f.halt(err)
		return err
	}
	f.watches.WakeAll()
	f.release()
	f.restores.Add(1)
	f.cfg.Logger.Info("restored a snapshot",
		"index", f.index, "term", f.term, "revision", f.state.revision, "services", f.state.services.Len(), "took", time.Since(start).Round(time.Millisecond).String())
	return nil
}

func (f *FSM) restore(r io.Reader) error {
	if err := f.cfg.RegistryFile.Replace(r); err != nil {
		return err
	}
	s, _, meta, err := loadState(f.cfg.RegistryFile, f.cfg.Kinds, f.cfg.MaxLevel, f.cfg.HashVersion)
	if err != nil {
		return err
	}
	if s.revision < f.state.revision {
		// Watches never go back (P5). A restart may: nobody's stream lives through it.
		return fmt.Errorf("it is of revision %d; this node is at revision %d", s.revision, f.state.revision)
	}
	if f.state.clusterID != "" && s.clusterID != f.state.clusterID {
		return fmt.Errorf("it is of cluster %q; this node belongs to cluster %q", s.clusterID, f.state.clusterID)
	}
	f.state, f.delivered = s, true
	// The content of a snapshot can be of an older index than what this node holds without missing
	// anything, as raft's own no-ops never reach an FSM.
	if meta.GetIndex() > f.index {
		f.index, f.term = meta.GetIndex(), meta.GetTerm()
	}
	f.publishAll()
	return nil
}
