//go:build unix

package devcluster

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// ownGroup puts a child into a process group of its own. Ctrl-C sends a signal to the whole foreground
// group of the terminal, and would end the children before the parent asks them to.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks a process to end in order.
func terminate(p *os.Process) { p.Signal(syscall.SIGTERM) }

// ignoreBrokenPipe makes a write to a standard error that nobody reads fail, instead of ending the process.
func ignoreBrokenPipe() { signal.Ignore(syscall.SIGPIPE) }

// lockFile takes an exclusive lock that the system releases when the file is closed. It returns false if
// another process has it.
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
