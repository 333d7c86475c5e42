package cluster_test

import (
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessSurelyNotWrittenCommand: without a quorum nothing is written, whichever endpoints refuse
// connections, and the command says so.
func TestProcessSurelyNotWrittenCommand(t *testing.T) {
	beside(t, ofProcesses)
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
	// The last word of another may have made it lead, until it misses them: then it takes changes, of unknown outcome.
	time.Sleep(300 * time.Millisecond)
	c.nodes[1].waitStatus(rollcallv1.OwnLeader, notServing)
	notWritten("one node of three")
}
