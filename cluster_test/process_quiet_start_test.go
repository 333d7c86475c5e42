package cluster_test

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// alarms are the lines of a log that ask somebody to act. A disk that is slow is this machine's.
func alarms(log string) (lines []string) {
	scanner := bufio.NewScanner(strings.NewReader(log))
	for scanner.Scan() {
		line := scanner.Text()
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && !strings.Contains(line, "disk is slow") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestFirstStartIsQuiet: nodes that are started for the first time, one after the other, wait at INFO for those
// that are not there yet, whom they name. Nothing asks anybody to act.
func TestFirstStartIsQuiet(t *testing.T) {
	c := newProcesses(t, processOptions{})
	waits := func(p *process, names string) {
		t.Helper()
		eventually(t, p.name+" to wait for "+names, func(context.Context) bool {
			return strings.Contains(p.log.String(), "level=INFO msg=\"waiting to form a cluster, or to find one\" node="+p.name+" reason=\"waiting for "+names+" to form")
		})
	}
	c.nodes[0].start()
	waits(c.nodes[0], "n2, n3")
	c.nodes[2].start()
	waits(c.nodes[0], "n2")
	waits(c.nodes[2], "n1, n2")
	c.nodes[1].start()
	c.waitReady()
	c.set("shop/cart", serving)
	for _, p := range c.nodes {
		if lines := alarms(p.log.String()); len(lines) > 0 {
			t.Errorf("%s: %s", p.name, strings.Join(lines, "\n"))
		}
	}
}

// TestFirstDevIsQuiet: the same of dev, whose nodes start together.
func TestFirstDevIsQuiet(t *testing.T) {
	needProcesses(t)
	base := freePorts(t, 30)
	cmd := exec.Command(binary, "dev", "--data", filepath.Join(t.TempDir(), "dev"), "--base-port", strconv.Itoa(base), "--log-level", "info")
	log := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "dev to be ready", func(context.Context) bool { return strings.Contains(log.String(), "ready after") })
	if lines := alarms(log.String()); len(lines) > 0 {
		t.Errorf("dev: %s", strings.Join(lines, "\n"))
	}
	cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-ended:
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatalf("dev did not end:\n%s", log)
	}
}

// TestLoneNodeStopsQuietly: a cluster of one has nobody to hand leadership to, and does not speak of others.
func TestLoneNodeStopsQuietly(t *testing.T) {
	c := startProcesses(t, processOptions{nodes: 1})
	n := c.nodes[0]
	n.signal(syscall.SIGTERM)
	if exit := n.waitExit(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
	if log := n.log.String(); len(alarms(log)) > 0 || strings.Contains(log, "other") {
		t.Errorf("its log:\n%s", log)
	}
}
