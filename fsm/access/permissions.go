package access

import (
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Grant allows verbs over what a pattern covers.
type Grant struct {
	Verbs   Verbs
	Pattern string
}

// Permissions are what one identity may do. The zero value allows nothing. They never change once they are made.
type Permissions struct{ grants []Grant }

// New returns the permissions that grants come to.
func New(grants ...Grant) Permissions { return Permissions{slices.Clone(grants)} }

// Everything allows everything.
func Everything() Permissions { return New(Grant{All, pattern.Switch}) }

// And returns what p or q allows.
func (p Permissions) And(q Permissions) Permissions {
	return Permissions{slices.Concat(p.grants, q.grants)}
}

// Allows says whether a verb is allowed over a service. Who may read anything may read the nodes' own names.
func (p Permissions) Allows(verb Verbs, service string) bool {
	for _, g := range p.grants {
		if g.Verbs&verb == verb && (pattern.Covers(g.Pattern, service) || verb == Read && rollcallv1.IsOwn(service)) {
			return true
		}
	}
	return false
}

// Covers says whether each of verbs is allowed over all that a pattern covers.
func (p Permissions) Covers(verbs Verbs, inner string) bool {
	for rest := verbs; rest != 0; rest &= rest - 1 {
		verb := rest & -rest
		if !slices.ContainsFunc(p.grants, func(g Grant) bool { return g.Verbs&verb != 0 && pattern.Contains(g.Pattern, inner) }) {
			return false
		}
	}
	return true
}

// Whole says whether each of verbs is allowed over everything.
func (p Permissions) Whole(verbs Verbs) bool { return p.Covers(verbs, pattern.All) }

// Some says whether a verb is allowed over anything.
func (p Permissions) Some(verb Verbs) bool {
	return slices.ContainsFunc(p.grants, func(g Grant) bool { return g.Verbs&verb != 0 })
}

// Contains says whether p allows all that q allows.
func (p Permissions) Contains(q Permissions) bool {
	return !slices.ContainsFunc(q.grants, func(g Grant) bool { return !p.Covers(g.Verbs, g.Pattern) })
}
