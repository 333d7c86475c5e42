package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestProcessDev runs `rollcall dev` as the README says, kills one of its nodes, ends it as Ctrl-C
// does, and starts it again.
func TestProcessDev(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	base := freePorts(t, 30) // three nodes, ten apart
	data := filepath.Join(t.TempDir(), "dev")
	cfg := client.DefaultConfig()
	cfg.Endpoints = nil
	for i := range 3 {
		cfg.Endpoints = append(cfg.Endpoints, fmt.Sprintf("127.0.0.1:%d", base+10*i))
	}
	cl, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()

	start := func() (*exec.Cmd, *syncBuffer, chan error) {
		cmd := exec.Command(binary, "dev", "--data", data, "--base-port", strconv.Itoa(base))
		log := &syncBuffer{}
		cmd.Stdout, cmd.Stderr = log, log
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { cmd.Process.Kill() }) // its nodes end with it
		eventually(t, "dev to be ready", func(ctx context.Context) bool {
			s, err := cl.ClusterStatus(ctx)
			if err != nil || !s.GetWritable() || len(s.GetMembers()) != 3 {
				return false
			}
			for _, m := range s.GetMembers() {
				if !m.GetReady() {
					return false
				}
			}
			return true
		})
		t.Logf("ready after %s", time.Since(begun).Round(time.Millisecond))
		return cmd, log, ended
	}
	stop := func(cmd *exec.Cmd, log *syncBuffer, ended chan error) {
		t.Helper()
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("dev ended with %v:\n%s", err, tail(log.String(), 4000))
			}
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Fatalf("dev did not end:\n%s", tail(log.String(), 4000))
		}
	}

	cmd, log, ended := start()
	set := func(service string) {
		t.Helper()
		eventually(t, "set "+service, func(ctx context.Context) bool {
			_, err := cl.Set(ctx, service, serving, client.WriteOptions{})
			return err == nil
		})
	}
	set("payments")
	// Kill the first PID that it printed; it comes back by itself.
	var pid int
	eventually(t, "a PID of n1", func(context.Context) bool {
		m := regexp.MustCompile(`(?m)^n1 +(\d+) `).FindStringSubmatch(log.String())
		if m == nil {
			return false
		}
		pid, _ = strconv.Atoi(m[1])
		return true
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d, read from:\n%s: %v", pid, log.String(), err)
	}
	set("orders")
	eventually(t, "n1 to come back", func(ctx context.Context) bool {
		s, err := cl.ClusterStatus(ctx)
		if err != nil {
			return false
		}
		for _, m := range s.GetMembers() {
			if !m.GetReady() {
				return false
			}
		}
		return true
	})
	stop(cmd, log, ended)

	cmd, log, ended = start()
	for _, service := range []string{"payments", "orders"} {
		// The node that is asked may show the last moments before the end less, until it has caught up.
		eventually(t, service+" after a restart", func(ctx context.Context) bool {
			s, err := cl.Check(ctx, service)
			return err == nil && s == serving
		})
	}
	// A second one on the same ports and data says so, and harms nothing.
	_, stderr, code := runBinary(t, "dev", "--data", data, "--base-port", strconv.Itoa(base))
	oneLine(t, "second dev", stderr, code, strconv.Itoa(base))
	// SIGKILL of the parent takes the children with it.
	cmd.Process.Kill()
	<-ended
	eventually(t, "the ports to be free again", func(context.Context) bool {
		for i := range 3 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+10*i))
			if err != nil {
				return false
			}
			l.Close()
		}
		return true
	})
	_ = log
}
