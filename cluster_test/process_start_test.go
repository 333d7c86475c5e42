package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// oneLine fails unless stderr is one line that contains want, and code is 1.
func oneLine(t *testing.T, what, stderr string, code int, want string) {
	t.Helper()
	if code != 1 {
		t.Errorf("%s: exit status %d, want 1", what, code)
	}
	if strings.Count(strings.TrimSuffix(stderr, "\n"), "\n") != 0 || !strings.Contains(stderr, want) {
		t.Errorf("%s: want one line with %q on stderr, got:\n%s", what, want, stderr)
	}
}

// TestProcessBadStart is what an operator may get wrong: one clear line, exit status 1, at once.
func TestProcessBadStart(t *testing.T) {
	needProcesses(t)
	busy, err := net.Listen("tcp", freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	member := func(name string) string {
		return fmt.Sprintf("%s,api=%s,peer=%s", name, freePort(t), freePort(t))
	}
	n1 := member("n1")
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"serve", "--nod", "n1"}, "--nod"},
		{"unknown command", []string{"sevre"}, "sevre"},
		{"no node", []string{"serve", "--data", t.TempDir(), "--member", n1}, "node"},
		{"not in the list", []string{"serve", "--node", "n9", "--data", t.TempDir(), "--member", n1}, `"n9" is not in the member list`},
		{"no data", []string{"serve", "--node", "n1", "--member", n1}, "data"},
		{"bad member", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1"}, "n1"},
		{"bad address", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1,api=here,peer=127.0.0.1:1"}, `"here"`},
		{"listed twice", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", n1, "--member", member("n1")}, "twice"},
		{"one address twice", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1,api=127.0.0.1:7600,peer=127.0.0.1:7600"}, "127.0.0.1:7600"},
		{"plain text beyond loopback", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1,host=10.0.0.1"}, "--insecure"},
		{"plain text beyond loopback by listening", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", n1, "--api-listen", "0.0.0.0:7600"}, "--insecure"},
		{"API port in use", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1,api=" + busy.Addr().String() + ",peer=" + freePort(t)}, busy.Addr().String()},
		{"peer port in use", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", "n1,peer=" + busy.Addr().String() + ",api=" + freePort(t)}, busy.Addr().String()},
		{"HTTP port in use", []string{"serve", "--node", "n1", "--data", t.TempDir(), "--member", n1, "--http", busy.Addr().String()}, busy.Addr().String()},
		{"data is a file", []string{"serve", "--node", "n1", "--data", file, "--member", n1}, file},
		{"unwritable data", []string{"serve", "--node", "n1", "--data", "/proc/rollcall", "--member", n1}, "/proc/rollcall"},
		{"no endpoint", []string{"get", "payments", "--endpoints", freePort(t)}, "rollcall dev"},
		{"bad status", []string{"set", "payments", "upp"}, `upp`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stdout, stderr, code := runBinary(t, tc.args...)
			oneLine(t, tc.name, stderr, code, tc.want)
			if stdout != "" {
				t.Errorf("stdout: %s", stdout)
			}
		})
	}
}

// lastLine is what a process that ended says of it.
func (p *process) lastLine() string {
	var last string
	for line := range strings.Lines(p.log.String()) {
		if strings.HasPrefix(line, "rollcall: ") {
			last = line
		}
	}
	return last
}

// TestProcessWrongDirectory starts processes on directories that are not theirs.
func TestProcessWrongDirectory(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	n1, n2 := c.nodes[0], c.nodes[1]

	// A second process on a live directory, with ports of its own.
	second := *n1.command()
	for i, a := range second.Args {
		switch a {
		case n1.http:
			second.Args[i] = freePort(t)
		case n1.api:
			second.Args[i] = freePort(t)
		case n1.peerListen:
			second.Args[i] = freePort(t)
		}
	}
	_, stderr, code := runBinary(t, second.Args[1:]...)
	oneLine(t, "second process", stderr, code, n1.data+" is in use")

	// Another node's directory.
	n2.stop()
	own := n2.data
	n2.data = filepath.Join(t.TempDir(), "copy")
	n1.stop()
	if err := os.CopyFS(n2.data, os.DirFS(n1.data)); err != nil {
		t.Fatal(err)
	}
	n2.start()
	if code := n2.waitExit(); code != 1 || !strings.Contains(n2.lastLine(), `belongs to node "n1", not "n2"`) {
		t.Errorf("another node's directory: status %d, %s", code, n2.lastLine())
	}
	n1.start()

	// The directory of another cluster's n2.
	other := startProcesses(t, processOptions{nodes: 3})
	other.nodes[1].stop()
	n2.data = other.nodes[1].data
	n2.start()
	if code := n2.waitExit(); code != 1 || !strings.Contains(n2.lastLine(), "belongs to cluster") {
		t.Errorf("another cluster's directory: status %d, %s", code, n2.lastLine())
	}

	// The right one again: nothing was harmed.
	n2.data = own
	n2.start()
	c.waitReady()
	other.nodes[1].start()
	other.waitReady()
}

// TestProcessDifferentMemberLists forms no cluster of nodes that disagree who is in it.
func TestProcessDifferentMemberLists(t *testing.T) {
	c := newProcesses(t, processOptions{})
	stranger := fmt.Sprintf("n4,api=%s,peer=%s", freePort(t), freePort(t))
	odd := c.nodes[2]
	odd.members = append([]string{stranger}, odd.members[1:]...)
	c.nodes[0].start()
	odd.start()
	// The one that notices first ends; the other is left waiting.
	eventually(t, "a refusal", func(context.Context) bool {
		return strings.Contains(c.nodes[0].lastLine()+odd.lastLine(), "different members")
	})
}

// TestProcessPowerOfOne runs a cluster of one.
func TestProcessSingleNode(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	c.killAll()
	c.start()
	c.nodes[0].waitStatus("payments", serving)
	c.nodes[0].waitStatus(rollcallv1.OwnReady, serving)
}

// TestProcessCommandLine walks through the commands against three real nodes.
func TestProcessCommandLine(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	run := func(wantCode int, wantOut string, args ...string) string {
		t.Helper()
		start := time.Now()
		stdout, stderr, code := c.rollcall(args...)
		for code == 5 && wantCode != 5 { // a leader may change at any moment on a busy machine
			stdout, stderr, code = c.rollcall(args...)
		}
		if code != wantCode || !strings.Contains(stdout+stderr, wantOut) {
			t.Errorf("rollcall %s: status %d after %s, want %d with %q\nstdout: %s\nstderr: %s",
				strings.Join(args, " "), code, time.Since(start).Round(time.Millisecond), wantCode, wantOut, stdout, stderr)
		}
		return stdout
	}
	run(0, "n1", "status", "--wait", "30s")
	run(0, "SERVING", "set", "payments", "serving", "--reason", "deploy 42")
	run(0, "deploy 42", "get", "payments")
	run(0, `"reason": "deploy 42"`, "get", "payments", "-o", "json")
	run(0, "", "set", "shop/cart=serving", "shop/checkout=not_serving", "--reason", "split")
	run(0, "shop/checkout", "list", "shop/")
	if out := run(0, "", "list", "shop/", "-o", "json"); strings.Contains(out, "payments") {
		t.Errorf("list shop/ shows payments: %s", out)
	}
	for _, p := range c.nodes {
		eventually(t, "payments on "+p.name, func(ctx context.Context) bool { return p.check(ctx, "payments") == serving })
		if _, stderr, code := runBinary(t, "probe", "payments", "--endpoints", p.api); code != 0 {
			t.Errorf("probe on %s: status %d, %s", p.name, code, stderr)
		}
		if _, stderr, code := runBinary(t, "probe", "shop/checkout", "--endpoints", p.api); code != 4 {
			t.Errorf("probe of what does not serve, on %s: status %d, %s", p.name, code, stderr)
		}
	}
	run(1, "revision", "set", "payments", "not_serving", "--if-revision", "999999")
	run(1, "*", "set", "shop/*", "not_serving")
	run(0, "", "set", "payments", "not_serving", "--dry-run")
	run(0, "SERVING", "wait", "payments", "--for", "serving", "--timeout", "10s")
	run(4, "", "wait", "payments", "--for", "not_serving", "--timeout", "300ms")
	run(0, "", "delete", "payments")
	run(1, "payments", "get", "payments")
	run(0, "n3", "status")
	run(0, "", "version")
	run(0, "complete", "completion", "bash")
}
