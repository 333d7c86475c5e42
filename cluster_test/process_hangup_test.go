package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangup: SIGHUP does not end a node, which says so; it ends dev, whose terminal was closed, in order.
func TestHangup(t *testing.T) {
	beside(t, ofProcesses)
	// A signal that is ignored here, as by nohup, would be ignored by what is started, too.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	c := startProcesses(t, processOptions{nodes: 1})
	n := c.nodes[0]
	n.signal(syscall.SIGHUP)
	eventually(t, "a line about SIGHUP", func(context.Context) bool {
		return strings.Contains(n.log.String(), `level=INFO msg="SIGHUP ignored: there is nothing to reload`)
	})
	n.waitStatus("", serving)
	n.signal(syscall.SIGTERM)
	if exit := n.waitExit(); exit != 0 || !strings.Contains(n.log.String(), "stopped in order") {
		t.Errorf("after SIGTERM: exit %d", exit)
	}

	base := freePorts(t, 10)
	cmd := exec.Command(binary, "dev", "--nodes", "1", "--data", filepath.Join(t.TempDir(), "dev"), "--base-port", strconv.Itoa(base))
	log := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "dev to be ready", func(context.Context) bool { return strings.Contains(log.String(), "ready after") })
	cmd.Process.Signal(syscall.SIGHUP)
	select {
	case err := <-ended:
		if err != nil || !strings.Contains(log.String(), "stopped; the data stay in") {
			t.Errorf("dev ended with %v:\n%s", err, log)
		}
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatalf("dev did not end:\n%s", log)
	}
}
