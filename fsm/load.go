package fsm

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// maxSharedCauses bounds what loading remembers to let records share a cause again.
const maxSharedCauses = 1 << 16

// loadState reads what the registry file holds durably, and returns the services as a statusMap too. It
// refuses content the fold could not have written: a node must not serve a damaged registry.
//
// A node that starts answers nobody before this is done, so that all cores work on it: on the parts of
// the registry file, then on the tree and on the map, then on the request ids.
func loadState(j Loader, maxLevel uint32) (*state, *statusMap, *logv1.RegistryMeta, error) {
	s := newState()
	l := loader{causes: make(map[string]*cause)}
	var requests []*logv1.RequestRecord
	meta, err := j.Load(logv1.Visitor{
		Service:  l.service,
		Services: l.services,
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
		return nil, nil, nil, fmt.Errorf("load registry file: %w", err)
	}
	if level := logv1.LevelOf(meta.GetLevel()); level > maxLevel {
		return nil, nil, nil, fmt.Errorf("load registry file: %w", &LevelError{Needs: level, Max: maxLevel})
	}
	if l.last > meta.GetRevision() {
		return nil, nil, nil, fmt.Errorf("load registry file: a service is at revision %d, the registry file only at %d",
			l.last, meta.GetRevision())
	}
	s.clusterID = meta.GetClusterId()
	s.revision = meta.GetRevision()
	s.logTime = meta.GetLogTime()
	s.hash.sum(l.hash)
	if meta.GetHorizon() > s.revision+1 {
		return nil, nil, nil, fmt.Errorf("load registry file: its horizon is %d, its revision only %d", meta.GetHorizon(), s.revision)
	}
	s.setHorizon(max(meta.GetHorizon(), firstHorizon))
	s.setLevel(logv1.LevelOf(meta.GetLevel()))
	index, made := l.build(s, oldestOutcome(requests))
	if int64(s.services.Len()) != index.services() {
		return nil, nil, nil, errors.New("load registry file: a service is in it twice")
	}
	if s.requests, err = loadRequests(s, made, requests, meta.GetIndex()); err == nil {
		err = s.verify(meta)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("load registry file: %w", err)
	}
	return s, index, meta, nil
}

// loader collects services. A part's records, and their names, stand in memory together, which is less
// of it and less to collect; what is replaced later is freed when all of its part is. So never more is
// kept in vain than there was at the start.
type loader struct {
	mu     sync.Mutex // guards all of it while services is called
	parts  [][]record // by their numbers
	single []record   // those that come one by one
	hash   multiset
	last   int64             // the newest revision
	causes map[string]*cause // by their encoding
}

// services takes a part.
func (l *loader) services(part int, services []logv1.ServiceBytes) error {
	var (
		records = make([]record, len(services))
		names   strings.Builder
		size    int
		hash    multiset
		last    int64
	)
	for i := range services {
		size += len(services[i].Service)
	}
	names.Grow(size)
	for i := range services {
		names.Write(services[i].Service)
	}
	all, at := names.String(), 0
	for i := range services {
		p, r := &services[i], &records[i]
		r.name, at = all[at:at+len(p.Service)], at+len(p.Service)
		r.revision, r.statusTime, r.status = p.Revision, p.StatusTime, servingStatus(p.Status)
		if err := checkLoaded(r, p.Reported); err != nil {
			return err
		}
		if i > 0 && p.SameCause(&services[i-1]) {
			r.cause = records[i-1].cause
		} else if err := l.explain(r, p); err != nil {
			return err
		}
		last = max(last, r.revision)
		hash.service(nil, r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for part >= len(l.parts) {
		l.parts = append(l.parts, nil)
	}
	l.parts[part] = records
	l.last = max(l.last, last)
	l.hash.sum(hash)
	return nil
}

// explain gives r the cause that p tells, shared with other records that have it.
func (l *loader) explain(r *record, p *logv1.ServiceBytes) error {
	var room [512]byte
	key := append(append(room[:0], p.Cause[0]...), p.Cause[1]...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if shared, ok := l.causes[string(key)]; ok {
		r.cause = shared
		return nil
	}
	report, err := p.Report()
	if err != nil {
		return fmt.Errorf("service %q: its report cannot be read: %w", r.name, err)
	}
	r.cause = l.shared(key, loadCause(report))
	return nil
}

// shared returns the first cause that was given with key.
func (l *loader) shared(key []byte, c *cause) *cause {
	if first, ok := l.causes[string(key)]; ok {
		return first
	}
	if len(l.causes) == maxSharedCauses {
		clear(l.causes)
	}
	l.causes[string(key)] = c
	return c
}

// service takes a record that comes alone.
func (l *loader) service(p *logv1.ServiceRecord) error {
	r, err := loadRecord(p)
	if err != nil {
		return err
	}
	p.Report.Status, p.Report.Revision = 0, 0 // as in ServiceBytes.Cause
	key, err := p.Report.MarshalVT()
	if err != nil {
		return err
	}
	r.cause = l.shared(key, r.cause)
	l.last = max(l.last, r.revision)
	l.hash.service(nil, r)
	l.single = append(l.single, *r)
	return nil
}

// build makes the tree of s, and returns the map, and the records that reports from revision oldest on
// have made.
func (l *loader) build(s *state, oldest int64) (*statusMap, madeBy) {
	parts := append(l.parts, l.single)
	f := newFilling(parts)
	var filling sync.WaitGroup
	for range runtime.GOMAXPROCS(0) - 1 {
		filling.Go(f.work)
	}
	made := madeBy{}
	for _, records := range parts {
		for i := range records {
			r := &records[i]
			s.services.Load(r)
			if r.revision >= oldest {
				made[r.revision] = r
			}
		}
	}
	f.work()
	filling.Wait()
	return f.finish(), made
}

func loadRecord(p *logv1.ServiceRecord) (*record, error) {
	report := p.GetReport()
	r := &record{
		name:       p.GetService(),
		revision:   report.GetRevision(),
		statusTime: p.GetStatusTime(),
		status:     servingStatus(report.GetStatus()),
	}
	if err := checkLoaded(r, report != nil); err != nil {
		return nil, err
	}
	r.cause = loadCause(report)
	return r, nil
}

func loadCause(report *logv1.Report) *cause {
	return &cause{
		reason:    report.GetReason(),
		requestID: report.GetRequestId(),
		leaseID:   report.GetLeaseId(),
		actor:     internActor(report.GetActor()),
		time:      report.GetTime(),
	}
}

// checkLoaded refuses a record that the fold could not have made.
func checkLoaded(r *record, reported bool) error {
	// No more than this is asked of the name: it passed the rules of its time.
	if rollcallv1.IsOwn(r.name) {
		return fmt.Errorf("%q cannot be the name of a service", r.name)
	}
	if !reported || r.revision < 1 || !isReport(logv1.Status(r.status)) {
		return fmt.Errorf("service %q: report is missing or damaged: status %d, revision %d",
			r.name, r.status, r.revision)
	}
	return nil
}
