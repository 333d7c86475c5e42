package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SyncData stores what was written to a file, and of its metadata only what reading it back needs
// (fdatasync).
func SyncData(f *os.File) error {
	err := uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// Preallocate gives an empty file its length, and the blocks for it where the file system can: a full
// disk is then met here, not in the middle of an append.
func Preallocate(f *os.File, size int64) error {
	err := uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
