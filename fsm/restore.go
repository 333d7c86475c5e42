package fsm

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// Snapshot returns raft.ErrNothingNewToSnapshot until raft has delivered the entries that the registry file
// held at the start. Until then raft would name the snapshot by the index that it has delivered, but the
// registry file in it would be of a higher index.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Halted(); err != nil {
		return nil, err
	}
	if !f.delivered || f.quarantined.Load() {
		return nil, raft.ErrNothingNewToSnapshot
	}
	return f.cfg.RegistryFile.Snapshot()
}

// Restore replaces the registry by an arriving snapshot. If that fails the FSM halts, but serves reads from
// the old state until the process ends. It cannot go on, because the registry file may have dropped what it
// had not stored, so that new entries would leave a gap. The next start finds that the registry file is
// behind the snapshot in raft's store, and rebuilds it from the snapshot.
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
	f.followers.Publish(slices.Values([]string(nil)), []string{pattern.All})
	if f.cfg.OnLeasesReplaced != nil {
		f.cfg.OnLeasesReplaced()
	}
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
	if s.members.revision, err = s.membersRevision(f.cfg.RegistryFile); err != nil {
		return err
	}
	if s.revision < f.state.revision {
		// Watches never go back to an older state (P5). Only a restart may, because it ends all streams.
		return fmt.Errorf("it is of revision %d; this node is at revision %d", s.revision, f.state.revision)
	}
	if f.state.clusterID != "" && s.clusterID != f.state.clusterID {
		return fmt.Errorf("it is of cluster %q; this node belongs to cluster %q", s.clusterID, f.state.clusterID)
	}
	s.access.generation += f.state.access.generation + 1 // another one, whatever has changed
	f.state, f.delivered = s, true
	// The registry in a snapshot can be of an older index than this node's and still miss nothing: the
	// entries between may be raft's own, which never reach an FSM.
	if meta.GetIndex() > f.index {
		f.index, f.term = meta.GetIndex(), meta.GetTerm()
	}
	f.publishAll()
	return nil
}
