package server

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// gate stands before everything that reads or changes the registry. It is open until the node finds
// that its registry is not the cluster's, and then closed until the process ends. What tells of the
// node itself stays: its own names, GetStatus.
type gate struct {
	refusal atomic.Pointer[failure] // nil: open
	ended   context.Context         // ends, with the refusal as its cause, when the gate closes
	end     context.CancelCauseFunc
}

func newGate() *gate {
	g := &gate{}
	g.ended, g.end = context.WithCancelCause(context.Background())
	return g
}

// close refuses everything from now on and ends what follows the registry. Whoever closes it ends the
// watches of services after that.
func (g *gate) close(f *failure) {
	if g.refusal.CompareAndSwap(nil, f) {
		g.end(f)
	}
}

// closed returns why the gate is closed, nil if it is open. A nil gate is open.
func (g *gate) closed() *failure {
	if g == nil {
		return nil
	}
	return g.refusal.Load()
}

// refuseName is for calls about name, which may be one of the node's own. The error is a status.
func (g *gate) refuseName(node, name string) error {
	if f := g.closed(); f != nil && !isOwn(name) {
		return statusError(node, f)
	}
	return nil
}

// endRegistry has what follows the registry canceled, with the refusal, when the gate closes. The
// returned function gives that up.
func (g *gate) endRegistry(cancel context.CancelCauseFunc) (stop func() bool) {
	if g == nil {
		return func() bool { return false }
	}
	return context.AfterFunc(g.ended, func() { cancel(context.Cause(g.ended)) })
}

func isOwn(name string) bool {
	return name == "" || strings.HasPrefix(name, rollcallv1.OwnPrefix)
}

// notWritten is f as the answer to a change.
func (f *failure) notWritten() *failure {
	change := *f
	change.meta = maps.Clone(f.meta)
	change.meta[MetaWritten] = WrittenNo
	return &change
}

// Diverged has the server refuse reads and changes of the registry with UNAVAILABLE and reason
// DIVERGED, and end the watches of services: this node's registry is not what the cluster agreed on
// from the log entry at index on. It cannot be undone. Node.NodeStatus must tell so before.
func (s *Server) Diverged(index uint64) {
	at := strconv.FormatUint(index, 10)
	s.gate.close(&failure{
		reason: ReasonDiverged,
		msg:    "this node's registry differs from the majority's at log entry " + at + " and is not served; ask another node",
		meta:   map[string]string{MetaIndex: at},
	})
	s.watches.endServices(s.gate.closed())
	s.readiness.publish()
}
