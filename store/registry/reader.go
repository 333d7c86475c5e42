package registry

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
)

// Reader is a registry file that is opened to be read only. No process may write to it meanwhile.
type Reader struct {
	path  string
	db    *boltfile.DB
	meta  *logv1.RegistryMeta
	wreck error // bbolt panicked: its locks may be held
}

// OpenReader opens a registry file and checks its records: the checksum of each one, and the sums of the
// buckets. The error wraps vfs.ErrDamaged, vfs.ErrNewer or vfs.ErrInUse, or is the disk's.
func OpenReader(path string) (*Reader, error) {
	db, err := boltfile.Open(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	meta, err := check(db)
	if err != nil {
		db.CloseAfter(err)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Reader{path: path, db: db, meta: meta}, nil
}

// Path is where the file is.
func (f *Reader) Path() string { return f.path }

// Meta says what the registry file holds.
func (f *Reader) Meta() *logv1.RegistryMeta { return f.meta }

// Load hands out the records, like File.Load.
func (f *Reader) Load(v logv1.Visitor) (*logv1.RegistryMeta, error) {
	meta, err := load(f.db, v)
	f.note(err)
	return meta, err
}

// Close closes the file.
func (f *Reader) Close() error {
	f.db.CloseAfter(f.wreck)
	return nil
}

func (f *Reader) note(err error) {
	var broken *boltfile.PanicError
	if errors.As(err, &broken) {
		f.wreck = err
	}
}
