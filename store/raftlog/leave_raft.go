package raftlog

import (
	"runtime"
	"strings"
)

// leaveRaft ends the calling goroutine if raft started it. Raft answers an entry that it cannot
// read while applying, and a term that it cannot store, with a panic; the process shall end with
// the reason that OnFailure was given instead. Raft starts its goroutines with goFunc, which counts
// them down in a defer, so that its Shutdown still ends. Elsewhere (NewRaft, our own code) the
// caller gets the error: there Goexit would take a goroutine that somebody waits for.
func leaveRaft() {
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "github.com/hashicorp/raft.(*raftState).goFunc.") {
			runtime.Goexit()
		}
		if !more {
			return
		}
	}
}
