package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// Access is who may do what, in one cut. It never changes.
type Access struct{ v *view }

// Access returns the newest one. It does not allocate.
func (f *FSM) Access() Access { return Access{f.view.Load()} }

// AccessChanged is closed at the next change of who may do what. Who calls it before Access misses nothing.
func (f *FSM) AccessChanged() <-chan struct{} { return *f.accessChanged.Load() }

// ReadsOpen says that everybody may read everything: access is not enforced, or anonymous callers may. It is one atomic
// load.
func (f *FSM) ReadsOpen() bool { return f.readsOpen.Load() }

// Enforced says whether access is enforced.
func (a Access) Enforced() bool { return a.rights().enforced() }

// Generation is another one after each change of who may do what. It is not the same on all nodes, nor after a restart.
func (a Access) Generation() int64 { return a.v.access.generation }

// Revision is that of the cut.
func (a Access) Revision() int64 { return a.v.revision }

// Token returns the token with an id, and its name; nil if there is none. It may have expired.
func (a Access) Token(id string) (name string, t *logv1.Token) {
	if name = a.v.tokenNamed(id); name == "" {
		return "", nil
	}
	return name, a.v.token(name)
}

// Tokens returns how many tokens there are, those that have expired and are still kept included.
func (a Access) Tokens() int { return a.v.tables.find(tokenKind).records.Len() }

// Permissions returns what an identity may do: what it was granted, and what anonymous callers may do; nothing, if it is
// denied. While access is not enforced nobody asks for them.
func (a Access) Permissions(identity string) access.Permissions {
	return a.rights().permissions(identity)
}

// Anonymous returns what callers may do that prove no identity.
func (a Access) Anonymous() access.Permissions { return a.Permissions(limits.AnonymousIdentity) }

// Denied says that an identity may do nothing, whatever it was granted.
func (a Access) Denied(identity string) bool { return a.v.grants(identity).GetDenied() }

// Ground is why an identity may do something.
type Ground struct {
	Role, Pattern string
	Anonymous     bool // everybody may
}

// Ground returns a grant that allows an identity a verb over all that a pattern covers; its own ones come before what
// everybody may. ok is false if there is none: then Covers of its Permissions is false, too.
func (a Access) Ground(identity string, verb access.Verbs, over string) (g Ground, ok bool) {
	if a.Denied(identity) {
		return Ground{}, false
	}
	a.rights().each(identity, func(role, pattern string, anonymous bool, verbs access.Verbs) bool {
		if ok = access.New(access.Grant{Verbs: verbs, Pattern: pattern}).Covers(verb, over); ok {
			g = Ground{role, pattern, anonymous}
		}
		return !ok
	})
	return g, ok
}

func (a Access) rights() rights { return rights{s: &a.v.state, time: a.v.logTime} }

// GetAuth returns whether access is enforced; never nil.
func (f *FSM) GetAuth() (a *rollcallv1.Auth, revision int64) {
	v := f.view.Load()
	return convert.Auth(v.auth()), v.revision
}

// GetGrants returns what one identity was granted; nil if that is nothing.
func (f *FSM) GetGrants(identity string) (g *rollcallv1.IdentityGrants, revision int64) {
	v := f.view.Load()
	return convert.IdentityGrants(identity, v.grants(identity)), v.revision
}

// ListRoles returns all roles of one cut: the built-in ones, then others by name.
func (f *FSM) ListRoles() (list []*rollcallv1.AccessRole, revision int64) {
	v := f.view.Load()
	list = convert.BuiltInRoles()
	v.tables.find(roleKind).records.Scan(func(name string, value Value) bool {
		list = append(list, convert.Role(name, value.(*logv1.Role)))
		return true
	})
	return list, v.revision
}

// ShownGrants is GetGrants for a caller. filtered: it may not know whether the identity was granted something.
func (f *FSM) ShownGrants(caller, identity string) (g *rollcallv1.IdentityGrants, filtered bool, revision int64) {
	v := f.view.Load()
	if shown := v.shownTo(caller); shown != nil && !shown(identity) {
		return nil, true, v.revision
	}
	return convert.IdentityGrants(identity, v.grants(identity)), false, v.revision
}

// ListTokens returns, of one cut and by name, at most limit tokens that stand after the name after, with what they were
// granted; more if others follow. They are those that a caller is shown ("": all). filtered: it is not shown all.
func (f *FSM) ListTokens(caller, after string, limit int) (list []*rollcallv1.Token, more, filtered bool, revision int64) {
	v := f.view.Load()
	shown := v.shownTo(caller)
	keep := shown
	if keep != nil {
		keep = func(name string) bool { return shown(limits.TokenIdentity + name) }
	}
	more = v.page(tokenKind, after, limit, keep, func(name string, value Value) {
		list = append(list, convert.Token(name, value.(*logv1.Token), v.grants(limits.TokenIdentity+name)))
	})
	return list, more, keep != nil, v.revision
}

// ListGrants returns, of one cut and by identity, at most limit grants that stand after the identity after; more if
// others follow. They are those that a caller is shown ("": all). filtered: it is not shown all.
func (f *FSM) ListGrants(caller, after string, limit int) (list []*rollcallv1.IdentityGrants, more, filtered bool, revision int64) {
	v := f.view.Load()
	keep := v.shownTo(caller)
	more = v.page(grantsKind, after, limit, keep, func(identity string, value Value) {
		list = append(list, convert.IdentityGrants(identity, value.(*logv1.Grants)))
	})
	return list, more, keep != nil, v.revision
}

// shownTo says of which identities a caller is shown what they were granted; nil: of all. Who administers access over
// some services is shown the identities that were granted something over these and nothing over others. Those that are
// denied, or were granted nothing, are nobody's but his who administers access over everything.
func (v *view) shownTo(caller string) func(identity string) bool {
	r := Access{v}.rights()
	if caller == "" || !r.enforced() {
		return nil
	}
	may := r.permissions(caller)
	if may.Whole(access.Auth) {
		return nil
	}
	return func(identity string) bool {
		g := v.grants(identity)
		if g.GetDenied() || len(g.GetGrants()) == 0 {
			return false
		}
		for _, grant := range g.GetGrants() {
			for _, p := range grant.GetPatterns() {
				if !may.Covers(access.Auth, p) {
					return false
				}
			}
		}
		return true
	}
}

// page visits at most limit records of a kind that keep says to keep (nil: all) and whose keys stand after the key after,
// and says whether others follow.
func (v *view) page(kind *Kind, after string, limit int, keep func(key string) bool, visit func(key string, value Value)) (more bool) {
	n := 0
	v.tables.find(kind).records.Ascend(after, func(key string, value Value) bool {
		if key == after || keep != nil && !keep(key) {
			return true
		}
		if more = n == limit; more {
			return false
		}
		n++
		visit(key, value)
		return true
	})
	return more
}

// readsOpen says whether everybody may read everything.
func (s *state) readsOpen() bool {
	r := rights{s: s}
	return !r.enforced() || r.permissions(limits.AnonymousIdentity).Whole(access.Read)
}

// publishAccess tells that who may do what is another than in the view before.
func (f *FSM) publishAccess() {
	next := make(chan struct{})
	if before := f.accessChanged.Swap(&next); before != nil {
		close(*before)
	}
}
