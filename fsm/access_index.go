package fsm

import (
	"cmp"
	"sync"

	"github.com/tidwall/btree"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// accessIndex follows from the records about access: it is neither stored nor hashed. A change costs what one record
// costs, however many there are.
type accessIndex struct {
	auth  *logv1.Auth                   // nil: it was never set
	names *btree.Map[string, string]    // of tokens, by id
	ends  *btree.BTreeG[tokenEnd]       // of the tokens that end by themselves, the first one first
	cache map[string]access.Permissions // by identity; raft's goroutine alone uses it; nil in a view
	// cached is how many grants the permissions in cache are made of.
	cached int
	shared *sharedPermissions // what any goroutine uses in place of cache; nil but in a view
	// generation is another one after each change of any record about access. It differs from node to node.
	generation int64
	since      int64 // the revision of the last change, or a later one
	changed    bool  // since the newest view
}

// tokenEnd is when a token expires.
type tokenEnd struct {
	time int64 // log time
	name string
}

func newAccessIndex() accessIndex {
	return accessIndex{
		names: new(btree.Map[string, string]),
		ends: btree.NewBTreeGOptions(
			func(a, b tokenEnd) bool { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.name, b.name)) < 0 },
			btree.Options{NoLocks: true},
		),
		cache: map[string]access.Permissions{},
	}
}

// snapshot returns the index for a view, which nobody writes to. before is that of the newest view; nil: there is none.
func (x *accessIndex) snapshot(before *accessIndex) accessIndex {
	v := *x
	v.cache = nil
	if before != nil && !x.changed {
		v.names, v.ends, v.shared = before.names, before.ends, before.shared
		return v
	}
	v.shared = &sharedPermissions{known: map[string]access.Permissions{}}
	x.changed = false
	v.names, v.ends, v.changed = x.names.Copy(), x.ends.Copy(), false
	return v
}

// accessApplied is Kind.applied of the kinds about access.
func accessApplied(s *state, _ string, _, _ Value) {
	s.access.generation++
	s.access.since = s.revision
	s.access.changed = true
	clear(s.access.cache)
	s.access.cached = 0
}

// authApplied is Kind.applied of the access setting.
func authApplied(s *state, key string, before, after Value) {
	accessApplied(s, key, before, after)
	s.access.auth, _ = after.(*logv1.Auth)
}

// tokenApplied is Kind.applied of tokens.
func tokenApplied(s *state, key string, before, after Value) {
	accessApplied(s, key, before, after)
	if t, _ := before.(*logv1.Token); t != nil {
		s.access.names.Delete(TokenID(t.GetSecretSha256()))
		s.access.ends.Delete(tokenEnd{t.GetExpireTime(), key})
	}
	if t, _ := after.(*logv1.Token); t != nil {
		s.access.names.Set(TokenID(t.GetSecretSha256()), key)
		if t.GetExpireTime() != 0 {
			s.access.ends.Set(tokenEnd{t.GetExpireTime(), key})
		}
	}
}

// tokenNamed returns the name of the token with an id; "" if there is none.
func (s *state) tokenNamed(id string) string {
	name, _ := s.access.names.Get(id)
	return name
}

// maxCached limits the memory that the cache takes: about 100 bytes for each of so many grants and identities.
const maxCached = 200_000

// sharedPermissions are permissions as of one generation.
type sharedPermissions struct {
	mu     sync.RWMutex // guards what follows
	known  map[string]access.Permissions
	cached int // see accessIndex
}

// recall returns the permissions of an identity if they are kept.
func (x *accessIndex) recall(identity string) (p access.Permissions, ok bool) {
	if shared := x.shared; shared != nil {
		shared.mu.RLock()
		defer shared.mu.RUnlock()
		p, ok = shared.known[identity]
		return p, ok
	}
	p, ok = x.cache[identity]
	return p, ok
}

// remember keeps the permissions of an identity until who may do what changes.
func (x *accessIndex) remember(identity string, p access.Permissions) {
	if shared := x.shared; shared != nil {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.cached += 1 + p.Len(); shared.cached > maxCached {
			clear(shared.known)
			shared.cached = 1 + p.Len()
		}
		shared.known[identity] = p
		return
	}
	if x.cache == nil {
		return
	}
	if x.cached += 1 + p.Len(); x.cached > maxCached {
		clear(x.cache)
		x.cached = 1 + p.Len()
	}
	x.cache[identity] = p
}

// accessDiffers compares the index with the records.
func (v *view) accessDiffers(step func() error) (differs bool, err error) {
	tokens, ends := 0, 0
	v.tables.find(tokenKind).records.Scan(func(name string, value Value) bool {
		t := value.(*logv1.Token)
		tokens++
		if v.tokenNamed(TokenID(t.GetSecretSha256())) != name {
			differs = true
		}
		if t.GetExpireTime() != 0 {
			ends++
			if _, ok := v.access.ends.Get(tokenEnd{t.GetExpireTime(), name}); !ok {
				differs = true
			}
		}
		err = step()
		return err == nil && !differs
	})
	return differs || err == nil && (tokens != v.access.names.Len() || ends != v.access.ends.Len()), err
}
