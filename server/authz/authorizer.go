package authz

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Callers say who calls. An authn.Authenticator is one.
type Callers interface {
	Caller(ctx context.Context) (*authn.Caller, *rpcerror.Failure)
	Identify(ctx context.Context) (*authn.Caller, *rpcerror.Failure)
	Still(c *authn.Caller) *rpcerror.Failure
}

// Access is who may do what, at one moment.
type Access interface {
	// Enforced says that access is enforced.
	Enforced() bool
	// Generation is another one after each change of what the other methods return.
	Generation() int64
	// Permissions are those of an identity that was granted something, and those of anonymous callers.
	Permissions(identity string) access.Permissions
	// Denied says that an identity is denied everything. It has no permissions then.
	Denied(identity string) bool
}

// Source tells who may do what.
type Source interface {
	Access() Access
	// AccessChanged is closed at the next change.
	AccessChanged() <-chan struct{}
	// ReadsOpen says that everybody may read everything. It is one atomic load.
	ReadsOpen() bool
}

// Authorizer says what callers may read. Its methods may be called from anywhere.
type Authorizer struct {
	Callers
	source Source
	cache  atomic.Pointer[cache]
}

// New returns an Authorizer.
func New(callers Callers, source Source) *Authorizer {
	return &Authorizer{Callers: callers, source: source}
}

// Open says that everybody may read everything. It is one atomic load.
func (a *Authorizer) Open() bool { return a.source.ReadsOpen() }

// Enforced says that access is enforced.
func (a *Authorizer) Enforced() bool { return a.source.Access().Enforced() }

// Reader returns what the caller of a call may read now, or refuses a caller whose credential proves nothing.
func (a *Authorizer) Reader(ctx context.Context) (*Reader, *rpcerror.Failure) {
	caller, failure := a.Caller(ctx)
	if failure != nil {
		return nil, failure
	}
	return a.Of(caller), nil
}

// Of returns what a caller may read now.
func (a *Authorizer) Of(c *authn.Caller) *Reader {
	now := a.source.Access()
	if c.StaticAdmin || !now.Enforced() {
		return a.cached(now, c.Identity, true)
	}
	return a.cached(now, c.Identity, false)
}

// maxCached is how many readers are kept. Beyond, all are made anew: certificates can name any number of identities.
const maxCached = 2 * limits.MaxIdentities

// cache holds the readers of one generation.
type cache struct {
	generation int64
	readers    sync.Map // of readerKey to *Reader
	count      atomic.Int64
}

type readerKey struct {
	identity   string
	everything bool
}

func (a *Authorizer) cached(now Access, identity string, everything bool) *Reader {
	generation := now.Generation()
	held := a.cache.Load()
	if held == nil || held.generation != generation {
		held = &cache{generation: generation}
		a.cache.Store(held)
	}
	key := readerKey{identity, everything}
	if r, ok := held.readers.Load(key); ok {
		return r.(*Reader)
	}
	may, denied := access.Everything(), false
	if !everything {
		may, denied = now.Permissions(identity), now.Denied(identity)
	}
	r, known := held.readers.LoadOrStore(key, NewReader(identity, generation, may, denied))
	if !known && held.count.Add(1) > maxCached {
		a.cache.CompareAndSwap(held, nil)
	}
	return r.(*Reader)
}

// MetadataFiltered is a header of answers that leave out what the caller may not read.
const MetadataFiltered = "rollcall-filtered"

// Filtered says so in the headers of a call.
func Filtered(ctx context.Context) {
	// The only errors are that there is no call or that its headers are sent: nobody to tell.
	_ = grpc.SetHeader(ctx, metadata.Pairs(MetadataFiltered, "true"))
}
