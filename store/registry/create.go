package registry

import (
	"os"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Create makes an empty registry file under a temporary name in dir, to be installed.
func Create(dir, directoryID string) (name string, meta *logv1.RegistryMeta, err error) {
	f, err := vfs.CreateTemp(dir)
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
	meta = &logv1.RegistryMeta{Format: logv1.RegistryFormat, DirectoryId: directoryID, Horizon: 1}
	db, err := boltfile.Open(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return "", nil, err
	}
	err = boltfile.Guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return initialize(tx, meta) })
	})
	if err != nil {
		db.CloseAfter(err)
		return "", nil, err
	}
	if err := boltfile.Guard(db.Close); err != nil {
		return "", nil, err
	}
	return f.Name(), meta, nil
}
