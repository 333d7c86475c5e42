package raftlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

var (
	_ raft.LogStore    = (*Log)(nil)
	_ raft.StableStore = (*Log)(nil)
)

// keyDirectoryID is where the stable store keeps the id of its data directory.
var keyDirectoryID = []byte("rollcall.directory_id")

const (
	// FileName is the bbolt file with raft's term and vote.
	FileName = "raft.db"
	// DirName is the directory with the segment files of a Log of kind WAL.
	DirName = "wal"
)

// Owner is the data directory that a log is of.
type Owner struct {
	DirectoryID string
	// Founded reports that the node took part in forming a cluster: its log must be there.
	Founded bool
}

// keyCurrentTerm is raft's.
var keyCurrentTerm = []byte("CurrentTerm")

// Options configure a Log.
type Options struct {
	// Kind is where the entries are to stand. "": where they do; in a new directory, DefaultKind.
	Kind Kind
	// OnFailure is called at most once, holding no lock, when the log cannot be written or a stored
	// entry is damaged: the node must stop with that reason. It must not wait for raft or for Close.
	OnFailure func(error)
	// OnStored is told how long it took to store entries durably. It must not block; nil: nobody is.
	OnStored func(entries int, took time.Duration)
	// SegmentSize is for tests: the length of a new segment in bytes. 0: 8 MiB.
	SegmentSize uint32
	// Intercept is for tests: called before entries are stored. An error counts as one of the disk.
	Intercept func(logs []*raft.Log) error
}

// Log is raft's log and stable store, synced at every write. Votes and term are in raft.db, the
// entries there too or in wal/, see Kind. It stores no damaged entry and gives none out. After a
// failed write it writes nothing more: what an fsync that failed left behind is not known, and a
// later one may succeed without having stored it.
type Log struct {
	stable  *raftboltdb.BoltStore
	path    string        // raft.db
	entries raft.LogStore // stable or wal
	where   string        // the entries are
	wal     *wal          // nil: BoltDB
	kind    Kind
	opt     Options

	// contiguous is the first entry of the unbroken run that ends with the last one, when the log
	// was opened; 0: the log was empty.
	contiguous uint64
	seen       uint64 // while opening: the entry before

	durable atomic.Pointer[func() uint64]

	watchdog *watchdog.Watchdog // of appends; Raft makes one at a time

	mu     sync.Mutex // guards failed
	failed error

	closing  sync.Once
	closeErr error
}

// Open opens the log of a data directory and makes it if the node never had one. All that is
// stored is read and checked. It refuses a log that is damaged, of another directory, of another kind
// than asked for, or lost: a node that has lost its votes could vote acknowledged writes away.
func Open(dir string, owner Owner, opt Options) (*Log, error) {
	if opt.Kind != "" {
		if err := opt.Kind.Validate(); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, FileName)
	there, err := vfs.Exists(path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if !there {
		if owner.Founded {
			return nil, fmt.Errorf("%s is missing: this node has lost its votes and its log; %s", path, LostMember)
		}
		if segments, err := segmentNames(filepath.Join(dir, DirName)); err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		} else if len(segments) > 0 {
			return nil, fmt.Errorf("%s is missing but %s is there: this node has lost its votes; %s", path, filepath.Join(dir, DirName), LostMember)
		}
		if err := Create(dir, owner.DirectoryID, cmp.Or(opt.Kind, DefaultKind), 0); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
	}
	if f, err := os.Open(path); err == nil { // else who reads it will say why
		defer f.Close()
		defer boltfile.ReadAhead(f)()
	}
	indexes, err := surveyLog(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, LostMember)
	}
	l := &Log{path: path, opt: opt}
	if l.stable, err = openBoltStore(path); errors.Is(err, vfs.ErrDamaged) {
		return nil, fmt.Errorf("%w; %s", err, LostMember)
	} else if err != nil {
		return nil, err
	}
	if err := l.open(dir, owner, indexes); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.watchdog = watchdog.New(l.where, l.fail)
	return l, nil
}

