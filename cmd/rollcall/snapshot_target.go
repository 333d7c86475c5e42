package main

import (
	"fmt"
	"path/filepath"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/store"
)

// checkTarget refuses to write a backup into the data directory of a node, where it could replace what the node needs.
func checkTarget(file string) error {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for range 2 { // what a node keeps is at most one directory deep
		if store.IsDataDirectory(dir) {
			return &failure{
				exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk,
				err:  fmt.Errorf("%s is in the data directory of a node, %s: nothing was written", file, dir),
				next: "name a file in another directory, best on another disk",
			}
		}
		dir = filepath.Dir(dir)
	}
	return nil
}
