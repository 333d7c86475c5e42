//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rollcallhq/rollcall/store/vfs"
)

// lockFile takes the lock of a data directory, or returns vfs.ErrInUse at once. The kernel releases it
// when the process ends, however it ends; the file itself means nothing.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
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
	return nil, &os.PathError{Op: "flock", Path: name, Err: err}
}
