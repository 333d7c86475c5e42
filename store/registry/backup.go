package registry

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// ExtractBackup takes the registry file out of a backup, into a file of its own in dir.
func ExtractBackup(path, dir string) (_ snapshot.Backup, _ *Reader, err error) {
	f, err := vfs.CreateTemp(dir)
	if err != nil {
		return snapshot.Backup{}, nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	b, err := snapshot.ReadBackup(path, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return snapshot.Backup{}, nil, err
	}
	registryFile, err := OpenReader(f.Name())
	if err != nil {
		return snapshot.Backup{}, nil, fmt.Errorf("%s: the registry file in it: %w", path, err)
	}
	if !proto.Equal(registryFile.meta, b.Meta) {
		registryFile.Close()
		return snapshot.Backup{}, nil, fmt.Errorf("%s: %w: the registry file in it is not the one its header describes", path, vfs.ErrDamaged)
	}
	return b, registryFile, nil
}

// Remove closes the file and removes it.
func (f *Reader) Remove() error { return errors.Join(f.Close(), os.Remove(f.path)) }

// Events is how many readable events the file holds.
func (f *Reader) Events() (n int, err error) {
	err = boltfile.Guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			var block eventBlock
			return tx.Bucket(bucketEvents).ForEach(func(key, value []byte) error {
				if openBlock(key, value, &block) == nil { // a damaged block is found by Check
					n += len(block.events)
				}
				return nil
			})
		})
	})
	f.note(err)
	return n, err
}
