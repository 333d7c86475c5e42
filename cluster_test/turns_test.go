package cluster_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
)

// Tests that need not be alone run beside each other, in two lanes. Those of processes wait most of the time: three at
// once for each core. Those in virtual time never wait: one for two cores.
var (
	ofProcesses   = make(chan struct{}, 3*runtime.GOMAXPROCS(0))
	ofVirtualTime = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
)

// beside has a test run beside others, when its lane has room.
func beside(t *testing.T, lane chan struct{}) {
	t.Helper()
	t.Parallel()
	lane <- struct{}{}
	t.Cleanup(func() { <-lane })
}

// lanesDecide leaves it to the lanes how many tests run at once, unless -parallel says it.
func lanesDecide() {
	f := flag.Lookup("test.parallel")
	if f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("1000")
	}
}
