package fence

import (
	"context"
	"sync/atomic"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Fence stands before everything that reads or changes the registry. It is down until it is raised, and then
// stays up until the process ends. The node's own names and GetStatus are not behind it, because they are
// about the node itself.
type Fence struct {
	refusal atomic.Pointer[rpcerror.Failure] // nil: down
	raised  context.Context                  // ends, with the refusal as its cause, when the fence is raised
	end     context.CancelCauseFunc
}

// New returns a fence that is down.
func New() *Fence {
	f := &Fence{}
	f.raised, f.end = context.WithCancelCause(context.Background())
	return f
}

// Raise refuses everything from now on with why, and ends what follows the registry. The caller ends the
// watches of services after that.
func (f *Fence) Raise(why *rpcerror.Failure) {
	if f.refusal.CompareAndSwap(nil, why) {
		f.end(why)
	}
}

// Refusal returns why the fence is up, nil if it is down. A nil fence is down.
func (f *Fence) Refusal() *rpcerror.Failure {
	if f == nil {
		return nil
	}
	return f.refusal.Load()
}

// RefusalOf is Refusal of a call about name, which may be one of the node's own.
func (f *Fence) RefusalOf(name string) *rpcerror.Failure {
	if why := f.Refusal(); why != nil && !rollcallv1.IsOwn(name) {
		return why
	}
	return nil
}

// OnRaise calls cancel with the refusal when the fence is raised. stop undoes that.
func (f *Fence) OnRaise(cancel context.CancelCauseFunc) (stop func() bool) {
	if f == nil {
		return func() bool { return false }
	}
	return context.AfterFunc(f.raised, func() { cancel(context.Cause(f.raised)) })
}
