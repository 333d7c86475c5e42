//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import "os"

// lockShared does nothing: see lockFile.
func lockShared(string) (*os.File, error) { return nil, nil }

// lockFile only makes the file here: on these systems the lock that bbolt takes on raft.db is what
// keeps a second process out, a second later.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}

// ownAs does nothing here.
func ownAs(string, string) error { return nil }
