package snapshot

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

var _ raft.SnapshotStore = (*Store)(nil)

// DirName is the directory with the snapshots.
const DirName = "snapshots"

// The files of a snapshot are FileSnapshotStore's.
const (
	metaName  = "meta.json"
	stateName = "state.bin"
)

// retainSnapshots is two, so that a newest one that turns out damaged leaves another.
const retainSnapshots = 2

// Snapshots is raft's snapshot store: DATA/snapshots. It takes in only whole streams and shows only
// snapshots that were read through and found right, so that raft and the registry file's recovery choose
// the same one.
type Store struct {
	files  *raft.FileSnapshotStore
	dir    string
	logger *slog.Logger

	damaged chan struct{} // capacity 1, see Damaged
	taken   atomic.Int64  // see Taken, in Unix milliseconds

	mu   sync.Mutex          // guards the rest; held while a snapshot is read through for the first time
	seen map[string]Verified // by snapshot id
	// last is the index of the newest snapshot that raft knows of from here. An older one must not be
	// shown after it: raft has compacted its log since, and would send a follower a state that is older
	// than the one it has, from which no entries lead on.
	last uint64
}

// Verified is what reading a snapshot through has shown.
type Verified struct {
	Meta   *raft.SnapshotMeta
	Header *logv1.SnapshotHeader
	Err    error // why it is not used; nil: it is whole and right
}

// still compares meta, as it was read again, with what it was: meta.json has no checksum, and says who
// votes.
func (v Verified) still(meta *raft.SnapshotMeta) error {
	if reflect.DeepEqual(v.Meta, meta) {
		return nil
	}
	return fmt.Errorf("%w: meta.json has changed since it was written", vfs.ErrDamaged)
}

// Open opens the snapshots of a data directory and removes those that were never finished.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: filepath.Join(dir, DirName), logger: logger, damaged: make(chan struct{}, 1), seen: make(map[string]Verified)}
	// FileSnapshotStore syncs neither.
	err := vfs.Mkdir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.dir, err)
	}
	if s.files, err = raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, raftLogger(logger)); err != nil {
		return nil, fmt.Errorf("open %s: %w", s.dir, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.dir, err)
	}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		switch partial, partialErr := isPartial(path); {
		case strings.HasSuffix(entry.Name(), ".tmp"), // FileSnapshotStore's, before it renames
			partial:
			err = os.RemoveAll(path)
		case entry.IsDir(): // of a process that was killed before it could
			err = errors.Join(partialErr, vfs.SyncDir(path))
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", s.dir, err)
		}
	}
	if err := vfs.SyncDir(s.dir); err != nil {
		return nil, fmt.Errorf("open %s: %w", s.dir, err)
	}
	return s, nil
}

// snapshotID is how FileSnapshotStore names snapshots: term, index, milliseconds.
var snapshotID = regexp.MustCompile(`^[0-9]+-[0-9]+-[0-9]+$`)

// takenAt reads from a snapshot's id when it was begun, in Unix milliseconds; 0: the id does not say.
func takenAt(id string) int64 {
	at, err := strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return at
}

// Taken is when the newest snapshot was begun, or had arrived from a leader; zero: there is none. It reads no
// file.
func (s *Store) Taken() time.Time {
	if at := s.taken.Load(); at > 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// isPartial reports whether a directory lacks a file of a snapshot: a crash left it while it was removed, or
// before it was finished.
func isPartial(path string) (bool, error) {
	if !snapshotID.MatchString(filepath.Base(path)) {
		return false, nil // none of ours
	}
	for _, name := range []string{metaName, stateName} {
		if there, err := vfs.Exists(filepath.Join(path, name)); err != nil || !there {
			return err == nil, err
		}
	}
	return false, nil
}

// Create begins a snapshot. Its sink refuses what is not a whole, right stream when it is closed: a
// bad one that arrives from a leader never pushes a good one out.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.files.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		return nil, fmt.Errorf("create snapshot in %s: %w", s.dir, err)
	}
	return &checkedSink{SnapshotSink: sink, store: s, check: newChecker(nil), index: index, term: term, begun: time.Now(), logger: s.logger}, nil
}

// Damaged receives when the newest snapshot that raft knows of has turned out to be damaged or gone:
// until there is a newer one, there is none.
func (s *Store) Damaged() <-chan struct{} { return s.damaged }

// List returns the verified snapshots, newest first. The first call after a snapshot appeared reads
// it through.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.list()
	if err != nil {
		return nil, err
	}
	metas := make([]*raft.SnapshotMeta, 0, len(all))
	for _, v := range all {
		meta := *v.Meta
		metas = append(metas, &meta)
	}
	return metas, nil
}

// Open returns a snapshot for reading, after FileSnapshotStore has checked its own checksum. One that
// has been damaged since it was verified is not shown again.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.open(id)
	if err == nil {
		s.mu.Lock()
		v, ok := s.seen[id]
		s.mu.Unlock()
		if ok {
			err = v.still(meta)
		}
		if err != nil {
			r.Close()
		}
	}
	if err != nil {
		s.refuse(id, err)
		return nil, nil, err
	}
	return meta, r, nil
}

// Scrub reads all snapshots through again. What is damaged is not shown any more.
func (s *Store) Scrub() error {
	metas, err := s.List()
	if err != nil {
		return err
	}
	for _, meta := range metas {
		if v := s.verify(meta); v.Err != nil {
			s.refuse(meta.ID, v.Err)
		}
	}
	_, err = s.List() // which also notices one that is gone
	return err
}

