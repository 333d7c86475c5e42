package vfs

import "errors"

var (
	// ErrInUse means that another process has the data directory open.
	ErrInUse = errors.New("in use by another rollcall process")
	// ErrDamaged means that what was read is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrNewer means that a file has a format this binary does not know.
	ErrNewer = errors.New("written by a newer rollcall")
	// ErrClosed means that the object was closed before.
	ErrClosed = errors.New("closed")
)
