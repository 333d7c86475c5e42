package fsm

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/leases"
	"github.com/rollcallhq/rollcall/fsm/statusmap"
)

// maxSharedOrigins bounds how many origins loading remembers so that records can share them again.
const maxSharedOrigins = 1 << 16

// serviceLoader collects services. The records of a part share one block of memory, and so do their names.
// That takes less memory and less garbage collection. The block is freed only when all its records were
// replaced, so the memory that is kept for replaced records is never more than that of the registry at the
// start.
type serviceLoader struct {
	to *loading

	mu      sync.Mutex // guards what follows while part is called
	parts   [][]record // by their numbers
	hash    multiset
	last    int64              // the newest revision
	leased  [][]attachedReport // of the parts
	origins map[string]*origin // by their encoding
}

func newServiceLoader(to *loading) *serviceLoader {
	return &serviceLoader{to: to, origins: map[string]*origin{}}
}

func (l *serviceLoader) part(number int, services []logv1.KeyValue) error {
	var (
		records   = make([]record, len(services))
		names     strings.Builder
		size      int
		hash      multiset
		last      int64
		p, before logv1.ServiceBytes
		ok        bool
		canonical []byte
		leased    []attachedReport
	)
	for i := range services {
		size += len(services[i].Key)
	}
	names.Grow(size)
	for i := range services {
		names.Write(services[i].Key)
	}
	all, at := names.String(), 0
	for i := range services {
		s, r := &services[i], &records[i]
		r.name, at = all[at:at+len(s.Key)], at+len(s.Key)
		if p, ok = logv1.ParseService(s.Value); !ok || len(p.Service) > 0 {
			if err := new(logv1.ServiceRecord).UnmarshalVT(s.Value); err != nil {
				return fmt.Errorf("service %q: it cannot be read: %w", r.name, err)
			}
			return fmt.Errorf("service %q: its record is damaged", r.name)
		}
		r.revision, r.statusTime, r.status = p.Revision, p.StatusTime, servingStatus(p.Status)
		if err := checkLoaded(r, p.Reported); err != nil {
			return err
		}
		if i > 0 && p.SameOrigin(&before) {
			r.origin = records[i-1].origin
		} else if err := l.explain(r, &p); err != nil {
			return err
		}
		if one, ok := leases.Make(r.origin.leaseID, r.revision, r); ok {
			if leased == nil {
				leased = make([]attachedReport, 0, len(services)-i)
			}
			leased = append(leased, one)
		}
		before = p
		last = max(last, r.revision)
		canonical = append(appendHead(canonical[:0], logv1.Kind_KIND_SERVICE, r.name), s.Value...)
		hash.add(canonical)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for number >= len(l.parts) {
		l.parts = append(l.parts, nil)
	}
	l.parts[number] = records
	l.last = max(l.last, last)
	l.leased = append(l.leased, leased)
	l.hash.sum(hash)
	return nil
}

// explain sets the origin of r from p. Records with the same origin share it.
func (l *serviceLoader) explain(r *record, p *logv1.ServiceBytes) error {
	var room [512]byte
	key := append(append(room[:0], p.Origin[0]...), p.Origin[1]...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if shared, ok := l.origins[string(key)]; ok {
		r.origin = shared
		return nil
	}
	report, err := p.Report()
	if err != nil {
		return fmt.Errorf("service %q: its report cannot be read: %w", r.name, err)
	}
	r.origin = loadOrigin(report)
	if len(l.origins) == maxSharedOrigins {
		clear(l.origins)
	}
	l.origins[string(key)] = r.origin
	return nil
}

// finish makes the tree of the state, and the map, on all cores.
func (l *serviceLoader) finish(meta *logv1.RegistryMeta) error {
	if l.last > meta.GetRevision() {
		return fmt.Errorf("a service is at revision %d, the registry only at %d", l.last, meta.GetRevision())
	}
	s := l.to.s
	f := statusmap.NewFilling(l.parts, func(r *record) (string, servingStatus) { return r.name, r.status })
	var filling sync.WaitGroup
	filling.Go(func() { s.attached = leases.Fill(slices.Concat(l.leased...)) })
	for range runtime.GOMAXPROCS(0) - 1 {
		filling.Go(f.Work)
	}
	for _, records := range l.parts {
		for i := range records {
			s.services.Load(&records[i])
		}
	}
	f.Work()
	filling.Wait()
	l.to.index = f.Finish()
	s.hash.sum(l.hash)
	if int64(s.services.Len()) != l.to.index.Services() {
		return errors.New("a service is in it twice")
	}
	return nil
}

func loadOrigin(report *logv1.Report) *origin {
	return &origin{
		reason:    report.GetReason(),
		requestID: report.GetRequestId(),
		leaseID:   report.GetLeaseId(),
		actor:     internActor(report.GetActor()),
		time:      report.GetTime(),
	}
}

// checkLoaded refuses a record that the fold could not have made.
func checkLoaded(r *record, reported bool) error {
	// The name is not checked by today's rules: it followed the rules of the version that wrote it.
	if rollcallv1.IsOwn(r.name) {
		return fmt.Errorf("%q cannot be the name of a service", r.name)
	}
	if !reported || r.revision < 1 || !isReport(logv1.Status(r.status)) {
		return fmt.Errorf("service %q: report is missing or damaged: status %d, revision %d",
			r.name, r.status, r.revision)
	}
	return nil
}
