//go:build !linux

package store

import "os"

func syncData(f *os.File) error { return f.Sync() }

func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

// adviseWillRead does nothing: the system reads when it is asked to.
func adviseWillRead(*os.File, int64, int64) error { return nil }

// adviseNotNeeded does nothing: the system takes back what it needs.
func adviseNotNeeded(uintptr, int64) error { return nil }
