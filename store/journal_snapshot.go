package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// journalSnapshot is a journal as it was at one moment: an open read transaction, until it is
// persisted or released. While it is open the file only grows, and its writer waits should the file
// outgrow its mapping; hence the spool file, so that a network never decides how long that is.
type journalSnapshot struct {
	journal *Journal
	meta    *logv1.JournalMeta

	mu sync.Mutex // guards tx; held while the file is copied; taken before Journal.mu
	tx *bbolt.Tx  // nil: ended
}

// Snapshot writes what was appended and returns a snapshot of exactly that. Its Release must be
// called.
func (j *Journal) Snapshot() (raft.FSMSnapshot, error) {
	if err := j.Flush(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	if j.db == nil {
		return nil, fmt.Errorf("snapshot: %s: %w", j.path, ErrClosed)
	}
	s := &journalSnapshot{journal: j}
	err := guard(func() (err error) {
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
func (s *journalSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.persist(sink); err != nil {
		return errors.Join(fmt.Errorf("snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func (s *journalSnapshot) persist(w io.Writer) error {
	f, err := spool(s.journal.dir.path)
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
	return writeStream(w, s.meta, size, f)
}

// copy writes the journal file, as of the transaction, to w, and ends the transaction.
func (s *journalSnapshot) copy(w io.Writer) (size int64, err error) {
	defer s.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return 0, fmt.Errorf("%s was closed or replaced, or the snapshot released", s.journal.path)
	}
	err = guard(func() (err error) {
		size, err = s.tx.WriteTo(w)
		return err
	})
	return size, err
}

// Release ends the transaction, if it is still open. It may be called any number of times.
func (s *journalSnapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return
	}
	if err := guard(s.tx.Rollback); err != nil {
		s.journal.opt.Logger.Error("end of a snapshot", "error", err)
	}
	s.tx = nil
	s.journal.mu.Lock()
	delete(s.journal.snapshots, s)
	s.journal.mu.Unlock()
}

// endSnapshots ends the transactions of all snapshots, or bbolt could not be closed. One that is just
// copying the file ends first.
func (j *Journal) endSnapshots() {
	j.mu.Lock()
	var open []*journalSnapshot
	for s := range j.snapshots {
		open = append(open, s)
	}
	j.mu.Unlock()
	for _, s := range open {
		s.Release()
	}
}
