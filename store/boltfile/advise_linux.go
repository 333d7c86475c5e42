package boltfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

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
