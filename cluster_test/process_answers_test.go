package cluster_test

import (
	"strings"
	"testing"
)

// TestProcessSurelyNotWrittenCommand: without a quorum nothing is written, whichever endpoints refuse
// connections, and the command says so.
func TestProcessSurelyNotWrittenCommand(t *testing.T) {
	t.Parallel()
	c := newProcesses(t, processOptions{})
	notWritten := func(when string) {
		t.Helper()
		for _, timeout := range []string{"700ms", "1500ms"} {
			out, errOut, code := c.rollcall("set", "a", "serving", "-o", "json", "--timeout", timeout)
			if code != 1 || out != "" || !strings.Contains(errOut, `"written":"no"`) {
				t.Errorf("%s, within %s: exit status %d: %s%s", when, timeout, code, out, errOut)
			}
		}
	}
	c.nodes[0].start()
	notWritten("a cluster that is not formed yet")
	c.nodes[1].start()
	c.nodes[2].start()
	c.waitReady()
	c.nodes[0].kill()
	c.nodes[2].kill()
	notWritten("one node of three")
}
