//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// lockShared takes the lock to read, without changing anything: it keeps out a node, and no other reader.
// Without a LOCK no node has the directory open, and the file is nil.
func lockShared(name string) (*os.File, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lock(f, unix.LOCK_SH)
}

// lockFile takes the lock of a data directory, or returns vfs.ErrInUse at once. The kernel releases it
// when the process ends, however it ends; the file itself means nothing.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return lock(f, unix.LOCK_EX)
}

func lock(f *os.File, how int) (*os.File, error) {
	var err error
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, vfs.ErrInUse
	}
	return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
}
