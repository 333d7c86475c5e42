package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const damagedInfix = ".damaged-"

// OpenJournal opens journal.db of a data directory and makes it if it is missing. It is believed only
// if what the fold reads of it is intact, if nobody distrusts it (see Distrust), if it is of this directory, and if it is not behind the
// newest verified snapshot, which raft would go on from. Otherwise it is rebuilt from that snapshot,
// or begun anew if raft's log still holds everything; a damaged file is kept aside as
// journal.db.damaged-N.
//
// It refuses, because starting would lose or invent something: a journal of a newer format, one that
// is ahead of all that raft has, and a raft log that neither begins at its first entry nor follows an
// intact snapshot.
func OpenJournal(d *Directory, log *Log, snaps *Snapshots, opt JournalOptions) (*Journal, error) {
	r := recovery{
		dir:  d,
		path: d.file(journalName),
		log:  log,
		opt:  opt.withDefaults(),
		id:   d.Identity(),
	}
	var err error
	if r.newest, err = snaps.newest(); err != nil {
		return nil, err
	}
	db, meta, err := r.open(snaps)
	if err != nil {
		return nil, err
	}
	j := newJournal(d, db, meta, r.opt)
	log.SetDurable(func() uint64 { return heldIndex(j.durableIndex(), snaps) })
	return j, nil
}

// heldIndex is up to where raft's log may be compacted. A journal that holds what the newest snapshot
// holds, holds everything up to the snapshot's index in the log: the entries between are raft's own,
// which never reach the fold.
func heldIndex(journal uint64, snaps *Snapshots) uint64 {
	newest, err := snaps.newest()
	if err == nil && newest != nil && journal >= newest.header.GetMeta().GetIndex() {
		return max(journal, newest.meta.Index)
	}
	return journal
}

// recovery decides what to make of journal.db.
type recovery struct {
	dir    *Directory
	path   string
	log    *Log
	newest *verified // snapshot; nil: none
	opt    JournalOptions
	id     Identity
}

func (r *recovery) open(snaps *Snapshots) (*bolt, *logv1.JournalMeta, error) {
	last, err := r.log.LastIndex()
	if err != nil {
		return nil, nil, fmt.Errorf("open journal: %w", err)
	}
	var base uint64
	if r.newest != nil {
		base = r.newest.meta.Index
	}
	if last > base && r.log.contiguous > base+1 {
		return nil, nil, fmt.Errorf("%s lacks the entries %d to %d, and no intact snapshot holds them; %s",
			r.log.where, base+1, r.log.contiguous-1, startAsNew)
	}

	db, meta, err := r.believe()
	switch {
	case errors.Is(err, ErrNewer), errors.Is(err, ErrInUse):
		return nil, nil, err
	case err == nil && meta.GetIndex() > max(last, base):
		db.letGo(nil)
		return nil, nil, fmt.Errorf("%s holds log entry %d, but %s and the snapshots end at %d: they are not of the same time, "+
			"as after restoring only one of them; %s", r.path, meta.GetIndex(), logName, max(last, base), startAsNew)
	case err == nil:
		return db, meta, nil
	}
	var unreadable *os.PathError
	if errors.As(err, &unreadable) && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err // not the file's fault
	}
	return r.rebuild(snaps, err)
}

// errBehind is not damage: the file needs not be kept.
var errBehind = errors.New("behind the newest snapshot")

// believe opens the journal if it can be believed, migrated if need be, or says why not.
func (r *recovery) believe() (*bolt, *logv1.JournalMeta, error) {
	if _, err := os.Lstat(r.path); err != nil {
		return nil, nil, err
	}
	if err := r.dir.distrusted(); err != nil {
		return nil, nil, err
	}
	db, err := openBolt(r.path, journalBoltOptions())
	if err != nil {
		return nil, nil, err
	}
	stop := readAhead(db.file)
	meta, err := checkJournal(db)
	stop()
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", r.path, err)
	case meta.GetDirectoryId() != r.id.DirectoryID:
		err = fmt.Errorf("%s belongs to data directory %q, not to this one (%s)", r.path, meta.GetDirectoryId(), r.id.DirectoryID)
	case r.foreign(meta.GetClusterId()):
		err = fmt.Errorf("%s is of cluster %q, not of %q", r.path, meta.GetClusterId(), r.id.Founding.ClusterID)
	case r.newest != nil && meta.GetIndex() < r.newest.header.GetMeta().GetIndex():
		err = fmt.Errorf("%s ends at log entry %d: %w, which holds entry %d",
			r.path, meta.GetIndex(), errBehind, r.newest.header.GetMeta().GetIndex())
	}
	if err != nil {
		db.letGo(err)
		return nil, nil, err
	}
	if meta.GetFormat() < journalFormat {
		db.letGo(nil)
		return r.migrate(meta.GetFormat())
	}
	return db, meta, nil
}

