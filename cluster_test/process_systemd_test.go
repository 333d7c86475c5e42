package cluster_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// serviceManager listens to what a process tells, as systemd does.
func serviceManager(t *testing.T) (socket string, told *syncBuffer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	told = &syncBuffer{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			fmt.Fprintf(told, "%s\n", buf[:n])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return path, told
}

// TestProcessTellsTheServiceManager plays systemd: each node says that it serves, what it does, again and again that it
// is alive, and that it stops.
func TestProcessTellsTheServiceManager(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	c := newProcesses(t, processOptions{nodes: 3})
	told := map[string]*syncBuffer{}
	for _, p := range c.nodes {
		path, lines := serviceManager(t)
		told[p.name] = lines
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

// TestProcessAgentTellsTheServiceManager plays systemd to an agent, from its start over reloads to its end. No registry
// is there, which is no reason to start it anew.
func TestProcessAgentTellsTheServiceManager(t *testing.T) {
	beside(t, ofProcesses)
	a := newAgent(t, []string{"127.0.0.1:1"}, agentInstance)
	p := newProgram(t)
	services := fmt.Sprintf("services: [{ name: a, checks: [{ tcp: { address: \"%s\" } }] }]\n", p.Listener.Addr())
	a.write(services)
	socket, told := serviceManager(t)
	a.env = []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=600000", "WATCHDOG_PID="}
	says := func(what string, times int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the agent to say %q %d times", what, times), func(context.Context) bool {
			return strings.Count(told.String(), what+"\n") >= times
		})
	}
	a.start()
	says("READY=1", 1)
	says("WATCHDOG=1", 5)
	a.shows("a", serving)
	a.hangup(readAgain)
	says("READY=1", 2)
	a.write(services + "bogus: 1\n")
	a.hangup(notTaken)
	says("READY=1", 3)
	for _, reload := range strings.Split(told.String(), "RELOADING=1\n")[1:] {
		if !strings.HasPrefix(reload, "MONOTONIC_USEC=") || !strings.Contains(reload, "READY=1\nSTATUS=watching 1 service") {
			t.Errorf("of a reload it says:\n%s", reload)
		}
	}
	if n := strings.Count(told.String(), "RELOADING=1\n"); n != 2 || !strings.Contains(told.String(), "the configuration file was refused, the one before it holds") {
		t.Errorf("%d reloads:\n%s", n, told)
	}
	a.write(services)
	a.hangup(readAgain)
	says("READY=1", 4)
	all := strings.Split(told.String(), "READY=1\n")
	if last := all[len(all)-1]; strings.Contains(last, "refused") {
		t.Errorf("after a good file it says:\n%s", last)
	}
	a.stop()
	says("STOPPING=1", 1)
	if _, after, _ := strings.Cut(told.String(), "STOPPING=1\n"); strings.TrimSpace(after) != "" {
		t.Errorf("after its end it says:\n%s", after)
	}
}
