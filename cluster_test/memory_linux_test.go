package cluster_test

import "syscall"

// roomIn returns how many bytes are free in the file system of dir, 0 if there is none.
func roomIn(dir string) uint64 {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
