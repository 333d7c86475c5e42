package authz

import (
	"context"
	"sync"

	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// world is Source and Callers.
type world struct {
	mu         sync.Mutex
	generation int64
	enforced   bool
	anonymous  access.Permissions
	grants     map[string]access.Permissions
	denied     map[string]bool
	revoked    map[string]bool // credentials
	changed    chan struct{}
	views      int // that were asked for
}

func newWorld() *world {
	return &world{grants: map[string]access.Permissions{}, denied: map[string]bool{}, revoked: map[string]bool{}, changed: make(chan struct{})}
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	w.generation++
	close(w.changed)
	w.changed = make(chan struct{})
}

// view is Access. The world is not changed while a test uses it.
type view struct {
	generation int64
	enforced   bool
	may        func(identity string) access.Permissions
	denied     func(identity string) bool
}

func (v view) Enforced() bool                                 { return v.enforced }
func (v view) Generation() int64                              { return v.generation }
func (v view) Permissions(identity string) access.Permissions { return v.may(identity) }
func (v view) Denied(identity string) bool                    { return v.denied(identity) }

func (w *world) Access() Access {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views++
	return view{w.generation, w.enforced, w.permissions, func(identity string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.denied[identity]
	}}
}

func (w *world) permissions(identity string) access.Permissions {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.denied[identity] {
		return access.Permissions{}
	}
	return w.anonymous.And(w.grants[identity])
}

func (w *world) AccessChanged() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *world) ReadsOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.enforced || w.anonymous.Whole(access.Read)
}

// The caller of a call is in its context.
type callerKey struct{}

func calling(ctx context.Context, c *authn.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func (w *world) Caller(ctx context.Context) (*authn.Caller, *rpcerror.Failure) {
	return w.Identify(ctx)
}

func (w *world) Identify(ctx context.Context) (*authn.Caller, *rpcerror.Failure) {
	c := ctx.Value(callerKey{}).(*authn.Caller)
	if f := w.Still(c); f != nil {
		return nil, f
	}
	return c, nil
}

func (w *world) Still(c *authn.Caller) *rpcerror.Failure {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.revoked[c.Credential] {
		return rpcerror.Unauthenticated(rpcerror.ReasonTokenRevoked, "revoked")
	}
	return nil
}

// looks is how often somebody asked who may do what.
func (w *world) looks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.views
}