// migrate makes a journal that is believed one of the newest format.
func (r *recovery) migrate(from uint32) (*bolt, *logv1.JournalMeta, error) {
	start := time.Now()
	meta, err := migrateJournal(r.path)
	if err != nil {
		return nil, nil, fmt.Errorf("migrate %s: %w", r.path, err)
	}
	r.opt.Logger.Info("journal migrated to a newer format", "from", from, "to", meta.GetFormat(), "took", time.Since(start).Round(time.Millisecond).String())
	db, err := openBolt(r.path, journalBoltOptions())
	if err != nil {
		return nil, nil, err
	}
	return db, meta, nil
}

func (r *recovery) foreign(clusterID string) bool {
	return clusterID != "" && r.id.Founding != nil && r.id.Founding.ClusterID != "" && r.id.Founding.ClusterID != clusterID
}

// rebuild makes a new journal in the place of one that is not believed for reason.
func (r *recovery) rebuild(snaps *Snapshots, reason error) (*bolt, *logv1.JournalMeta, error) {
	name, meta, err := r.make(snaps)
	if err != nil {
		return nil, nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
	}
	defer os.Remove(name) // if it was not installed
	missing := errors.Is(reason, os.ErrNotExist)
	if !missing && !errors.Is(reason, errBehind) {
		if err := keepAside(r.path); err != nil {
			return nil, nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
		}
	}
	if err := install(name, r.path); err != nil {
		return nil, nil, fmt.Errorf("rebuild %s (because %w): %w", r.path, reason, err)
	}
	if err := r.dir.trust(); err != nil {
		return nil, nil, fmt.Errorf("rebuild %s: %w", r.path, err)
	}
	if last, err := r.log.LastIndex(); err != nil || !missing || last > 0 || r.newest != nil { // else: a first start
		r.opt.Logger.Warn("journal rebuilt: raft's log is folded again from there",
			"reason", reason, "index", meta.GetIndex(), "revision", meta.GetRevision())
	}
	db, err := openBolt(r.path, journalBoltOptions())
	if err != nil {
		return nil, nil, fmt.Errorf("rebuild journal: %w", err)
	}
	return db, meta, nil
}

// make returns a spool file: the newest snapshot, or an empty journal.
func (r *recovery) make(snaps *Snapshots) (string, *logv1.JournalMeta, error) {
	if r.newest == nil {
		return emptyJournal(r.dir, r.id.DirectoryID)
	}
	_, stream, err := snaps.Open(r.newest.meta.ID)
	if err != nil {
		return "", nil, err
	}
	defer stream.Close()
	var clusterID string
	if r.id.Founding != nil {
		clusterID = r.id.Founding.ClusterID
	}
	return receiveJournal(r.dir, stream, clusterID)
}

func emptyJournal(dir *Directory, directoryID string) (name string, meta *logv1.JournalMeta, err error) {
	f, err := spool(dir.path)
	if err != nil {
		return "", nil, err
	}
	if err := f.Close(); err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	meta = &logv1.JournalMeta{Format: journalFormat, DirectoryId: directoryID, Horizon: 1}
	db, err := openBolt(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return "", nil, err
	}
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return initJournal(tx, meta) })
	})
	if err != nil {
		db.letGo(err)
		return "", nil, err
	}
	if err := guard(db.Close); err != nil {
		return "", nil, err
	}
	return f.Name(), meta, nil
}

// keepAside renames a journal that was not believed, and removes the one kept before.
func keepAside(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	var (
		old  []string
		next = 1
	)
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), journalName+damagedInfix)
		if !ok {
			continue
		}
		old = append(old, filepath.Join(filepath.Dir(path), e.Name()))
		if n, err := strconv.Atoi(number); err == nil {
			next = max(next, n+1)
		}
	}
	if err := os.Rename(path, path+damagedInfix+strconv.Itoa(next)); err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
