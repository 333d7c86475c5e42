//go:build !unix

package server

// maxFiles is how many files and connections the system lets this process have open; 0: not known.
func maxFiles() int { return 0 }
