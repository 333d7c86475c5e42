package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync.
func syncData(f *os.File) error {
	err := uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// preallocate gives an empty file its length, and the blocks for it where the file system can: a full
// disk is then met here, not in the middle of an append.
func preallocate(f *os.File, size int64) error {
	err := uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// adviseWillRead has the system read a part of a file into its memory, and does not wait for it.
func adviseWillRead(f *os.File, at, size int64) error {
	return uninterrupted(func() error { return unix.Fadvise(int(f.Fd()), at, size, unix.FADV_WILLNEED) })
}

// adviseNotNeeded has the system take back what is mapped at an address, of a file that is only read
// there: the next access maps it again.
func adviseNotNeeded(address uintptr, size int64) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, address, uintptr(size), unix.MADV_DONTNEED)
	if errno != 0 {
		return errno
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