// open checks what raft.db holds, indexes of entries among it, and opens the entries.
func (l *Log) open(dir string, owner Owner, indexes []uint64) error {
	if err := l.checkStable(owner); err != nil {
		return err
	}
	kind, meta, err := l.readKind()
	if err != nil {
		return fmt.Errorf("%w; %s", err, LostMember)
	}
	if l.opt.Kind != "" && l.opt.Kind != kind {
		return kindMismatch(dir, kind, l.opt.Kind)
	}
	l.kind = kind
	// A process that was killed may have left its last write in the system's memory only.
	if err := boltfile.Guard(l.stable.Sync); err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	if kind == BoltDB {
		l.entries, l.where = l.stable, l.path
		if err := refuseSegments(dir); err != nil {
			return err
		}
		return l.checkEntries(indexes)
	}
	if len(indexes) > 0 {
		return fmt.Errorf("%s: %w: it holds entries, but says that they are in %s; %s", l.path, vfs.ErrDamaged, DirName, LostMember)
	}
	l.where = filepath.Join(dir, DirName)
	w, err := openWAL(l.where, meta, l.storeMeta, func(entry *raft.Log) error {
		l.saw(entry.Index)
		return checkEntry(entry.Index, entry)
	})
	if errors.Is(err, vfs.ErrDamaged) || errors.Is(err, errLogLost) {
		return fmt.Errorf("%w; %s", err, LostMember)
	}
	if err != nil {
		return err
	}
	if l.opt.SegmentSize > 0 {
		w.size = l.opt.SegmentSize
	}
	l.wal, l.entries = w, w
	return nil
}

// Contiguous returns the first entry of the unbroken run that ended with the last one when the log was
// opened; 0: the log was empty.
func (l *Log) Contiguous() uint64 { return l.contiguous }

// Path is where the entries are.
func (l *Log) Path() string { return l.where }

// Kind is where the entries are.
func (l *Log) Kind() Kind { return l.kind }

// LostMember is what to do with a node that has lost its log or its votes. It cannot come back into its cluster with
// the data that it has: it could vote acknowledged changes away.
const LostMember = `while a majority of the members serves, start the node on an empty directory and run "rollcall member replace NAME"; ` +
	`if none does, "rollcall recover --inspect DIR" says what is left ` +
	`(docs/operations.md, "A member lost its data")`

// Create makes an empty log whose term is term. raft.db gets its name when the directory id and its
// kind are in it: a raft.db without an id is never ours.
func Create(dir, directoryID string, kind Kind, term uint64) error {
	f, err := vfs.CreateTemp(dir)
	if err != nil {
		return err
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return err
	}
	store, err := openBoltStore(name)
	if err != nil {
		return err
	}
	err = setStable(store, keyDirectoryID, []byte(directoryID))
	if err == nil && kind == WAL {
		err = setSegments(store, newWALMeta(directoryID))
	}
	if err == nil && term > 0 {
		err = setStable(store, keyCurrentTerm, binary.BigEndian.AppendUint64(nil, term))
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	return vfs.Install(name, filepath.Join(dir, FileName))
}

// SetDurable tells how far the registry file holds everything durably: DeleteRange refuses to compact
// entries above that. OpenRegistry calls it.
func (l *Log) SetDurable(index func() uint64) { l.durable.Store(&index) }

// FirstIndex returns the index of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (index uint64, err error) {
	err = boltfile.Guard(func() (err error) { index, err = l.entries.FirstIndex(); return err })
	return index, err
}

// LastIndex returns the index of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (index uint64, err error) {
	err = boltfile.Guard(func() (err error) { index, err = l.entries.LastIndex(); return err })
	return index, err
}

// GetLog reads an entry, or returns raft.ErrLogNotFound. A damaged one is reported to OnFailure and
// never returned; on a goroutine of raft the call then does not return, see leaveRaft.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	var read raft.Log
	err := boltfile.Guard(func() error { return l.entries.GetLog(index, &read) })
	if errors.Is(err, raft.ErrLogNotFound) {
		return raft.ErrLogNotFound // raft compares with ==
	}
	if isClosed(err) {
		// Raft's metrics goroutine is not waited for by its Shutdown.
		return fmt.Errorf("%s: entry %d: %w", l.where, index, vfs.ErrClosed)
	}
	if err == nil {
		err = checkEntry(index, &read)
	}
	if err != nil {
		err = fmt.Errorf("%s: entry %d: %w", l.where, index, err)
		l.fail(err)
		leaveRaft()
		return err
	}
	*entry = read
	return nil
}

