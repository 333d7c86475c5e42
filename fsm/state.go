package fsm

import (
	"maps"

	"github.com/tidwall/btree"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// state is everything the fold replicates. Only commit and newState write to one; a copy by value
// whose tree and members nobody writes to may be read by anybody.
type state struct {
	services  *btree.BTreeG[*record]
	members   map[string]*logv1.Member // replaced whole, never written to: views share it
	requests  *requests                // of raft's goroutine alone: a view has none
	clusterID string
	revision  int64
	logTime   int64
	horizon   int64    // events from here on are all kept; at least firstHorizon
	level     uint32   // the cluster's feature level; at least logv1.BaseLevel
	hash      multiset // of services, members, the horizon and the level; see digest
	// remembered is the hash of the table of request ids and its limits. It is apart from hash as a
	// view holds the table's hash but not the table: see ScrubMemory.
	remembered multiset
	// found is of raft's goroutine alone: a view has none.
	found *finder
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

func newState() *state {
	return &state{
		services: btree.NewBTreeGOptions(
			func(a, b *record) bool { return a.name < b.name },
			btree.Options{NoLocks: true},
		),
		members:  map[string]*logv1.Member{},
		requests: newRequests(),
		horizon:  firstHorizon,
		level:    logv1.BaseLevel,
		found:    &finder{},
	}
}

func (s *state) get(name string) *record {
	r, _ := s.services.Get(&record{name: name})
	return r
}

// setMember leaves maps alone that were handed out before.
func (s *state) setMember(m *logv1.Member) {
	members := make(map[string]*logv1.Member, len(s.members)+1)
	maps.Copy(members, s.members)
	s.hash.member(s.members[m.GetName()], m)
	members[m.GetName()] = m
	s.members = members
}

// isReport says whether st can be reported; SERVICE_UNKNOWN is how a change deletes.
func isReport(st logv1.Status) bool {
	switch st {
	case logv1.Status_STATUS_UNKNOWN, logv1.Status_STATUS_SERVING, logv1.Status_STATUS_NOT_SERVING:
		return true
	}
	return false
}
