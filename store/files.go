package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	lockName      = "LOCK"
	identityName  = "identity.json"
	logName       = "raft.db"
	walName       = "wal"
	journalName   = "journal.db"
	distrustName  = "journal.distrusted"
	snapshotsName = "snapshots"
	spoolPrefix   = "spool-"
)

var (
	// ErrInUse means that another process has the data directory open.
	ErrInUse = errors.New("in use by another rollcall process")
	// ErrDamaged means that what was read is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a file has a format this binary does not know.
	ErrNewer = errors.New("written by a newer rollcall")
	// ErrClosed means that the object was closed before.
	ErrClosed = errors.New("closed")
)

// lockTimeout bounds the wait for bbolt's own file lock. The directory's LOCK is held by now, so
// that a conflict means a foreign tool has the file open.
const lockTimeout = time.Second

// syncDir makes renames in a directory durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be fsynced there
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// spool makes an empty spool file in dir, readable by its owner only.
func spool(dir string) (*os.File, error) {
	return os.CreateTemp(dir, spoolPrefix+"*")
}

// install moves a finished, fsynced spool file over name in the same directory.
func install(spooled, name string) error {
	if err := os.Rename(spooled, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// writeFile replaces a file by data, whole or not at all.
func writeFile(name string, data []byte) (err error) {
	f, err := spool(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return install(f.Name(), name)
}

// exists tells a missing file from one that cannot be looked at.
func exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// panicked is the error that guard makes of a panic.
type panicked struct{ reason any }

func (p *panicked) Error() string { return fmt.Sprintf("damaged: %v", p.reason) }
func (p *panicked) Unwrap() error { return ErrDamaged }

// guard runs f, which uses bbolt. bbolt trusts its file: on a damaged one it panics or touches
// memory behind the end of the mapped file, which would end the process without a word. Both become
// an error that wraps ErrDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if reason := recover(); reason != nil {
			err = &panicked{reason}
		}
	}()
	return f()
}

// bolt is a bbolt file, with a way to let go of it that takes none of bbolt's locks.
type bolt struct {
	*bbolt.DB
	file *os.File
}

// openBolt opens a bbolt file for which it also notes the *os.File: after a panic inside bbolt that
// is all that can be closed. The mapping then stays, which costs address space only.
func openBolt(path string, o bbolt.Options) (*bolt, error) {
	b := &bolt{}
	if o.Timeout == 0 {
		o.Timeout = lockTimeout
	}
	o.OpenFile = b.openFile
	if o.ReadOnly {
		// bbolt would try to initialize an empty file, and complain of the handle.
		if info, err := os.Stat(path); err == nil && info.Size() == 0 {
			return nil, fmt.Errorf("%s: %w: the file is empty", path, ErrDamaged)
		}
	}
	err := guard(func() (err error) {
		b.DB, err = bbolt.Open(path, 0o600, &o)
		return err
	})
	if err != nil {
		return nil, b.refuse(path, err)
	}
	return b, nil
}

// openFile is bbolt's Options.OpenFile.
func (b *bolt) openFile(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, mode)
	b.file = f
	return f, err
}

// refuse lets go of a file that could not be opened and says why.
func (b *bolt) refuse(path string, err error) error {
	if b.file != nil {
		b.file.Close()
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s is %w", path, ErrInUse)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) || errors.Is(err, ErrDamaged) {
		return fmt.Errorf("open %s: %w", path, err)
	}
	// What else bbolt says of a file it could open and lock (too small, no mapping) has no type.
	return fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
}

// letGo closes the file after err. After a panic bbolt's locks may be held for ever: then only the file
// is closed, and with it the lock on it.
func (b *bolt) letGo(err error) {
	var broken *panicked
	if errors.As(err, &broken) || guard(b.DB.Close) != nil {
		b.file.Close()
	}
}
