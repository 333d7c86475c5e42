package server

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
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

// partial says that a caller is not shown all of a list: only what begins with "shop".
func (r *fakeRights) partial(caller string) bool {
	return caller != "" && r.enforced && !r.Permissions(caller).Whole(access.Auth)
}

func (f *fakeAccess) ListTokens(caller, after string, limit int) (list []*rollcallv1.Token, more, filtered bool, revision int64) {
	now := f.view()
	filtered = now.partial(caller)
	for _, t := range slices.SortedFunc(maps.Values(now.tokens), func(a, b fakeToken) int { return strings.Compare(a.name, b.name) }) {
		switch {
		case t.name <= after, filtered && !strings.HasPrefix(t.name, "shop"):
		case len(list) == limit:
			return list, true, filtered, now.generation
		default:
			list = append(list, &rollcallv1.Token{Name: t.name})
		}
	}
	return list, false, filtered, now.generation
}

func (f *fakeAccess) ListRoles() ([]*rollcallv1.AccessRole, int64) { return nil, f.view().generation }

func (f *fakeAccess) ListGrants(caller, after string, limit int) (list []*rollcallv1.IdentityGrants, more, filtered bool, revision int64) {
	now := f.view()
	filtered = now.partial(caller)
	for _, identity := range slices.Sorted(maps.Keys(now.grants)) {
		switch {
		case identity <= after, filtered && !strings.HasPrefix(identity, "cert:shop"):
		case len(list) == limit:
			return list, true, filtered, now.generation
		default:
			list = append(list, &rollcallv1.IdentityGrants{Identity: identity})
		}
	}
	return list, false, filtered, now.generation
}

func (f *fakeAccess) ShownGrants(caller, identity string) (*rollcallv1.IdentityGrants, bool, int64) {
	if f.view().partial(caller) && !strings.HasPrefix(identity, "cert:shop") {
		return nil, true, f.view().generation
	}
	g, revision := f.GetGrants(identity)
	return g, false, revision
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

// previewAccess is what a leader makes of a command about access: a record of it, changed unless its name begins with
// "same".
func previewAccess(cmd *logv1.Command, res *logv1.Result) {
	c := cmd.GetRecord()
	record := &logv1.RecordResult{Kind: c.GetKind(), Changed: true}
	res.Revision, res.Records = 9, []*logv1.RecordResult{record}
	var value interface{ MarshalVT() ([]byte, error) }
	switch c.GetKind() {
	case logv1.Kind_KIND_TOKEN:
		var token logv1.TokenCommand
		_ = token.UnmarshalVT(c.GetPayload())
		create := token.GetCreate()
		record.Key = create.GetName()
		value = &logv1.Token{SecretSha256: create.GetSecretSha256(), Description: create.GetDescription(), ExpireTime: create.GetTtl(), Time: 5, Revision: 8}
		if create == nil {
			record.Deleted = true
		}
	case logv1.Kind_KIND_ROLE:
		var role logv1.RoleCommand
		_ = role.UnmarshalVT(c.GetPayload())
		record.Key = role.GetPut().GetName()
		value = &logv1.Role{Verbs: role.GetPut().GetVerbs(), Time: 5, Revision: 8}
		record.Deleted = role.GetDelete() != nil
	case logv1.Kind_KIND_GRANTS:
		var put logv1.PutGrants
		_ = put.UnmarshalVT(c.GetPayload())
		record.Key = put.GetIdentity()
		value = &logv1.Grants{Grants: put.GetGrants(), Denied: put.GetDenied(), Time: 5, Revision: 8}
		if len(put.GetGrants()) == 0 && !put.GetDenied() {
			record.Deleted = true
			if put.GetIdentity() == "cert:none" {
				res.Records = nil
			}
		}
	case logv1.Kind_KIND_AUTH:
		var set logv1.SetAuth
		_ = set.UnmarshalVT(c.GetPayload())
		record.Key = "auth"
		value = &logv1.Auth{Enforced: set.GetEnforced(), Anonymous: set.GetAnonymous(), Time: 5, Revision: 8}
	}
	record.Changed = !strings.HasPrefix(record.Key, "same")
	if !record.Deleted {
		record.Value, _ = value.MarshalVT()
	}
}
