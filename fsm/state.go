package fsm

import (
	"errors"
	"fmt"
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
	hash      multiset // of services, members and the horizon; see digest
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

// maxSharedCauses bounds what loading remembers to let records share a cause again.
const maxSharedCauses = 1 << 16

// loadState reads what the journal holds durably. It refuses content the fold could not have
// written: a node must not serve a damaged registry.
func loadState(j Loader) (*state, *logv1.JournalMeta, error) {
	s := newState()
	causes := make(map[cause]*cause)
	var requests []*logv1.RequestRecord
	last := int64(0)
	meta, err := j.Load(logv1.Visitor{
		Service: func(p *logv1.ServiceRecord) error {
			r, err := loadRecord(p)
			if err != nil {
				return err
			}
			last = max(last, r.revision)
			if shared, ok := causes[*r.cause]; ok {
				r.cause = shared
			} else {
				if len(causes) == maxSharedCauses {
					clear(causes)
				}
				causes[*r.cause] = r.cause
			}
			s.services.Load(r)
			s.hash.service(nil, r)
			return nil
		},
		Member: func(m *logv1.Member) error {
			if m.GetName() == "" {
				return errors.New("a member has no name")
			}
			s.members[m.GetName()] = m
			s.hash.member(nil, m)
			return nil
		},
		Request: func(r *logv1.RequestRecord) error {
			requests = append(requests, r)
			return nil
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("load journal: %w", err)
	}
	if last > meta.GetRevision() {
		return nil, nil, fmt.Errorf("load journal: a service is at revision %d, the journal only at %d",
			last, meta.GetRevision())
	}
	s.clusterID = meta.GetClusterId()
	s.revision = meta.GetRevision()
	s.logTime = meta.GetLogTime()
	if meta.GetHorizon() > s.revision+1 {
		return nil, nil, fmt.Errorf("load journal: its horizon is %d, its revision only %d", meta.GetHorizon(), s.revision)
	}
	s.setHorizon(max(meta.GetHorizon(), firstHorizon))
	if s.requests, err = loadRequests(s, requests, meta.GetIndex()); err == nil {
		err = s.verify(meta)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load journal: %w", err)
	}
	return s, meta, nil
}

func loadRecord(p *logv1.ServiceRecord) (*record, error) {
	// No more than this is asked of the name: it passed the rules of its time.
	if isOwn(p.GetService()) {
		return nil, fmt.Errorf("%q cannot be the name of a service", p.GetService())
	}
	report := p.GetReport()
	if report == nil || report.GetRevision() < 1 || !isReport(report.GetStatus()) {
		return nil, fmt.Errorf("service %q: report is missing or damaged: status %d, revision %d",
			p.GetService(), report.GetStatus(), report.GetRevision())
	}
	return &record{
		name:       p.GetService(),
		revision:   report.GetRevision(),
		statusTime: p.GetStatusTime(),
		status:     servingStatus(report.GetStatus()),
		cause: &cause{
			reason:    report.GetReason(),
			requestID: report.GetRequestId(),
			leaseID:   report.GetLeaseId(),
			actor:     internActor(report.GetActor()),
			time:      report.GetTime(),
		},
	}, nil
}

// isReport says whether st can be reported; SERVICE_UNKNOWN is how a change deletes.
func isReport(st logv1.Status) bool {
	switch st {
	case logv1.Status_STATUS_UNKNOWN, logv1.Status_STATUS_SERVING, logv1.Status_STATUS_NOT_SERVING:
		return true
	}
	return false
}
