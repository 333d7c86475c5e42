package cluster_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client"
)

// TestProcessBench runs every load of `rollcall bench` on a real cluster: it must leave the registry as it
// was, with history of what it wrote, and end with 1 in one line when there is no quorum.
func TestProcessBench(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	endpoints := strings.Join(c.endpoints(), ",")
	type summary struct {
		Bench    string
		Calls    uint64
		Writes   uint64
		Changes  uint64
		Messages uint64
		Errors   uint64
		ErrorsBy json.RawMessage `json:"errors_by"`
	}
	before, err := c.client().ClusterStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var changes uint64
	for _, test := range []struct {
		args []string
		ok   func(summary) bool
	}{
		{[]string{"check", "payments", "--callers", "8", "--connections", "3", "--duration", "500ms"},
			func(s summary) bool { return s.Calls > 0 }},
		{[]string{"check", "payments", "--linearizable", "--callers", "8", "--connections", "3", "--duration", "500ms"},
			func(s summary) bool { return s.Calls > 0 }},
		{[]string{"write", "--writers", "4", "--services", "20", "--duration", "500ms"},
			func(s summary) bool { return s.Writes > 0 && s.Changes == s.Writes }},
		{[]string{"write", "--writers", "4", "--batch", "5", "--duration", "500ms"},
			func(s summary) bool { return s.Writes > 0 && s.Changes == 5*s.Writes }},
		{[]string{"watch", "--watches", "60", "--connections", "6", "--flips", "4"},
			func(s summary) bool { return s.Messages == 240 }},
	} {
		args := append([]string{"bench"}, test.args...)
		stdout, stderr, code := runBinary(t, append(args, "-e", endpoints, "-o", "json", "--timeout", "30s")...)
		var s summary
		if err := json.Unmarshal([]byte(stdout), &s); err != nil {
			t.Fatalf("%v: exit status %d, %v, stderr:\n%s", args, code, err, stderr)
		}
		if s.Errors > 0 && code == 4 {
			// A busy machine can hold an election at any moment; that must show as errors.
			t.Logf("%v: %s", args, s.ErrorsBy)
		} else if code != 0 || !test.ok(s) {
			t.Errorf("%v: exit status %d\n%s%s", args, code, stdout, stderr)
		}
		changes += s.Changes
	}
	eventually(t, "only payments to be left", func(ctx context.Context) bool {
		var names []string
		fresh := client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable})
		for rec, err := range c.client().List(fresh, client.ListOptions{}) {
			if err != nil {
				return false
			}
			names = append(names, rec.GetService())
		}
		if len(names) != 1 || names[0] != "payments" {
			t.Fatalf("left: %v", names)
		}
		return true
	})
	after, err := c.client().ClusterStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if made := after.GetRevision() - before.GetRevision(); made < int64(changes) {
		t.Errorf("%d changes are said to have been made, %d revisions were", changes, made)
	}

	for _, p := range c.nodes[1:] {
		p.kill()
	}
	stdout, stderr, code := runBinary(t, "bench", "write", "-e", endpoints, "--timeout", "2s")
	if code != 1 || stdout != "" || !regexp.MustCompile(`\nrollcall: (cannot write at all|outcome of write at all unknown): .*\n$`).MatchString(stderr) {
		t.Errorf("without a quorum: exit status %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = runBinary(t, "bench", "check", "payments", "--duration", "200ms", "-e", endpoints)
	if code != 0 || !strings.HasPrefix(stdout, "check of payments: ") || strings.Count(stderr, "bench: no load on ") != 2 {
		t.Errorf("checks go on without a quorum: exit status %d\n%s%s", code, stdout, stderr)
	}
}
