//go:build darwin || freebsd || linux

package vfs

import "golang.org/x/sys/unix"

// FreeSpace returns how many bytes this process may still write to the file system of path. On a system that
// does not tell, the error is errors.ErrUnsupported.
func FreeSpace(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
