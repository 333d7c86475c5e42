package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Replace takes in an arriving snapshot stream: the journal is then durably what the stream holds,
// and what was appended before is forgotten. If anything is wrong with the stream, the error says so
// and the journal goes on unchanged. A failure of the disk in the middle of the swap fails the
// journal.
func (j *Journal) Replace(r io.Reader) error {
	j.mu.Lock()
	err, clusterID := j.failed, j.last.clusterID
	j.mu.Unlock()
	if clusterID == "" {
		if f := j.dir.Identity().Founding; f != nil {
			clusterID = f.ClusterID
		}
	}
	var (
		name string
		meta *logv1.JournalMeta
	)
	if err == nil {
		name, meta, err = receiveJournal(j.dir, r, clusterID)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", j.path, err)
	}
	if err := j.swap(name, meta); err != nil {
		os.Remove(name)
		err = fmt.Errorf("replace %s: %w", j.path, err)
		if !errors.Is(err, ErrClosed) {
			j.fail(err)
		}
		return err
	}
	return nil
}

// swap puts a finished file in the place of the journal.
func (j *Journal) swap(name string, meta *logv1.JournalMeta) error {
	j.disk <- struct{}{} // from here on the writer writes nothing
	defer func() { <-j.disk }()
	j.mu.Lock()
	failed := j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if j.db == nil {
		return ErrClosed
	}
	j.endSnapshots()
	j.endScans()

	old := j.db
	j.db = nil
	if err := guard(old.Close); err != nil {
		return err
	}
	if err := install(name, j.path); err != nil {
		return err
	}
	db, err := openBolt(j.path, journalBoltOptions())
	if err != nil {
		return err
	}
	j.db, j.unmapped = db, 0

	j.mu.Lock()
	dropped := j.open
	j.open = newBacklog(nil)
	j.durable = meta
	j.last = positionOf(meta)
	j.history = nil
	close(j.room)
	j.room = make(chan struct{})
	j.mu.Unlock()
	close(dropped.done)
	j.look() // the new one may have to be compacted
	return nil
}

// receiveJournal makes of a snapshot stream a spool file that is ready to be installed as the journal
// of dir, checked, stamped and fsynced. clusterID is the cluster it has to be of; empty: any.
func receiveJournal(dir *Directory, r io.Reader, clusterID string) (name string, meta *logv1.JournalMeta, err error) {
	f, err := spool(dir.path)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	header, err := readStream(r, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, err
	}
	if theirs := header.GetMeta().GetClusterId(); clusterID != "" && theirs != "" && theirs != clusterID {
		return "", nil, fmt.Errorf("the snapshot is of cluster %q, not of %q", theirs, clusterID)
	}
	db, err := openBolt(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return "", nil, err
	}
	if meta, err = stampJournal(db, header.GetMeta(), dir.Identity().DirectoryID); err != nil {
		db.letGo(err)
		return "", nil, err
	}
	if err := guard(db.Close); err != nil {
		return "", nil, err
	}
	if meta.GetFormat() < journalFormat {
		if meta, err = migrateJournal(f.Name()); err != nil {
			return "", nil, err
		}
	}
	return f.Name(), meta, nil
}

// stampJournal checks a journal that came from elsewhere and makes it one of this directory.
func stampJournal(db *bolt, want *logv1.JournalMeta, directoryID string) (*logv1.JournalMeta, error) {
	meta, err := checkJournal(db)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(meta, want) {
		return nil, fmt.Errorf("%w: the journal in the snapshot is not the one its header describes", ErrDamaged)
	}
	meta.DirectoryId = directoryID
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return putMeta(tx, meta) })
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}
