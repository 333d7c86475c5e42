package fsm

import (
	"github.com/tidwall/btree"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/layers"
	"github.com/rollcallhq/rollcall/fsm/leases"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// state is everything that the fold replicates. Only the fold and loading write to it. A copy by value, whose
// trees nobody writes to, may be read by any goroutine.
type state struct {
	services    *btree.BTreeG[*record]
	kinds       *Kinds
	tables      tables    // the records of the other kinds, but for the request ids
	requests    *requests // used by raft's goroutine alone; nil in a view
	clusterID   string
	revision    int64
	logTime     int64
	horizon     int64  // events from here on are all kept; at least firstHorizon
	level       uint32 // the cluster's feature level; at least logv1.BaseLevel
	hashVersion uint32 // see HashVersion; another one in tests only
	attached    *leases.Attached[*record]
	leaseCounts leaseCounts
	layers      *layers.Layers // of the overrides
	book        *rules.Book    // of the rules
	access      accessIndex    // of the tokens
	members     memberIndex
	hash        multiset // of all records but the request ids; see digest
	// remembered is the hash of the request ids. It is kept apart from hash, because a view holds this hash
	// but not the table: see ScrubMemory.
	remembered multiset
	// Used by raft's goroutine alone; nil in a view.
	found   *finder
	scratch []byte // memory for what is hashed
	term    uint64 // of the entry that is folded
	// bookChanged says that book is not as in the newest view.
	bookChanged bool
	// How many services a revocation changes at once, and an Expire: fewer than limits.MaxRevokeChanges and
	// limits.MaxExpireChanges in tests only.
	mostRevoked, mostExpired int32
	// How many removed members are remembered: fewer than limits.MaxRemovedMembers in tests only.
	mostRemoved int
}

// finder finds services in the tree. It remembers the place of the last one, so that finding the same service
// again, or a neighbour, is quick.
type finder struct {
	path btree.PathHint
	key  record
}

func (f *finder) get(services *btree.BTreeG[*record], name string) *record {
	f.key.name = name
	r, _ := services.GetHint(&f.key, &f.path)
	return r
}

func newState(kinds *Kinds) *state {
	return &state{
		services: btree.NewBTreeGOptions(
			func(a, b *record) bool { return a.name < b.name },
			btree.Options{NoLocks: true},
		),
		kinds:    kinds,
		tables:   newTables(kinds),
		requests: newRequests(),
		attached: leases.New[*record](),
		access:   newAccessIndex(),
		horizon:  firstHorizon,
		level:    logv1.BaseLevel,

		hashVersion: HashVersion,
		mostRemoved: limits.MaxRemovedMembers,
		mostRevoked: limits.MaxRevokeChanges,
		mostExpired: limits.MaxExpireChanges,
		found:       &finder{},
	}
}

func (s *state) get(name string) *record {
	r, _ := s.services.Get(&record{name: name})
	return r
}

// isReport says whether st can be reported. SERVICE_UNKNOWN cannot: a change with it deletes the service.
func isReport(st logv1.Status) bool {
	switch st {
	case logv1.Status_STATUS_UNKNOWN, logv1.Status_STATUS_SERVING, logv1.Status_STATUS_NOT_SERVING:
		return true
	}
	return false
}
