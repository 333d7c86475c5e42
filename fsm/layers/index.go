package layers

import (
	"hash/maphash"
	"maps"
	"math/bits"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	exactShards  = 256
	prefixShards = 16
	maxPrefix    = 256 // bytes
)

// index finds the overrides that cover a name. It never changes once it is made. A change copies one shard of
// a map and the tables of shards.
type index struct {
	toggle *Override // of "**"
	all    *Override // of "*"

	exacts int
	exact  [exactShards]map[string]*Override // by name

	prefixes int
	prefix   [prefixShards]map[string]*Override // by prefix, with its '/' or '.'
	lengths  [maxPrefix/64 + 1]uint64           // bit n: there is a prefix of n bytes
	ofLength [maxPrefix + 1]uint16              // so many
}

// seed picks the shard of a name. It differs from node to node, and no result depends on it.
var seed = maphash.MakeSeed()

func exactShard(name string) uint64 { return maphash.String(seed, name) % exactShards }

// prefixShard is quick rather than even: few prefixes are looked up.
func prefixShard(prefix string) int {
	n := len(prefix)
	return (n + int(prefix[0]) + 7*int(prefix[n-2]) + 31*int(prefix[n/2])) % prefixShards
}

func (ix *index) count() int {
	n := ix.exacts + ix.prefixes
	if ix.toggle != nil {
		n++
	}
	if ix.all != nil {
		n++
	}
	return n
}

// decides returns the override that decides over name; nil if none does.
func (ix *index) decides(name string) *Override {
	if ix.toggle != nil {
		if rollcallv1.IsOwn(name) {
			return nil
		}
		return ix.toggle
	}
	if ix.exacts > 0 {
		if o := ix.exact[exactShard(name)][name]; o != nil {
			return o
		}
	}
	if ix.prefixes > 0 {
		if o := ix.longest(name, len(name)); o != nil {
			return o
		}
	}
	if ix.all != nil && !rollcallv1.IsOwn(name) {
		return ix.all
	}
	return nil
}

// longest returns the override with the longest prefix of name that has at most so many bytes; nil if there is
// none.
func (ix *index) longest(name string, most int) *Override {
	most = min(most, maxPrefix)
	for w := most / 64; w >= 0; w-- {
		word := ix.lengths[w]
		if w == most/64 {
			word &= 2<<(most%64) - 1
		}
		for word != 0 {
			n := 64*w + bits.Len64(word) - 1
			word &^= 1 << (n % 64)
			if c := name[n-1]; c != '/' && c != '.' {
				continue
			}
			if o := ix.prefix[prefixShard(name[:n])][name[:n]]; o != nil {
				return o
			}
		}
	}
	return nil
}

// each visits the overrides that cover name, the one that decides first, until visit returns false.
func (ix *index) each(name string, visit func(*Override) (more bool)) {
	if rollcallv1.IsOwn(name) || ix.toggle != nil && !visit(ix.toggle) {
		return
	}
	if ix.exacts > 0 {
		if o := ix.exact[exactShard(name)][name]; o != nil && !visit(o) {
			return
		}
	}
	if ix.prefixes > 0 {
		for o := ix.longest(name, len(name)); o != nil; o = ix.longest(name, len(o.Pattern)-2) {
			if !visit(o) {
				return
			}
		}
	}
	if ix.all != nil {
		visit(ix.all)
	}
}

// find returns the override of a pattern.
func (ix *index) find(p string) *Override {
	switch prefix, many := pattern.Prefix(p); {
	case p == pattern.Switch:
		return ix.toggle
	case p == pattern.All:
		return ix.all
	case many:
		return ix.prefix[prefixShard(prefix)][prefix]
	default:
		return ix.exact[exactShard(p)][p]
	}
}

// with returns an index with o as the override of a pattern; nil: without one.
func (ix *index) with(p string, o *Override) *index {
	next := *ix
	if shard, _ := next.shard(p); shard != nil {
		*shard = maps.Clone(*shard)
	}
	next.put(p, o)
	return &next
}

// shard returns the shard of a pattern, and the pattern's key in it; nil for the patterns of all.
func (ix *index) shard(p string) (shard *map[string]*Override, key string) {
	prefix, many := pattern.Prefix(p)
	switch {
	case p == pattern.Switch, p == pattern.All:
		return nil, ""
	case many:
		return &ix.prefix[prefixShard(prefix)], prefix
	}
	return &ix.exact[exactShard(p)], p
}

// put makes o the override of a pattern; nil: there is none. It writes to the shard.
func (ix *index) put(p string, o *Override) {
	switch p {
	case pattern.Switch:
		ix.toggle = o
		return
	case pattern.All:
		ix.all = o
		return
	}
	shard, key := ix.shard(p)
	before := len(*shard)
	switch {
	case o == nil:
		delete(*shard, key)
	case *shard == nil:
		*shard = map[string]*Override{key: o}
	default:
		(*shard)[key] = o
	}
	by := len(*shard) - before
	if _, many := pattern.Prefix(p); !many {
		ix.exacts += by
		return
	}
	n := len(key)
	ix.prefixes += by
	ix.ofLength[n] = uint16(int(ix.ofLength[n]) + by)
	if bit := uint64(1) << (n % 64); ix.ofLength[n] > 0 {
		ix.lengths[n/64] |= bit
	} else {
		ix.lengths[n/64] &^= bit
	}
}

// visit visits all overrides, in no order.
func (ix *index) visit(f func(*Override)) {
	for _, o := range [...]*Override{ix.toggle, ix.all} {
		if o != nil {
			f(o)
		}
	}
	for _, shards := range [...][]map[string]*Override{ix.exact[:], ix.prefix[:]} {
		for _, shard := range shards {
			for _, o := range shard {
				f(o)
			}
		}
	}
}
