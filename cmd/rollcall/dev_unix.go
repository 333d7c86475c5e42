//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// ownGroup puts a child into a process group of its own: Ctrl-C, and what "go run" makes of it, goes
// to the terminal's foreground group, and would end the children before the parent has told them.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks for an orderly end.
func terminate(p *os.Process) { p.Signal(syscall.SIGTERM) }

// ignoreBrokenPipe makes a write to standard error whose reader has gone an error, not the end.
func ignoreBrokenPipe() { signal.Ignore(syscall.SIGPIPE) }

// lockFile takes an exclusive lock that the system releases with the file. False: somebody has it.
func lockFile(f *os.File) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}
