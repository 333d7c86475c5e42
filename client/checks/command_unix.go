//go:build unix

package checks

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the processes of the group that p began. When p has ended and was waited for, its number is the
// group's as long as the group has a process. If it has none, nothing has the number: the kernel gives numbers out
// in turn, so it does not come again before all others had theirs.
func killGroup(p *os.Process) error {
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
