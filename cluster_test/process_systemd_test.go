package cluster_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestProcessTellsTheServiceManager plays systemd: each node says that it serves, what it does, again and again that it
// is alive, and that it stops.
func TestProcessTellsTheServiceManager(t *testing.T) {
	needProcesses(t)
	t.Parallel()
	c := newProcesses(t, processOptions{nodes: 3})
	told := map[string]*syncBuffer{}
	for _, p := range c.nodes {
		path := filepath.Join(t.TempDir(), "s")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		lines := &syncBuffer{}
		told[p.name] = lines
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			buf := make([]byte, 4096)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				fmt.Fprintf(lines, "%s\n", buf[:n])
			}
		}()
		t.Cleanup(func() { conn.Close(); <-ended })
		p.wrap = []string{"env", "NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=600000"}
	}
	says := func(p *process, what string, times int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s to say %q %d times", p.name, what, times), func(context.Context) bool {
			return strings.Count(told[p.name].String(), what+"\n") >= times
		})
	}
	c.nodes[0].start()
	says(c.nodes[0], "READY=1", 1) // it waits for the others, and its start is over all the same
	if !strings.Contains(told["n1"].String(), "STATUS=waits to form a cluster: ") {
		t.Errorf("n1 says:\n%s", told["n1"].String())
	}
	c.nodes[1].start()
	c.nodes[2].start()
	c.waitReady()
	leader := c.leader()
	says(leader, "STATUS=leads", 1)
	others := c.others(leader)
	says(others[0], "STATUS=follows "+leader.name, 1)

	// Without a quorum a node is alive.
	others[1].kill()
	leader.kill()
	fed := strings.Count(told[others[0].name].String(), "WATCHDOG=1\n")
	says(others[0], "STATUS=sees no leader; reads are served", 1)
	says(others[0], "WATCHDOG=1", fed+10)
	others[0].stop()
	says(others[0], "STOPPING=1", 1)
}
