//go:build !(darwin || freebsd || linux)

package vfs

import "errors"

// FreeSpace returns errors.ErrUnsupported: this system does not tell.
func FreeSpace(string) (int64, error) { return 0, errors.ErrUnsupported }