// refuse has a snapshot that was found right before not be shown any more.
func (s *Store) refuse(id string, err error) {
	s.mu.Lock()
	v, ok := s.seen[id]
	if !ok || v.Err != nil {
		s.mu.Unlock()
		return
	}
	v.Err = err
	s.seen[id] = v
	s.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		return // a newer one has taken its place, or List will miss it
	}
	s.logger.Error("snapshot is not used", "snapshot", id, "index", v.Meta.Index, "error", err)
	_, _ = s.list() // has Damaged told
}

func (s *Store) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.files.Open(id)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot %s: %w", filepath.Join(s.dir, id), err)
	}
	return meta, r, nil
}

// Newest returns the newest verified snapshot, nil if there is none.
func (s *Store) Newest() (*Verified, error) {
	all, err := s.list()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func (s *Store) list() ([]Verified, error) {
	metas, err := s.files.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots in %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]Verified, len(metas))
	var good []Verified
	for _, meta := range metas {
		v, ok := s.seen[meta.ID]
		was := v.Err
		switch {
		case !ok:
			v = s.verify(meta)
			if errors.Is(v.Err, os.ErrNotExist) {
				continue // a newer one has just taken its place
			}
			if errors.Is(v.Err, vfs.ErrNewer) { // to go on from an older one would lose what this one holds
				return nil, fmt.Errorf("snapshot %s: %w", filepath.Join(s.dir, meta.ID), v.Err)
			}
		case v.Err == nil:
			v.Err = v.still(meta)
		}
		if v.Err != nil && was == nil {
			s.logger.Error("snapshot is not used", "snapshot", meta.ID, "index", v.Meta.Index, "error", v.Err)
		}
		seen[meta.ID] = v
		if v.Err == nil {
			good = append(good, v)
		}
	}
	s.seen = seen // forgets those that are gone
	if len(good) > 0 && good[0].Meta.Index >= s.last {
		s.taken.Store(takenAt(good[0].Meta.ID))
		s.last = good[0].Meta.Index
		return good, nil
	}
	if s.last > 0 {
		select {
		case s.damaged <- struct{}{}:
		default:
		}
	}
	return nil, nil
}

func (s *Store) verify(meta *raft.SnapshotMeta) Verified {
	v := Verified{Meta: meta}
	_, r, err := s.open(meta.ID)
	if err != nil {
		v.Err = err
		return v
	}
	defer r.Close()
	v.Header, v.Err = verifyStream(meta, r)
	return v
}

// verifyStream reads state.bin through and compares it with meta.json.
func verifyStream(meta *raft.SnapshotMeta, state io.Reader) (*logv1.SnapshotHeader, error) {
	// Nothing but its name says that meta.json is right.
	if !strings.HasPrefix(meta.ID, fmt.Sprintf("%d-%d-", meta.Term, meta.Index)) {
		return nil, fmt.Errorf("%w: meta.json says entry %d of term %d", vfs.ErrDamaged, meta.Index, meta.Term)
	}
	header, err := Read(state, nil)
	if err != nil {
		return nil, err
	}
	if index := header.GetMeta().GetIndex(); index > meta.Index {
		return nil, fmt.Errorf("%w: it says that it ends at entry %d but holds entry %d", vfs.ErrDamaged, meta.Index, index)
	}
	return header, nil
}

// checkedSink is a snapshot being written.
type checkedSink struct {
	raft.SnapshotSink
	store *Store
	check *checker

	index, term uint64
	bytes       int64
	begun       time.Time
	closed      bool // and stored
	logger      *slog.Logger
}

func (s *checkedSink) Write(p []byte) (int, error) {
	if _, err := s.check.Write(p); err != nil {
		return 0, fmt.Errorf("snapshot %s: %w", s.ID(), err)
	}
	n, err := s.SnapshotSink.Write(p)
	s.bytes += int64(n)
	return n, err
}

// Close finishes the snapshot, or removes it if the stream was not right. Raft closes it once more than who
// wrote it.
func (s *checkedSink) Close() error {
	if s.closed {
		return nil
	}
	if err := s.check.finish(); err != nil {
		s.SnapshotSink.Cancel()
		return fmt.Errorf("snapshot %s: %w", s.ID(), err)
	}
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	// FileSnapshotSink syncs the files and the name of their directory, but not their names in it. Raft
	// deletes the log entries that the snapshot replaces when this returns.
	if err := vfs.SyncDir(filepath.Join(s.store.dir, s.ID())); err != nil {
		return fmt.Errorf("snapshot %s: %w", s.ID(), err)
	}
	s.closed = true
	s.store.mu.Lock()
	s.store.last = max(s.store.last, s.index)
	s.store.taken.Store(takenAt(s.ID()))
	s.store.mu.Unlock()
	s.logger.Info("snapshot stored", "snapshot", s.ID(), "index", s.index, "term", s.term,
		"bytes", s.bytes, "took", time.Since(s.begun).Round(time.Millisecond).String())
	return nil
}

// raftLogger hands what FileSnapshotStore says to slog. It takes warnings and errors only: raft
// itself says when a snapshot begins and ends.
func raftLogger(logger *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(slogSink{logger})
	return l
}

type slogSink struct{ logger *slog.Logger }

func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch msg {
	case "failed to read metadata":
		// The cause is a word of encoding/json. FileSnapshotStore passes "name", NAME, "error", CAUSE.
		if len(args) == 4 {
			s.logger.Error("snapshot is not used", "snapshot", args[1], "error", "its meta.json is damaged: cut short or overwritten")
			return
		}
	case "failed to get meta data to open snapshot", "failed to open state file", "CRC checksum failed":
		return // Open returns the error, and its caller logs it
	}
	switch level {
	case hclog.Warn:
		s.logger.Warn(msg, args...)
	case hclog.Error:
		s.logger.Error(msg, args...)
	}
}
