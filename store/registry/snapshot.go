package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// fsmSnapshot is the registry file as of one moment: a read transaction that is open until the snapshot is
// copied or released. While it is open the file can only grow, and the writer waits if the file outgrows its
// mapping. So the file is first copied to a spool file: a slow network must not keep the transaction open.
type fsmSnapshot struct {
	registryFile *File
	meta         *logv1.RegistryMeta

	mu sync.Mutex // guards tx; held while the file is copied; taken before File.mu
	tx *bbolt.Tx  // nil: ended
}

// Snapshot flushes what was appended and returns a snapshot of exactly that. Its Release must be called.
func (j *File) Snapshot() (raft.FSMSnapshot, error) {
	if err := j.Flush(context.Background()); err != nil { // raft gives it no end; a disk that is stuck is a failure after a while
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	if j.db == nil {
		return nil, fmt.Errorf("snapshot: %s: %w", j.path, vfs.ErrClosed)
	}
	s := &fsmSnapshot{registryFile: j}
	err := boltfile.Guard(func() (err error) {
		if s.tx, err = j.db.Begin(false); err != nil {
			return err
		}
		s.meta, err = readMeta(s.tx)
		return err
	})
	if err != nil {
		s.Release()
		return nil, fmt.Errorf("snapshot: %s: %w", j.path, err)
	}
	j.mu.Lock()
	j.snapshots[s] = struct{}{}
	j.mu.Unlock()
	return s, nil
}

// Persist writes the snapshot stream to sink and closes it, or cancels it if it fails.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.persist(sink); err != nil {
		return errors.Join(fmt.Errorf("snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func (s *fsmSnapshot) persist(w io.Writer) error {
	f, err := vfs.CreateTemp(filepath.Dir(s.registryFile.path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	size, err := s.copy(f)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return snapshot.Write(w, s.meta, size, f)
}

// copy writes the registry file, as of the transaction, to w, and ends the transaction.
func (s *fsmSnapshot) copy(w io.Writer) (size int64, err error) {
	defer s.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return 0, fmt.Errorf("%s was closed or replaced, or the snapshot released", s.registryFile.path)
	}
	err = boltfile.Guard(func() (err error) {
		size, err = s.tx.WriteTo(w)
		return err
	})
	return size, err
}

// Release ends the transaction, if it is still open. It may be called any number of times.
func (s *fsmSnapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return
	}
	if err := boltfile.Guard(s.tx.Rollback); err != nil {
		s.registryFile.opt.Logger.Error("a read of the registry file for a snapshot did not end well", "error", err)
	}
	s.tx = nil
	s.registryFile.mu.Lock()
	delete(s.registryFile.snapshots, s)
	s.registryFile.mu.Unlock()
}

// endSnapshots ends the transactions of all snapshots: bbolt cannot be closed while one is open. It waits for
// a snapshot that is just copying the file.
func (j *File) endSnapshots() {
	j.mu.Lock()
	var open []*fsmSnapshot
	for s := range j.snapshots {
		open = append(open, s)
	}
	j.mu.Unlock()
	for _, s := range open {
		s.Release()
	}
}
