package fsm

import (
	"github.com/tidwall/btree"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// state is everything the fold replicates. Only commit and newState write to one; a copy by value
// whose trees nobody writes to may be read by anybody.
type state struct {
	services    *btree.BTreeG[*record]
	kinds       *Kinds
	tables      tables    // the records of the other kinds, but for the request ids
	requests    *requests // of raft's goroutine alone: a view has none
	clusterID   string
	revision    int64
	logTime     int64
	horizon     int64    // events from here on are all kept; at least firstHorizon
	level       uint32   // the cluster's feature level; at least logv1.BaseLevel
	hashVersion uint32   // see HashVersion; another one in tests only
	hash        multiset // of all records but the request ids; see digest
	// remembered is the hash of the request ids. It is apart from hash as a view holds the table's hash but
	// not the table: see ScrubMemory.
	remembered multiset
	// Of raft's goroutine alone: a view has none.
	found   *finder
	scratch []byte // memory for what is hashed
}

// finder finds services one after the other. It remembers where it was: to the same one again, or to a
// neighbour, it is not far.
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
		horizon:  firstHorizon,
		level:    logv1.BaseLevel,

		hashVersion: HashVersion,
		found:       &finder{},
	}
}

func (s *state) get(name string) *record {
	r, _ := s.services.Get(&record{name: name})
	return r
}

// isReport says whether st can be reported; SERVICE_UNKNOWN is how a change deletes.
func isReport(st logv1.Status) bool {
	switch st {
	case logv1.Status_STATUS_UNKNOWN, logv1.Status_STATUS_SERVING, logv1.Status_STATUS_NOT_SERVING:
		return true
	}
	return false
}
