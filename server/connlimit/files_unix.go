//go:build unix

package connlimit

import "syscall"

// MaxFiles is how many files and connections the system lets this process have open; 0: not known.
func MaxFiles() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(uint64(r.Cur), 1<<30))
}
