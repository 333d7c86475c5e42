//go:build !unix

package main

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// terminate does nothing: the end of its standard input tells a child.
func terminate(*os.Process) {}

func ignoreBrokenPipe() {}

// lockFile takes no lock: here, the ports in use tell a second cluster.
func lockFile(*os.File) (bool, error) { return true, nil }
