package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

const (
	// portsFrom to portsTo is below the range that the system gives to outgoing connections, so that no
	// client takes the port of a node that is down.
	portsFrom, portsTo = 12000, 32000
	portBlock          = 500
)

// ports are those of this test binary. A node keeps its ports while it is down, so nobody else may take
// them: two test binaries at once use different blocks, and within one a port has one owner at a time.
var ports struct {
	mu    sync.Mutex
	lock  net.Listener // on the block's first port: the block is ours while this process lives
	first int
	used  [portBlock]bool
	next  int
}

// takeBlock finds a block whose first port nobody holds.
func takeBlock() error {
	blocks := (portsTo - portsFrom) / portBlock
	for _, i := range rand.Perm(blocks) {
		first := portsFrom + i*portBlock
		if l, err := net.Listen("tcp", loopback(first)); err == nil {
			ports.lock, ports.first, ports.used[0] = l, first, true
			return nil
		}
	}
	return fmt.Errorf("all %d blocks of ports from %d are taken", blocks, portsFrom)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePort is the address of a port that belongs to the test until its end.
func freePort(t *testing.T) string {
	t.Helper()
	return loopback(freePorts(t, 1))
}

// freePorts is the first of n ports in a row that belong to the test until its end.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.first == 0 {
		if err := takeBlock(); err != nil {
			t.Fatal(err)
		}
	}
	for range portBlock {
		at := ports.next
		ports.next = (at + 1) % portBlock
		if at+n > portBlock || !portsFree(at, n) {
			continue
		}
		for i := range n {
			ports.used[at+i] = true
		}
		ports.next = (at + n) % portBlock
		t.Cleanup(func() {
			ports.mu.Lock()
			defer ports.mu.Unlock()
			clear(ports.used[at : at+n])
		})
		return ports.first + at
	}
	t.Fatalf("no %d free ports in a row from %d", n, ports.first)
	return 0
}

// portsFree reports whether n ports of the block are nobody's, in this process and beyond. Under ports.mu.
func portsFree(at, n int) bool {
	for i := at; i < at+n; i++ {
		if ports.used[i] {
			return false
		}
		l, err := net.Listen("tcp", loopback(ports.first+i))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
