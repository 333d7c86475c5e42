package cluster_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessDevTLS runs `rollcall dev --tls`, calls its nodes as it says, and finds that nothing is answered in plain
// text.
func TestProcessDevTLS(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	base := freePorts(t, 30)
	data := filepath.Join(t.TempDir(), "dev")
	endpoints := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", base, base+10, base+20)
	ca := filepath.Join(data, "tls", "ca.crt")
	for range 2 { // the second time with the same certificates
		cmd := exec.Command(binary, "dev", "--tls", "--data", data, "--base-port", strconv.Itoa(base))
		log := &syncBuffer{}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { cmd.Process.Kill() }) // its nodes end with it
		eventually(t, "dev to be ready", func(context.Context) bool { return strings.Contains(log.String(), "ready after") })
		if !strings.Contains(log.String(), "  export ROLLCALL_CA="+ca+"\n") {
			t.Errorf("it does not say how to call it:\n%s", log.String())
		}
		for i := range 3 { // each by its own address
			endpoint := fmt.Sprintf("127.0.0.1:%d", base+10*i)
			if stdout, stderr, code := runBinary(t, "set", fmt.Sprintf("s%d", i), "serving", "--ca", ca, "-e", endpoint); code != 0 {
				t.Errorf("set at %s: %d %s%s", endpoint, code, stdout, stderr)
			}
		}
		if stdout, stderr, code := runBinary(t, "list", "--linearizable", "--ca", ca, "-e", endpoints); code != 0 || strings.Count(stdout, "SERVING") != 3 {
			t.Errorf("list: %d %s%s", code, stdout, stderr)
		}
		if _, stderr, code := runBinary(t, "get", "s0", "-e", endpoints, "--timeout", "2s"); code == 0 {
			t.Errorf("answered in plain text: %s", stderr)
		}
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("dev ended with %v:\n%s", err, tail(log.String(), 4000))
			}
		case <-time.After(patience):
			t.Fatalf("dev did not end:\n%s", tail(log.String(), 4000))
		}
	}
}
