package server

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/freshness"
)

// fakeAccess is Access: access is off until enforce is called.
type fakeAccess struct {
	mu      sync.Mutex
	now     fakeRights
	changed chan struct{}
	closed  atomic.Bool // not everybody may read everything
}

// fakeRights is AccessView. It never changes.
type fakeRights struct {
	generation int64
	enforced   bool
	anonymous  access.Permissions
	grants     map[string]access.Permissions
	denied     map[string]bool
	tokens     map[string]fakeToken // by id
}

type fakeToken struct {
	name string
	*logv1.Token
}

// change makes the next generation.
func (f *fakeAccess) change(do func(r *fakeRights)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.now
	next.generation++
	next.grants, next.denied, next.tokens = maps.Clone(next.grants), maps.Clone(next.denied), maps.Clone(next.tokens)
	if next.grants == nil {
		next.grants, next.denied, next.tokens = map[string]access.Permissions{}, map[string]bool{}, map[string]fakeToken{}
	}
	do(&next)
	f.now = next
	f.closed.Store(next.enforced && !next.anonymous.Whole(access.Read))
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

func (f *fakeAccess) view() *fakeRights {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now
	return &now
}

func (f *fakeAccess) Access() AccessView { return f.view() }

func (f *fakeAccess) AccessChanged() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

func (f *fakeAccess) ReadsOpen() bool { return !f.closed.Load() }

func (r *fakeRights) Enforced() bool    { return r.enforced }
func (r *fakeRights) Generation() int64 { return r.generation }

func (r *fakeRights) Token(id string) (name string, t *logv1.Token) {
	one := r.tokens[id]
	return one.name, one.Token
}

func (r *fakeRights) Permissions(identity string) access.Permissions {
	if r.denied[identity] {
		return access.Permissions{}
	}
	return r.anonymous.And(r.grants[identity])
}

func (r *fakeRights) Denied(identity string) bool { return r.denied[identity] }

func (f *fakeAccess) ListTokens(after string, limit int) (list []*rollcallv1.Token, more bool, revision int64) {
	now := f.view()
	for _, t := range slices.SortedFunc(maps.Values(now.tokens), func(a, b fakeToken) int { return strings.Compare(a.name, b.name) }) {
		switch {
		case t.name <= after:
		case len(list) == limit:
			return list, true, now.generation
		default:
			list = append(list, &rollcallv1.Token{Name: t.name})
		}
	}
	return list, false, now.generation
}

func (f *fakeAccess) ListRoles() ([]*rollcallv1.AccessRole, int64) { return nil, f.view().generation }

func (f *fakeAccess) ListGrants(after string, limit int) (list []*rollcallv1.IdentityGrants, more bool, revision int64) {
	now := f.view()
	for _, identity := range slices.Sorted(maps.Keys(now.grants)) {
		switch {
		case identity <= after:
		case len(list) == limit:
			return list, true, now.generation
		default:
			list = append(list, &rollcallv1.IdentityGrants{Identity: identity})
		}
	}
	return list, false, now.generation
}

func (f *fakeAccess) GetGrants(identity string) (*rollcallv1.IdentityGrants, int64) {
	now := f.view()
	if _, ok := now.grants[identity]; !ok {
		return nil, now.generation
	}
	return &rollcallv1.IdentityGrants{Identity: identity}, now.generation
}

func (f *fakeAccess) GetAuth() (*rollcallv1.Auth, int64) {
	now := f.view()
	return &rollcallv1.Auth{Enforced: now.enforced}, now.generation
}

// readsOf is what a server's reads have, for tests without a server. Nobody re-checks its streams.
func readsOf(r freshness.Reads, all *fakeAccess) reads {
	now := func() int64 { return time.Now().UnixNano() }
	a := authz.New(authn.New(authn.Config{Tokens: tokens{all}, Clock: now, Logger: slog.New(slog.DiscardHandler)}), rights{all})
	return reads{Reads: r, access: a, streams: authz.NewStreams(a, time.Now)}
}
