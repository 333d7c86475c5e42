package boltfile

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// LockTimeout bounds the wait for bbolt's own file lock. The directory's LOCK is held by now, so
// that a conflict means a foreign tool has the file open.
const LockTimeout = time.Second

// PanicError is the error that Guard makes of a panic.
type PanicError struct{ reason any }

// Error says what is wrong with the file. bbolt's own reason tells which page. The runtime's, of memory that
// is not there, tells nothing.
func (p *PanicError) Error() string {
	const text = "damaged: its pages do not fit together: it is cut short or overwritten"
	if _, fault := p.reason.(runtime.Error); fault {
		return text
	}
	return fmt.Sprintf("%s (%v)", text, p.reason)
}

func (p *PanicError) Unwrap() error { return vfs.ErrDamaged }

// Guard runs f, which uses bbolt. bbolt trusts its file: on a damaged one it panics or touches
// memory behind the end of the mapped file, which would end the process without a word. Both become
// an error that wraps ErrDamaged.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{reason}
		}
	}()
	return f()
}

// bolt is a bbolt file, with a way to let go of it that takes none of bbolt's locks.
type DB struct {
	*bbolt.DB
	file *os.File
}

// Open opens a bbolt file for which it also notes the *os.File: after a panic inside bbolt that
// is all that can be closed. The mapping then stays, which costs address space only.
func Open(path string, o bbolt.Options) (*DB, error) {
	b := &DB{}
	if o.Timeout == 0 {
		o.Timeout = LockTimeout
	}
	o.OpenFile = b.OpenFile
	if o.ReadOnly {
		// bbolt would try to initialize an empty file, and complain of the handle.
		if info, err := os.Stat(path); err == nil && info.Size() == 0 {
			return nil, fmt.Errorf("%s: %w: the file is empty", path, vfs.ErrDamaged)
		}
	}
	err := Guard(func() (err error) {
		b.DB, err = bbolt.Open(path, 0o600, &o)
		return err
	})
	if err != nil {
		return nil, b.OpenError(path, err)
	}
	return b, nil
}

// OpenFile is bbolt's Options.OpenFile.
func (b *DB) OpenFile(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, mode)
	b.file = f
	return f, err
}

// OpenError lets go of a file that could not be opened and says why.
func (b *DB) OpenError(path string, err error) error {
	if b.file != nil {
		b.file.Close()
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s is %w", path, vfs.ErrInUse)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%s: %w: its first pages are overwritten", path, vfs.ErrDamaged)
	}
	var pathErr *os.PathError
	var errno syscall.Errno // the system does not map the file, or not now
	if errors.As(err, &pathErr) && pathErr.Path == path {
		return err // it says what was done to which file
	}
	if errors.As(err, &pathErr) || errors.As(err, &errno) || errors.Is(err, vfs.ErrDamaged) {
		return fmt.Errorf("open %s: %w", path, err)
	}
	// What else bbolt says of a file it could open and lock (too small) has no type.
	return fmt.Errorf("%s: %w (%w)", path, vfs.ErrDamaged, err)
}

// CloseAfter closes the file after err. After a panic bbolt's locks may be held for ever: then only the file
// is closed, and with it the lock on it.
func (b *DB) CloseAfter(err error) {
	var broken *PanicError
	if errors.As(err, &broken) || Guard(b.DB.Close) != nil {
		b.file.Close()
	}
}
