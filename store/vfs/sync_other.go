//go:build !linux

package vfs

import "os"

// SyncData stores what was written to a file.
func SyncData(f *os.File) error { return f.Sync() }

// Preallocate gives an empty file its length.
func Preallocate(f *os.File, size int64) error { return f.Truncate(size) }
