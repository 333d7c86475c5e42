//go:build !unix

package checks

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// killGroup kills p alone: there are no process groups here.
func killGroup(p *os.Process) error { return p.Kill() }