// StoreLog stores one entry.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores entries, all or none, durably when it returns. Damaged ones are refused; that is
// no failure of this node. A failed write is, and is reported to OnFailure.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if err := l.failure(); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := checkEntry(entry.Index, entry); err != nil {
			return fmt.Errorf("%s: refused to store entry %d: %w", l.where, entry.Index, err)
		}
	}
	start := time.Now()
	bytes := 0
	for _, entry := range entries {
		bytes += len(entry.Data)
	}
	l.watchdog.Begin(watchdog.Limit(bytes))
	defer l.watchdog.End()
	if l.opt.Intercept != nil {
		if err := l.opt.Intercept(entries); err != nil {
			return l.cannotWrite(l.where, err)
		}
	}
	if err := boltfile.Guard(func() error { return l.entries.StoreLogs(entries) }); err != nil {
		return l.cannotWrite(l.where, err)
	}
	if l.opt.OnStored != nil {
		l.opt.OnStored(len(entries), time.Since(start))
	}
	return nil
}

// DeleteRange deletes the entries from min to max, inclusive. Raft calls it for two ends. To drop a
// suffix that conflicts with the leader's, which was never committed: allowed. And to compact, which
// is refused, and deletes nothing, where the registry file does not hold durably what would be gone.
func (l *Log) DeleteRange(min, max uint64) error {
	if err := l.failure(); err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return fmt.Errorf("%s: delete entries: %w", l.where, err)
	}
	first, err := l.FirstIndex()
	if err != nil {
		return fmt.Errorf("%s: delete entries: %w", l.where, err)
	}
	if durable := l.durable.Load(); durable != nil {
		held := (*durable)()
		// The whole log is a suffix too if all of it is beyond what was applied: a follower whose
		// compacted log holds nothing but what an old leader never committed.
		suffix := max >= last && (min > first || min > held)
		if !suffix && max > held {
			return fmt.Errorf("%s: refused to compact entries %d to %d: the registry file holds durably only up to %d",
				l.where, min, max, held)
		}
	}
	if err := boltfile.Guard(func() error { return l.entries.DeleteRange(min, max) }); err != nil {
		return l.cannotWrite(l.where, err)
	}
	return nil
}

// Close closes the log. Raft must have ended.
func (l *Log) Close() error {
	l.closing.Do(func() {
		var errs []error
		if l.wal != nil {
			if l.failure() == nil {
				errs = append(errs, boltfile.Guard(l.wal.note))
			}
			errs = append(errs, l.wal.Close())
		}
		errs = append(errs, boltfile.Guard(l.stable.Close))
		if err := errors.Join(errs...); err != nil {
			l.closeErr = fmt.Errorf("close %s: %w", l.path, err)
		}
	})
	return l.closeErr
}

// storeMeta makes a list of segments durable.
func (l *Log) storeMeta(meta walMeta) error {
	return boltfile.Guard(func() error { return setSegments(l.stable, meta) })
}

// WritingFor is how long the append under way has taken so far; 0: none is under way.
func (l *Log) WritingFor() time.Duration { return l.watchdog.Busy() }

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func isClosed(err error) bool {
	return errors.Is(err, berrors.ErrDatabaseNotOpen) || errors.Is(err, vfs.ErrClosed)
}

func (l *Log) cannotWrite(path string, err error) error {
	if isClosed(err) {
		return fmt.Errorf("%s: %w", path, vfs.ErrClosed)
	}
	err = fmt.Errorf("%s cannot be written: %w", path, err)
	l.fail(err)
	return err
}

func (l *Log) fail(err error) {
	l.mu.Lock()
	first := l.failed == nil
	if first {
		l.failed = err
	}
	l.mu.Unlock()
	if first && l.opt.OnFailure != nil {
		l.opt.OnFailure(err)
	}
}
