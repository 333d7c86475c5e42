//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

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

// ownAs gives all of a new directory, for a process that may do that, the owner of an old one, and itself the old one's
// mode: who repairs a node is not always who runs it.
func ownAs(path, old string) error {
	info, err := os.Stat(old)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() == 0 {
		err = filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(name, int(owner.Uid), int(owner.Gid))
		})
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, info.Mode().Perm())
}
