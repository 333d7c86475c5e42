//go:build !unix

package connlimit

// MaxFiles is how many files and connections the system lets this process have open; 0: not known.
func MaxFiles() int { return 0 }
