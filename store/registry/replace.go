package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Replace takes in an arriving snapshot stream: the registry file is then durably what the stream holds,
// and what was appended before is forgotten. If anything is wrong with the stream, the error says so
// and the registry file goes on unchanged. A failure of the disk in the middle of the swap fails the
// registry file.
func (j *File) Replace(r io.Reader) error {
	j.mu.Lock()
	err, clusterID := j.failed, j.last.clusterID
	j.mu.Unlock()
	directoryID := j.Meta().GetDirectoryId()
	if clusterID == "" {
		clusterID = j.opt.clusterID()
	}
	var (
		name string
		meta *logv1.RegistryMeta
	)
	if err == nil {
		name, meta, err = Receive(filepath.Dir(j.path), r, directoryID, clusterID)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", j.path, err)
	}
	if err := j.swap(name, meta); err != nil {
		os.Remove(name)
		err = fmt.Errorf("replace %s: %w", j.path, err)
		if !errors.Is(err, vfs.ErrClosed) {
			j.fail(err)
		}
		return err
	}
	return nil
}

// swap puts a finished file in the place of the registry file.
func (j *File) swap(name string, meta *logv1.RegistryMeta) error {
	j.disk <- struct{}{} // while disk is held the writer writes nothing
	defer func() { <-j.disk }()
	j.mu.Lock()
	failed := j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if j.db == nil {
		return vfs.ErrClosed
	}
	j.endSnapshots()
	j.endScans()

	old := j.db
	j.db = nil
	if err := boltfile.Guard(old.Close); err != nil {
		return err
	}
	if err := vfs.Install(name, j.path); err != nil {
		return err
	}
	db, err := boltfile.Open(j.path, boltOptions())
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
	j.wakeWriter() // the new file may have to be compacted
	return nil
}

// Receive writes the registry file of a snapshot stream to a temporary file in dir. It checks it, writes
// directoryID into it and fsyncs it; the caller installs it. clusterID is the cluster that the snapshot must
// be of; "": any.
func Receive(dir string, r io.Reader, directoryID, clusterID string) (name string, meta *logv1.RegistryMeta, err error) {
	f, err := vfs.CreateTemp(dir)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	header, err := snapshot.Read(r, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, err
	}
	if theirs := header.GetMeta().GetClusterId(); clusterID != "" && theirs != "" && theirs != clusterID {
		return "", nil, fmt.Errorf("the snapshot is of cluster %q, not of %q", theirs, clusterID)
	}
	db, err := boltfile.Open(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return "", nil, err
	}
	if meta, err = stamp(db, header.GetMeta(), directoryID); err != nil {
		db.CloseAfter(err)
		return "", nil, err
	}
	if err := boltfile.Guard(db.Close); err != nil {
		return "", nil, err
	}
	return f.Name(), meta, nil
}

// stamp checks a registry file that came from elsewhere and writes the id of this directory into it.
func stamp(db *boltfile.DB, want *logv1.RegistryMeta, directoryID string) (*logv1.RegistryMeta, error) {
	meta, err := check(db)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(meta, want) {
		return nil, fmt.Errorf("%w: the registry file in the snapshot is not the one its header describes", vfs.ErrDamaged)
	}
	meta.DirectoryId = directoryID
	err = boltfile.Guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return putMeta(tx, meta) })
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}
