//go:build !unix

package devcluster

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// terminate does nothing: a child ends with its standard input.
func terminate(*os.Process) {}

func ignoreBrokenPipe() {}

// lockFile takes no lock. A second cluster fails because the ports are in use.
func lockFile(*os.File) (bool, error) { return true, nil }
