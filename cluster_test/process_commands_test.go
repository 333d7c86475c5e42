package cluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventLine is an event as programs read it.
type eventLine struct {
	Revision                      int64
	Type, Service, Status, Reason string
	Previous                      string `json:"previous_status"`
	Time                          time.Time
	Actor                         struct{ Name string }
	Commit                        int64 `json:"commit_revision"`
	Member                        *struct{ Name string }
}

func (e eventLine) String() string {
	return fmt.Sprintf("%s %s %s→%s %s %s", e.Type, e.Service, e.Previous, e.Status, e.Actor.Name, e.Reason)
}

// eventsOn is what "rollcall events -o json" prints, as it is and read.
func eventsOn(t *testing.T, p *process, args ...string) (string, []eventLine) {
	t.Helper()
	out, errOut, code := runBinary(t, append([]string{"events", "-o", "json", "--timeout", "30s", "-e", p.api}, args...)...)
	if code != 0 {
		t.Fatalf("events on %s: exit status %d: %s", p.name, code, errOut)
	}
	var events []eventLine
	for line := range strings.Lines(out) {
		var e eventLine
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("events on %s: %v: %s", p.name, err, line)
		}
		events = append(events, e)
	}
	return out, events
}

// TestProcessEventsCommand reads the events with the command on every node, before and after SIGKILL
// of all.
func TestProcessEventsCommand(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	command := func(args ...string) {
		t.Helper()
		if _, errOut, code := c.rollcall(append(args, "--timeout", "30s")...); code != 0 {
			t.Fatalf("rollcall %s: exit status %d: %s", strings.Join(args, " "), code, errOut)
		}
	}
	before := time.Now()
	command("set", "shop/cart", "serving", "--actor", "ann", "--reason", "deployed")
	command("set", "shop/cart=not_serving", "shop/pay=serving", "--actor", "bob", "--reason", "shift")
	command("set", "shop/cart", "not_serving", "--actor", "bob", "--reason", "still") // no new status, but an event
	command("delete", "shop/pay", "--actor", "ann", "--reason", "retired")
	c.caughtUp()
	after := time.Now()
	want := []string{
		"reported shop/cart SERVICE_UNKNOWN→SERVING ann deployed",
		"reported shop/cart SERVING→NOT_SERVING bob shift",
		"reported shop/pay SERVICE_UNKNOWN→SERVING bob shift",
		"reported shop/cart NOT_SERVING→NOT_SERVING bob still",
		"deleted shop/pay SERVING→SERVICE_UNKNOWN ann retired",
	}
	var first string
	check := func() {
		t.Helper()
		for _, p := range c.nodes {
			out, events := eventsOn(t, p)
			if first == "" {
				first = out
			}
			if out != first {
				t.Errorf("%s says\n%s, others\n%s", p.name, out, first)
			}
			var got []string
			last := before.Add(-time.Minute) // the members came before
			for i, e := range events {
				if e.Revision != int64(i+1) {
					t.Errorf("%s: event %d has revision %d", p.name, i, e.Revision)
				}
				if e.Time.Before(last) || e.Time.After(after) {
					t.Errorf("%s: revision %d is of %v, after one of %v", p.name, e.Revision, e.Time, last)
				}
				last = e.Time
				if e.Service != "" {
					got = append(got, e.String())
				} else if e.Type != "member-changed" || e.Member == nil || e.Member.Name == "" {
					t.Errorf("%s: %+v", p.name, e)
				}
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s:\n%s\nwant:\n%s", p.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if n := len(events); n != len(want)+3 || events[n-4].Commit != events[n-3].Revision || events[n-3].Commit != events[n-3].Revision {
				t.Errorf("%s: %+v", p.name, events)
			}
		}
	}
	check()
	c.killAll()
	c.start()
	c.waitReady()
	c.caughtUp()
	check()

	// The past, on another node than wrote it.
	_, events := eventsOn(t, c.nodes[1], "--service", "shop/pay", "--type", "deleted")
	if len(events) != 1 {
		t.Fatalf("%+v", events)
	}
	at := events[0].Revision - 1
	out, errOut, code := runBinary(t, "list", "shop/", "--at", fmt.Sprint(at-2), "-o", "json", "-e", c.nodes[2].api)
	if code != 0 || !strings.Contains(out, fmt.Sprintf(`"revision": %d`, at-3)) || strings.Contains(out, "shop/pay") {
		t.Errorf("inside the batch: exit status %d %s\n%s", code, errOut, out)
	}
	out, errOut, code = runBinary(t, "get", "shop/pay", "--at", fmt.Sprint(at), "-o", "json", "-e", c.nodes[2].api)
	if code != 0 || !strings.Contains(out, `"status": "SERVING"`) {
		t.Errorf("exit status %d %s\n%s", code, errOut, out)
	}
	out, errOut, code = runBinary(t, "history", "shop/pay", "-o", "json", "-e", c.nodes[2].api)
	if code != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, `"end_time":null`) {
		t.Errorf("exit status %d %s\n%s", code, errOut, out)
	}
}

// TestProcessFollowCommand follows events with the command while the node it follows is killed, and
// ends it with SIGINT.
func TestProcessFollowCommand(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	cmd := exec.Command(binary, "events", "--follow", "--from", "1", "-o", "json", "-e", strings.Join(c.endpoints(), ","))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr syncBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer hang.Stop()
	lines := bufio.NewScanner(stdout)
	revision := int64(0)
	until := func(service string) {
		t.Helper()
		hang.Reset(patience)
		for lines.Scan() {
			var e eventLine
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if revision++; e.Revision != revision {
				t.Fatalf("revision %d after %d", e.Revision, revision-1)
			}
			if e.Service == service {
				return
			}
		}
		t.Fatalf("the events end before %s: %s", service, stderr.String())
	}
	for i, p := range c.nodes {
		c.set(fmt.Sprintf("before-%d", i), serving)
		until(fmt.Sprintf("before-%d", i))
		p.kill()
		c.set(fmt.Sprintf("without-%s", p.name), serving, c.others(p)...)
		until("without-" + p.name)
		p.start()
		c.waitReady()
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Errorf("after the interrupt: %s", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v: %s", err, stderr.String())
	}
}
