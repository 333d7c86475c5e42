package cluster_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// inMemory is off for rounds on a disk: while one goroutine syncs others go on, and so come in other orders.
var inMemory = flag.Bool("in-memory", true, "nodes in the test's process keep their data in memory where there is room, not in TMPDIR")

const (
	memoryRoot = "/dev/shm"
	memoryRoom = 1 << 30 // bytes that must be free there
)

// memoryDir is where nodes in this process keep their data in memory; "": they keep it in TMPDIR.
var memoryDir = sync.OnceValue(func() string {
	if !*inMemory || roomIn(memoryRoot) < memoryRoom {
		return ""
	}
	// What a killed run left there would take memory for ever.
	old, _ := filepath.Glob(filepath.Join(memoryRoot, "rollcall-cluster-test-*"))
	for _, dir := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "rollcall-cluster-test-%d", &pid); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
	dir := filepath.Join(memoryRoot, fmt.Sprintf("rollcall-cluster-test-%d", os.Getpid()))
	if os.Mkdir(dir, 0o700) != nil {
		return ""
	}
	return dir
})

// dataDir returns a directory for data of nodes in this process, and removes it when the test ends. It is in memory
// where there is room: these nodes sync thousands of times, and most of their real time went by in waiting for the
// disk. None of them loses power; clusters of processes do (TestProcessPowerLoss), on disks. Benchmarks get a disk.
func dataDir(t testing.TB) string {
	t.Helper()
	if _, measures := t.(*testing.B); measures || memoryDir() == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memoryDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
