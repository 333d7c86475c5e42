package access

import (
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Grant allows verbs over what a pattern covers.
type Grant struct {
	Verbs   Verbs
	Pattern string
}

// Permissions are what one identity may do. The zero value allows nothing. They never change once they are made.
type Permissions struct {
	grants []Grant
	index  *index // of many grants; nil: they are few
}

// index finds what is allowed over a service without a look at each of very many grants.
type index struct {
	names    map[string]Verbs // of patterns that cover one service
	prefixes map[string]Verbs // of the others: what the names begin with that they cover
}

// few grants are looked at one by one.
const few = 8

// New returns the permissions that grants come to.
func New(grants ...Grant) Permissions { return of(slices.Clone(grants)) }

func of(grants []Grant) Permissions {
	p := Permissions{grants: grants}
	if len(grants) <= few {
		return p
	}
	p.index = &index{map[string]Verbs{}, map[string]Verbs{}}
	for _, g := range grants {
		if prefix, many := pattern.Prefix(g.Pattern); many {
			p.index.prefixes[prefix] |= g.Verbs
		} else {
			p.index.names[g.Pattern] |= g.Verbs
		}
	}
	return p
}

// Everything allows everything.
func Everything() Permissions { return everything }

var everything = New(Grant{All, pattern.Switch})

// Len returns how many grants p was made of, a pattern of each.
func (p Permissions) Len() int { return len(p.grants) }

// And returns what p or q allows.
func (p Permissions) And(q Permissions) Permissions {
	return of(slices.Concat(p.grants, q.grants))
}

// Allows says whether each of verbs is allowed over a service. Who may read anything may read the nodes' own names.
func (p Permissions) Allows(verbs Verbs, service string) bool {
	if rollcallv1.IsOwn(service) {
		return verbs == Read && p.Some(Read)
	}
	return p.over(service)&verbs == verbs
}

// Covers says whether each of verbs is allowed over all that a pattern covers.
func (p Permissions) Covers(verbs Verbs, inner string) bool { return p.over(inner)&verbs == verbs }

// Lacks returns those of verbs that are not allowed over all that a pattern covers.
func (p Permissions) Lacks(verbs Verbs, inner string) Verbs { return verbs &^ p.over(inner) }

// over returns the verbs that are allowed over all that a pattern covers.
func (p Permissions) over(inner string) (have Verbs) {
	if p.index == nil {
		for _, g := range p.grants {
			if pattern.Contains(g.Pattern, inner) {
				have |= g.Verbs
			}
		}
		return have
	}
	prefix, many := pattern.Prefix(inner)
	if !many {
		have = p.index.names[prefix]
	}
	have |= p.index.prefixes[""]
	for i := range len(prefix) {
		if prefix[i] == '/' || prefix[i] == '.' {
			have |= p.index.prefixes[prefix[:i+1]]
		}
	}
	return have
}

// Whole says whether each of verbs is allowed over everything.
func (p Permissions) Whole(verbs Verbs) bool { return p.Covers(verbs, pattern.All) }

// Some says whether a verb is allowed over anything.
func (p Permissions) Some(verb Verbs) bool {
	return slices.ContainsFunc(p.grants, func(g Grant) bool { return g.Verbs&verb != 0 })
}

// UsesLease says whether the identity that has these permissions may attach reports to a lease and renew it. A lease
// belongs to the identity that granted it, its owner. Beside that one, who may report everything uses it. One that was
// granted by an anonymous caller is used by all who may report anything.
func (p Permissions) UsesLease(owner, identity string) bool {
	switch owner {
	case limits.AnonymousIdentity:
		return p.Some(Report)
	case identity:
		return true
	}
	return p.Whole(Report)
}

// Contains says whether p allows all that q allows.
func (p Permissions) Contains(q Permissions) bool {
	return !slices.ContainsFunc(q.grants, func(g Grant) bool { return !p.Covers(g.Verbs, g.Pattern) })
}
