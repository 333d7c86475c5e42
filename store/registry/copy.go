package registry

import (
	"fmt"
	"os"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// copyTxBytes bounds what one transaction of a copy holds in memory.
const copyTxBytes = 16 << 20

// Copy writes what an intact registry file holds, and not the free space in it, to a temporary file in
// dir, checked and fsynced, to be installed. No process may have the file open.
func Copy(path, dir string) (name string, err error) {
	old, err := boltfile.Open(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return "", err
	}
	name, err = copyOf(dir, old)
	old.CloseAfter(err)
	return name, err
}

func copyOf(dir string, old *boltfile.DB) (name string, err error) {
	want, err := check(old)
	if err != nil {
		return "", err
	}
	f, err := vfs.CreateTemp(dir)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	// bbolt does not sync after each transaction: the copy is synced once, at the end.
	db, err := boltfile.Open(f.Name(), bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return "", err
	}
	err = boltfile.Guard(func() error {
		return bbolt.Compact(db.DB, old.DB, copyTxBytes)
	})
	if err == nil {
		var meta *logv1.RegistryMeta
		if meta, err = check(db); err == nil && !proto.Equal(meta, want) {
			err = fmt.Errorf("%w: the copy is another registry file", vfs.ErrDamaged)
		}
	}
	if err == nil {
		err = boltfile.Guard(db.Sync)
	}
	db.CloseAfter(err)
	if err != nil {
		return "", err
	}
	return f.Name(), nil
}
