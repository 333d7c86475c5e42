package cluster_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestProcessDiskFull gives one node a file system of its own that fills up: it must end with the
// reason, and the other two go on.
func TestProcessDiskFull(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	if out, err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt").CombinedOutput(); err != nil {
		t.Skipf("no file system of our own to fill: %v %s", err, out)
	}
	c := newProcesses(t, processOptions{})
	full := c.nodes[2]
	full.data = "/mnt/data"
	// The file system lives as long as the process. It takes what a node starts with, and little more.
	size := "4m"
	if *logStore == "wal" {
		size = "12m" // a segment of 8 MiB is allocated at the start
	}
	full.wrap = []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o size=` + size + ` none /mnt && exec "$0" "$@"`}
	c.start()
	c.waitReady()
	l := startLoad(t, c.client(), 8)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	big := strings.Repeat("x", 1000)
	cl := c.client()
	for i := 0; full.running(); i++ {
		s := serving
		if i%2 == 0 {
			s = notServing
		}
		if _, err := cl.Set(ctx, "filler", s, client.WriteOptions{Reason: big}); err != nil && ctx.Err() != nil {
			t.Fatalf("the node with the full disk still runs: %v", err)
		}
	}
	if code := full.waitExit(); code != 1 || !strings.Contains(full.lastLine(), "no space left on device") {
		t.Errorf("the node with the full disk ended with status %d: %s", code, full.lastLine())
	}
	if log := full.log.String(); strings.Contains(log, "panic") {
		t.Errorf("it panicked: %s", tail(log, 4000))
	}
	l.wait(100)
	l.stop()
	c.caughtUp()
	for _, p := range c.nodes[:2] {
		l.verify(p)
	}
}

// TestProcessSlowDisk adds 300 ms to every sync of one node: nothing may be elected.
func TestProcessSlowDisk(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	if out, err := exec.Command("strace", "-f", "-e", "trace=fdatasync", "true").CombinedOutput(); err != nil {
		t.Skipf("no strace to delay system calls with: %v %s", err, out)
	}
	c := newProcesses(t, processOptions{})
	slow := c.nodes[2]
	slow.wrap = []string{"strace", "-f", "-qq", "-o", "/dev/null",
		"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:delay_exit=300000", "--"}
	c.start()
	c.waitReady()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cluster := func() *rollcallv1.GetStatusResponse {
		t.Helper()
		resp, err := rollcallv1.NewClusterClient(c.leader().dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	before := cluster()
	l := startLoad(t, c.client(), 8)
	for start := time.Now(); time.Since(start) < 10*time.Second; {
		l.wait(50)
	}
	l.stop()
	if after := cluster(); after.GetTerm() != before.GetTerm() || after.GetLeader() != before.GetLeader() {
		t.Errorf("term %d under %s became term %d under %s", before.GetTerm(), before.GetLeader(), after.GetTerm(), after.GetLeader())
	}
	t.Logf("%d writes were acknowledged meanwhile", l.acked.Load())
}
