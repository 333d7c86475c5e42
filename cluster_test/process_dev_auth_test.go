package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessDevAuth runs `rollcall dev --auth`, and finds that its token may do everything and that others may only
// read: when it is started first, again, and without the token, which another start does not replace.
func TestProcessDevAuth(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	base := freePorts(t, 30)
	data := filepath.Join(t.TempDir(), "dev")
	endpoints := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", base, base+10, base+20)
	ca, token := filepath.Join(data, "tls", "ca.crt"), filepath.Join(data, "admin.token")
	dev := func(until string, args ...string) (log string, stop func()) {
		t.Helper()
		cmd := exec.Command(binary, append([]string{"dev", "--auth", "--data", data, "--base-port", strconv.Itoa(base)}, args...)...)
		out := &syncBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { cmd.Process.Kill() }) // its nodes end with it
		eventually(t, "dev to say: "+until, func(context.Context) bool { return strings.Contains(out.String(), until) })
		return out.String(), func() {
			t.Helper()
			cmd.Process.Signal(syscall.SIGINT)
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("dev ended with %v:\n%s", err, tail(out.String(), 4000))
				}
			case <-time.After(patience):
				t.Fatalf("dev did not end:\n%s", tail(out.String(), 4000))
			}
		}
	}
	run := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := runBinary(t, append(args, "--ca", ca, "-e", endpoints)...)
		if code != want {
			t.Errorf("rollcall %s: %d, want %d: %s%s", strings.Join(args, " "), code, want, stdout, stderr)
		}
		return stdout + stderr
	}
	export := "  export ROLLCALL_TOKEN_FILE=" + token + "\n"
	var first []byte
	for i := range 2 {
		log, stop := dev("Ctrl-C stops")
		if !strings.Contains(log, "ready after") || !strings.Contains(log, export) {
			t.Errorf("it does not say how to call it:\n%s", log)
		}
		text, err := os.ReadFile(token)
		if err != nil || i > 0 && string(text) != string(first) {
			t.Errorf("the second start has another token: %v", err)
		}
		first = text
		name := fmt.Sprintf("s%d", i)
		run(0, "set", name, "serving", "--token-file", token)
		if denied := run(1, "set", name, "not_serving"); !strings.Contains(denied, "anonymous") {
			t.Errorf("anonymous callers may change it: %s", denied)
		}
		if got := run(0, "get", name); !strings.Contains(got, "token:admin for ") {
			t.Errorf("who set it is not shown: %s", got)
		}
		stop()
	}
	if err := os.Rename(token, token+".moved"); err != nil {
		t.Fatal(err)
	}
	log, stop := dev("Ctrl-C stops")
	if !strings.Contains(log, "! access is enforced, and ") || strings.Contains(log, export) {
		t.Errorf("it does not say that its token is gone:\n%s", log)
	}
	stop()
	log, stop = dev("Ctrl-C stops", "--fresh")
	if text, err := os.ReadFile(token); err != nil || string(text) == string(first) || !strings.Contains(log, export) {
		t.Errorf("--fresh makes no other token: %v\n%s", err, log)
	}
	run(0, "set", "s", "serving", "--token-file", token)
	stop()
}
