package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// following is a command of the binary that goes on until it is interrupted.
type following struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *syncBuffer
}

func (c *processes) follow(args ...string) *following {
	c.t.Helper()
	args = append(args, "--endpoints", strings.Join(c.endpoints(), ","))
	f := &following{t: c.t, cmd: exec.Command(binary, args...), stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	f.cmd.Stdout, f.cmd.Stderr = f.stdout, f.stderr
	if err := f.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if f.cmd.ProcessState == nil {
			_ = f.cmd.Process.Kill()
			_ = f.cmd.Wait()
		}
		if c.t.Failed() {
			c.t.Logf("rollcall %s\n%s%s", strings.Join(args, " "), f.stdout, f.stderr)
		}
	})
	return f
}

func (f *following) shows(text string) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%q of %v", text, f.cmd.Args[1:3]), func(context.Context) bool {
		return strings.Contains(f.stdout.String()+f.stderr.String(), text)
	})
}

// exit waits until the command ends, interrupted if it does not by itself.
func (f *following) exit(interrupted bool) int {
	f.t.Helper()
	if interrupted {
		if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
			f.t.Fatal(err)
		}
	}
	var failed *exec.ExitError
	if err := f.cmd.Wait(); err != nil && !errors.As(err, &failed) {
		f.t.Fatal(err)
	}
	return f.cmd.ProcessState.ExitCode()
}

// restoreOnSameAddresses replaces the cluster by one that is made of a backup, on its ports.
func (c *processes) restoreOnSameAddresses(backup string) {
	c.t.Helper()
	for _, p := range c.nodes {
		p.stop()
	}
	token := ""
	for _, p := range c.nodes {
		p.data = filepath.Join(c.t.TempDir(), "restored")
		args := []string{"snapshot", "restore", backup, "--node", p.name, "--data", p.data, "-o", "json"}
		if *logStore != "" {
			args = append(args, "--log-store", *logStore)
		}
		for _, m := range p.members {
			args = append(args, "--member", m)
		}
		if token != "" {
			args = append(args, "--token", token)
		}
		var restored struct{ Token string }
		if err := json.Unmarshal([]byte(mustRun(c.t, args...)), &restored); err != nil {
			c.t.Fatal(err)
		}
		token = restored.Token
	}
	c.start()
	c.waitReady()
}

// TestProcessRestoredUnderOpenWatches restores a backup on the ports of a cluster that is watched by commands,
// a Go client and streams over HTTP.
func TestProcessRestoredUnderOpenWatches(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	c.set("orders", serving)
	backup := filepath.Join(t.TempDir(), "backup")
	mustRun(t, "snapshot", "save", backup, "-e", c.nodes[0].api)
	for i := range 10 {
		c.set(fmt.Sprintf("later/%d", i), serving)
	}
	watch, prefixes := c.follow("watch", "payments"), c.follow("watch", "--prefix", "", "-o", "json")
	events := c.follow("events", "--follow", "--from", "1", "-o", "json")
	watch.shows("payments SERVING")
	prefixes.shows(`"synced":true`)
	events.shows(`"service":"later/9"`)
	cl := c.client()
	page := c.watchOverHTTP(c.nodes[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	old, err := cl.Get(ctx, "payments")
	if err != nil {
		t.Fatal(err)
	}

	c.restoreOnSameAddresses(backup)
	status, err := cl.ClusterStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now := status.GetClusterId()
	page.afterRestore(now, map[string]string{"payments": "SERVING", "orders": "SERVING"})

	revision := old.GetService().GetReport().GetRevision()
	if _, err := cl.Set(ctx, "payments", notServing, client.WriteOptions{IfRevision: &revision}); !errors.Is(err, client.ErrClusterChanged) {
		t.Errorf("a write on a condition of the old cluster: %v", err)
	}
	c.set("payments", notServing)
	c.set("after", serving)
	watch.shows("the cluster changed: it is " + now + " now, restored from a backup or founded anew; revisions begin anew\n")
	watch.shows("payments NOT_SERVING")
	prefixes.shows(`{"reset":true,"cluster_id":"` + now + `"}`)
	prefixes.shows(`{"service":"after","status":"SERVING"`)
	if code := watch.exit(true); code != 0 {
		t.Errorf("watch: exit status %d", code)
	}
	if code := prefixes.exit(true); code != 0 {
		t.Errorf("watch --prefix: exit status %d", code)
	}
	want := "cannot follow events: the endpoints serve another cluster now, " + now
	if code := events.exit(false); code != 1 || !strings.Contains(events.stderr.String(), want) || !strings.Contains(events.stderr.String(), `"reason":"CLUSTER_CHANGED"`) {
		t.Errorf("events --follow: exit status %d, %s, want %s", code, events.stderr, want)
	}
	if strings.Contains(events.stdout.String(), `"after"`) {
		t.Error("events --follow went on with another history")
	}

	// Who names the old cluster is refused, before anything is done.
	_, stderr, code := c.rollcall("set", "payments", "serving", "--cluster", old.GetClusterId())
	if code != 1 || !strings.Contains(stderr, "--cluster asks for "+old.GetClusterId()+", and the endpoints serve "+now) {
		t.Errorf("set --cluster: exit status %d, %s", code, stderr)
	}
	if _, stderr, code = c.rollcall("set", "payments", "serving", "--cluster", now, "--if-revision", "1000"); code != 1 || !strings.Contains(stderr, "its revision is") {
		t.Errorf("set --cluster of this one: exit status %d, %s", code, stderr)
	}
}

// TestProcessWatchServicesAfterSIGSTOP stops a node's process, writes, and asks it for its services while it is
// stopped. It answers when it goes on. Found before: its first state was empty and synced, for up to 1.3 s.
func TestProcessWatchServicesAfterSIGSTOP(t *testing.T) {
	c := startProcesses(t, processOptions{})
	leader := c.leader()
	asleep := c.others(leader)[0]
	asleep.waitStatus("", serving) // and connected
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for round := range 3 {
		asleep.signal(syscall.SIGSTOP)
		service := fmt.Sprintf("shop/%d", round)
		c.set(service, serving, c.others(asleep)...)
		stream, err := rollcallv1.NewRegistryClient(asleep.dial()).WatchServices(ctx, &rollcallv1.WatchServicesRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		asleep.signal(syscall.SIGCONT)
		seen := map[string]bool{}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range m.GetServices() {
				seen[r.GetService()] = true
			}
			if m.GetSynced() {
				break
			}
		}
		if !seen[service] {
			t.Errorf("round %d: it said that %v is all", round, seen)
		}
	}
}
