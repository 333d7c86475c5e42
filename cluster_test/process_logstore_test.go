package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProcessConvertLog kills a cluster under load, moves the logs of its nodes to the other log store,
// one of them after the others, and finds every acknowledged write again; then it moves them back.
func TestProcessConvertLog(t *testing.T) {
	c := startProcesses(t, processOptions{})
	is := *logStore
	other := map[string]string{"boltdb": "wal", "wal": "boltdb"}
	for range 2 {
		to := other[is]
		l := startLoad(t, c.client(), 8)
		l.wait(200)
		p := c.nodes[0]
		if _, errOut, code := runBinary(t, "convert-log", "--data", p.data, "--to", to); code != 1 || !strings.Contains(errOut, "in use by another rollcall process") {
			t.Fatalf("under a running node: status %d, %s", code, errOut)
		}
		c.killAll()
		l.stop()

		// A node does not start on another log store than the one that it has.
		p.args = []string{"--log-store", to}
		p.start()
		if code := p.waitExit(); code != 1 || !strings.Contains(p.lastLine(), "rollcall convert-log --data "+p.data+" --to "+to) {
			t.Errorf("on another log store: status %d, %s", code, p.lastLine())
		}
		for i, p := range c.nodes {
			out, errOut, code := runBinary(t, "convert-log", "--data", p.data, "--to", to)
			if code != 0 || !strings.Contains(out, "is in "+to+" now") {
				t.Fatalf("status %d, %s %s", code, out, errOut)
			}
			if _, err := os.Stat(filepath.Join(p.data, "wal")); (err == nil) != (to == "wal") {
				t.Errorf("wal/ of %s: %v", p.name, err)
			}
			p.args = []string{"--log-store", to}
			p.start()
			if i == 0 {
				p.waitStatus("rollcall.reads", serving) // alone, before the others are converted
			}
		}
		c.waitReady()
		c.caughtUp()
		for _, p := range c.nodes {
			l.verify(p)
		}
		is = to
	}
}
