package rpcerror

import (
	"log/slog"
	"runtime/debug"
)

// Recovered is deferred by every handler but those of health, which are too small to need it and too
// hot to pay for it: gRPC lets a panic in a handler end the process. Handlers hold no lock and share
// no state of their own across calls, so that one call's defect leaves nothing broken behind. (The
// fold and the registry file are not covered, and must not be: there a panic means broken state.)
func Recovered(log *slog.Logger, node, call string, change bool, err *error) {
	p := recover()
	if p == nil {
		return
	}
	log.Error("panic in a handler", "call", call, "panic", p, "stack", string(debug.Stack()))
	f := &Failure{Reason: ReasonInternal, Message: "a defect in this node's program; its log has the details"}
	if change {
		f.Message += "; outcome unknown, retry only with the same request_id"
		f.Meta = map[string]string{MetaWritten: WrittenUnknown}
	}
	*err = ToStatus(node, f)
}
