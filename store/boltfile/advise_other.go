//go:build !linux

package boltfile

import "os"

// adviseWillRead does nothing: the system reads when it is asked to.
func adviseWillRead(*os.File, int64, int64) error { return nil }

// adviseNotNeeded does nothing: the system takes back what it needs.
func adviseNotNeeded(uintptr, int64) error { return nil }
