package access

import (
	"math/bits"
	"slices"
)

// Verbs is a set of what can be done.
type Verbs uint32

// The verbs. Those from Cluster on are about the cluster as a whole, and are held only over "*".
const (
	Read     Verbs = 1 << iota // services, their history and events
	Report                     // what reporters say: set, delete, leases
	Override                   // overrides
	Rules                      // safety rules, and to break one
	Auth                       // tokens and grants; over "*" also roles, and whether access is enforced
	Status                     // the state of the cluster
	Cluster                    // members, compaction
	Backup                     // snapshots and exports

	// All is every verb.
	All = Read | Report | Override | Rules | Auth | Status | Cluster | Backup
)

var verbNames = [...]string{"read", "report", "override", "rules", "auth", "status", "cluster", "backup"}

// Verb returns the verb of a name.
func Verb(name string) (Verbs, bool) {
	i := slices.Index(verbNames[:], name)
	return 1 << max(i, 0), i >= 0
}

// Names returns the names of the verbs of a set.
func (v Verbs) Names() (names []string) {
	for rest := v & All; rest != 0; rest &= rest - 1 {
		names = append(names, verbNames[bits.TrailingZeros32(uint32(rest))])
	}
	return names
}

// Roles that always are and that nobody changes.
const (
	Viewer   = "viewer"
	Reporter = "reporter"
	Operator = "operator"
	Admin    = "admin"
)

// BuiltInRoles returns the names of the built-in roles, the least one first. Each allows all that those before it allow.
func BuiltInRoles() []string { return []string{Viewer, Reporter, Operator, Admin} }

// BuiltIn returns what a built-in role may do; ok is false for every other role.
func BuiltIn(role string) (verbs Verbs, ok bool) {
	switch role {
	case Viewer:
		return Read | Status, true
	case Reporter:
		return Read | Report, true
	case Operator:
		return Read | Report | Override | Rules | Status | Backup, true
	case Admin:
		return All, true
	}
	return 0, false
}
