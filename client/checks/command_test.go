package checks

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func shell(script string, opts ...CommandOption) Check {
	return Command("x", []string{"sh", "-c", script}, opts...)
}

func needsShell(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no sh")
	}
}

func TestCommandExitCodes(t *testing.T) {
	needsShell(t)
	wantOK(t, within(t, shell("echo fine"), 5*time.Second))
	wantWarning(t, within(t, shell("echo 'DISK WARNING | /=90%'; echo more; exit 1"), 5*time.Second), "exit code 1: DISK WARNING | /=90%")
	for _, code := range []string{"2", "3", "4", "126", "255"} {
		wantFailure(t, within(t, shell("echo; echo bad; exit "+code), 5*time.Second), "exit code "+code+": bad")
	}
	wantFailure(t, within(t, shell("echo oops >&2; exit 2"), 5*time.Second), "exit code 2: oops")
	wantFailure(t, within(t, shell("echo err >&2; echo out; exit 2"), 5*time.Second), "exit code 2: out")
	wantFailure(t, within(t, shell("kill -9 $$"), 5*time.Second), "ended by signal: killed")
	err := within(t, shell("head -c 100000 /dev/zero | tr '\\0' x; exit 2"), 5*time.Second)
	wantFailure(t, err, "exit code 2: xxx")
	if n := len(err.Error()); n > maxOutput+100 {
		t.Errorf("the message has %d bytes", n)
	}
}

func TestCommandThatDoesNotStart(t *testing.T) {
	needsShell(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "plain")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, within(t, Command("x", []string{"no-such-program-here"}), 5*time.Second), `cannot start "no-such-program-here": there is no such program in PATH`)
	wantFailure(t, within(t, Command("x", []string{dir + "/none"}), 5*time.Second), "no such program")
	wantFailure(t, within(t, Command("x", []string{file}), 5*time.Second), "may not be executed")
	wantFailure(t, within(t, shell("true", CommandDir(dir+"/none")), 5*time.Second), "no such directory")
}

func TestCommandSurroundings(t *testing.T) {
	needsShell(t)
	t.Setenv("SECRET_TOKEN", "hunter2")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wantOK(t, within(t, shell(`test -z "$SECRET_TOKEN" && test "$A" = "b=c" && test "$(pwd -P)" = "`+dir+`" && ! read x && test -n "$PATH"`, CommandEnv("A=b=c"), CommandDir(dir)), 5*time.Second))
	// No shell touches the arguments.
	wantOK(t, within(t, Command("x", []string{"test", "$(echo *);`id`", "=", "$(echo *);`id`"}), 5*time.Second))
}

// hasEnded waits until the process whose number stands in file has ended; a zombie has.
func hasEnded(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join("/proc", strconv.Itoa(pid), "stat")
	for untouched := 0; ; {
		data, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(data), ") Z ") {
			return
		}
		// A process that was sent SIGKILL is not asleep without it pending, except for moments on its way out.
		if strings.Contains(string(data), ") S ") && !sentKill(pid) {
			untouched++
		}
		if untouched == 1000 {
			t.Fatalf("process %d lives on, and nobody has killed it", pid)
		}
		runtime.Gosched()
	}
}

// sentKill is whether SIGKILL waits for a process.
func sentKill(pid int) bool {
	data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(data)) {
		name, mask, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err != nil || pending&(1<<8) != 0 {
			return true
		}
	}
	return false
}

func TestCommandsChildrenAreKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	pid := filepath.Join(t.TempDir(), "pid")
	for name, script := range map[string]string{
		"at the timeout":              "sleep 1000 & echo $! > " + pid + "; echo begun; wait",
		"grandchild, ignores SIGTERM": "(trap '' TERM; sleep 1000 & echo $! > " + pid + "; wait) & echo begun; wait",
	} {
		t.Run(name, func(t *testing.T) {
			wantLate(t, within(t, shell(script), hang), "the command (begun) did not end")
			hasEnded(t, pid)
		})
	}
	t.Run("left behind with the outputs open", func(t *testing.T) {
		start := time.Now()
		wantWarning(t, within(t, shell("sleep 1000 & echo $! > "+pid+"; echo done; exit 1"), time.Minute), "exit code 1: done")
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %v: the child was waited for", took)
		}
		hasEnded(t, pid)
	})
	t.Run("a child that left the group is not waited for", func(t *testing.T) {
		start := time.Now()
		wantOK(t, within(t, shell("setsid sleep 40 & echo $! > "+pid+"; sleep 0.2; exit 0"), time.Minute))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v: the child was waited for", took)
		}
		data, _ := os.ReadFile(pid)
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			if p, err := os.FindProcess(n); err == nil {
				p.Kill()
			}
		}
	})
	t.Run("endless output", func(t *testing.T) {
		wantLate(t, within(t, Command("x", []string{"yes"}), hang), "the command (y) did not end")
	})
}

func TestCommandIsStopped(t *testing.T) {
	needsShell(t)
	begun := make(chan struct{})
	close(begun)
	stopped(t, shell("sleep 1000"), begun)
}

func TestCommandOfNothing(t *testing.T) {
	refuses(t, Command("x", nil), "program")
	refuses(t, Command("x", []string{""}), "program")
	refuses(t, Command("x", []string{"a\x00b"}), "zero byte")
	refuses(t, Command("x", []string{"a"}, CommandDir("\x00")), "zero byte")
	for _, v := range []string{"", "A", "=b"} {
		refuses(t, Command("x", []string{"a"}, CommandEnv(v)), "NAME=VALUE")
	}
	args := []string{"true"}
	c := Command("x", args)
	args[0] = "false"
	if c.(*commandCheck).args[0] != "true" {
		t.Error("the caller's slice is shared")
	}
}
