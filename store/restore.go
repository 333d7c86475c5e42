package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Restoration says what Restore makes.
type Restoration struct {
	Path        string // of the data directory: missing, or empty
	Node        string
	DirectoryID string
	Founding    Founding // of the new cluster; Node is among its members, with DirectoryID
	LogKind     LogKind  // "": DefaultLogKind
	// Rehash returns the state hash of the registry in a journal if it were of the new cluster and had no
	// members. Its error means that the backup is not used.
	Rehash func(*JournalFile) (*logv1.StateHash, error)
}

// ErrNotEmpty means that a directory which has to be empty is not.
var ErrNotEmpty = errors.New("not empty")

// Restore makes of the backup in file the data directory of a member of a new cluster. It ends at the
// log entry, term and revision that the backup ends at; its history and request ids are the backup's, its
// members none, until they announce themselves. identity.json comes last: without it no node starts. If it
// fails, what it made is removed.
func Restore(file string, r Restoration) (_ Backup, err error) {
	if r.LogKind == "" {
		r.LogKind = DefaultLogKind
	}
	if err := r.LogKind.validate(); err != nil {
		return Backup{}, err
	}
	// Before anything is made: the file may be nothing of ours.
	if _, err := CheckBackup(file); err != nil {
		return Backup{}, err
	}
	d, made, err := r.claim()
	if err != nil {
		return Backup{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.empty(made))
		}
		err = errors.Join(err, d.Close())
	}()
	return r.fill(d, file)
}

// claim locks the directory and makes sure that it is empty. made: it was missing.
func (r Restoration) claim() (_ *Directory, made bool, err error) {
	there, err := exists(r.Path)
	if err == nil {
		err = makeDirectory(r.Path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("data directory %s cannot be used: %w", r.Path, err)
	}
	// Looked at before LOCK is made in it, and again when nobody else can.
	if err := checkEmpty(r.Path); err != nil {
		return nil, false, err
	}
	lock, err := lockFile(filepath.Join(r.Path, lockName))
	if errors.Is(err, ErrInUse) {
		return nil, false, fmt.Errorf("data directory %s is %w", r.Path, ErrInUse)
	}
	if err != nil {
		return nil, false, fmt.Errorf("data directory %s cannot be used: %w", r.Path, err)
	}
	if err := checkEmpty(r.Path); err != nil {
		lock.Close()
		return nil, false, err
	}
	id := Identity{Node: r.Node, DirectoryID: r.DirectoryID, Created: time.Now().UTC().Truncate(time.Second), Founding: r.Founding.clone()}
	return &Directory{path: r.Path, lock: lock, identity: id}, !there, nil
}

// A directory that holds no more than these is empty: an earlier try's lock, and what a file system has at
// its root.
var notContent = []string{lockName, "lost+found"}

func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory %s cannot be used: %w", path, err)
	}
	for _, e := range entries {
		if !slices.Contains(notContent, e.Name()) {
			return fmt.Errorf("data directory %s is %w: it holds %s; a backup is restored into an empty one only", path, ErrNotEmpty, e.Name())
		}
	}
	return nil
}

// empty removes all of a directory that was empty, and itself if it was missing. The lock is held.
func (d *Directory) empty(made bool) error {
	var errs []error
	entries, err := os.ReadDir(d.path)
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name() == lockName || !slices.Contains(notContent, e.Name()) {
			errs = append(errs, os.RemoveAll(d.file(e.Name())))
		}
	}
	if made {
		errs = append(errs, os.RemoveAll(d.path))
	}
	return errors.Join(errs...)
}

func (r Restoration) fill(d *Directory, file string) (Backup, error) {
	b, journal, err := ExtractBackup(file, d.path)
	if err != nil {
		return Backup{}, err
	}
	name := journal.path
	hash, err := r.Rehash(journal)
	if closeErr := journal.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", file, err)
	}
	meta := proto.CloneOf(b.Meta)
	meta.ClusterId, meta.DirectoryId, meta.StateHash = r.Founding.ClusterID, r.DirectoryID, hash
	if err := refound(name, meta); err != nil {
		return Backup{}, fmt.Errorf("restore %s: %w", file, err)
	}
	if err := r.raft(d, meta, name); err != nil {
		return Backup{}, fmt.Errorf("restore %s: %w", file, err)
	}
	if err := install(name, d.file(journalName)); err != nil {
		return Backup{}, fmt.Errorf("restore %s: %w", file, err)
	}
	return b, d.identity.write(d.path)
}

// refound makes an extracted journal one of a cluster without members.
func refound(name string, meta *logv1.JournalMeta) error {
	db, err := openBolt(name, bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			if err := tx.DeleteBucket(bucketMembers); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(bucketMembers); err != nil {
				return err
			}
			if err := writeSum(tx, bucketMembers, sums{}); err != nil {
				return err
			}
			return putMeta(tx, meta)
		})
	})
	if err != nil {
		db.letGo(err)
		return err
	}
	return guard(db.Close)
}

// raft makes what raft starts from: a snapshot of the journal in the file name, whose configuration is the
// new members, and a log without entries that knows the snapshot's term, so that the next is a later one.
func (r Restoration) raft(d *Directory, meta *logv1.JournalMeta, name string) (err error) {
	snapshots, err := OpenSnapshots(d, nil)
	if err != nil {
		return err
	}
	var configuration raft.Configuration
	for _, m := range r.Founding.Members {
		configuration.Servers = append(configuration.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(m.Name), Address: raft.ServerAddress(m.Name),
		})
	}
	_, codec := raft.NewInmemTransport("") // only encodes the addresses, for raft's first protocol
	defer codec.Close()
	sink, err := snapshots.Create(raft.SnapshotVersionMax, meta.GetIndex(), meta.GetTerm(), configuration, meta.GetIndex(), codec)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = writeStream(sink, meta, info.Size(), f)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	if err := createLog(d, r.DirectoryID, r.LogKind); err != nil {
		return err
	}
	log, err := openBoltStore(d.file(logName))
	if err != nil {
		return err
	}
	key := []byte("CurrentTerm") // raft's
	err = guard(func() error { return setStable(log, key, binary.BigEndian.AppendUint64(nil, meta.GetTerm())) })
	return errors.Join(err, log.Close())
}
