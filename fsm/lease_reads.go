package fsm

import (
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/leases"
)

// Lease returns a lease of the newest cut, also one that has ended, as long as its reports are attached to it; nil if
// there is none of the id. It allocates nothing, and must not be modified.
func (f *FSM) Lease(id string) *logv1.Lease { return f.view.Load().lease(id) }

// LeaseReports returns how many reports are attached to a lease in the newest cut.
func (f *FSM) LeaseReports(id string) int { return f.view.Load().attached.Count(id) }

// GetLease is Lease in the form of the API, with how many reports are attached to it, and the revision of the cut. It
// returns nil if the filter does not show the lease; a nil filter shows all.
func (f *FSM) GetLease(id string, filter *logv1.LeaseFilter) (*rollcallv1.Lease, int64) {
	v := f.view.Load()
	return v.countedLease(id, v.lease(id), filter), v.revision
}

// countedLease returns nil for nil, and for a lease that the filter does not show.
func (v *view) countedLease(id string, l *logv1.Lease, filter *logv1.LeaseFilter) *rollcallv1.Lease {
	if l == nil {
		return nil
	}
	count := v.attached.Count(id)
	if filter != nil {
		count = 0
		v.attached.Ascend(id, func(r attachedReport) bool {
			if filter.Service(r.Value.name) {
				count++
			}
			return true
		})
		if count == 0 && !filter.Lease(l) {
			return nil
		}
	}
	p := convert.Lease(id, l)
	p.ServiceCount = int64(count)
	return p
}

// ListLeases returns at most limit (at least 1) of the leases, by id and of one cut, whose ids come after the id
// after; whether there are more; and the revision of the cut. all: those too that have ended and whose reports wait
// to be forgotten. A nil filter shows all.
func (f *FSM) ListLeases(after string, limit int, all bool, filter *logv1.LeaseFilter) (list []*rollcallv1.Lease, more bool, revision int64) {
	v := f.view.Load()
	limit = max(limit, 1)
	v.tables.find(leaseKind).records.Ascend(after, func(id string, r Value) bool {
		l := r.(*logv1.Lease)
		if id == after || !all && l.GetEnd().GetDone() {
			return true
		}
		if p := v.countedLease(id, l, filter); p != nil {
			if more = len(list) == limit; !more {
				list = append(list, p)
			}
		}
		return !more
	})
	return list, more, v.revision
}

// ScanLeases calls visit with all leases of one cut, by id, until it returns false: those too that have ended. It
// returns the revision of the cut.
func (f *FSM) ScanLeases(visit func(id string, l *logv1.Lease) bool) (revision int64) {
	return f.ListRecords(logv1.Kind_KIND_LEASE, "", func(id string, r Value) bool { return visit(id, r.(*logv1.Lease)) })
}

// LeaseGuard is the lease guard of the newest cut; nil: it was never engaged.
func (f *FSM) LeaseGuard() *logv1.LeaseGuard { return f.view.Load().leaseGuard() }

// tellLeases calls Config.OnLease with the leases that a batch changed.
func (f *FSM) tellLeases(b *batch) {
	if f.cfg.OnLease == nil {
		return
	}
	for i := range b.records {
		if r := &b.records[i]; r.Kind == logv1.Kind_KIND_LEASE {
			l, _ := r.Value.(*logv1.Lease)
			f.cfg.OnLease(r.Key, l)
		}
	}
}

// buildAttached returns what the services say is attached to leases. It calls step before each service, and ends
// with its error.
func (s *state) buildAttached(step func() error) (*leases.Attached[*record], error) {
	var all []attachedReport
	var err error
	s.services.Scan(func(r *record) bool {
		if err = step(); err != nil {
			return false
		}
		if one, ok := leases.Make(r.origin.leaseID, r.revision, r); ok {
			all = append(all, one)
		}
		return true
	})
	return leases.Fill(all), err
}

// attachedDiffers says whether attached is not what the services say.
func (v *view) attachedDiffers(step func() error) (bool, error) {
	anew, err := v.buildAttached(step)
	if err != nil || anew.Len() != v.attached.Len() {
		return err == nil, err
	}
	same := true
	anew.Scan(func(want attachedReport) bool {
		have, ok := v.attached.Find(want.Lease(), want.Revision)
		same = ok && have.name == want.Value.name
		return same
	})
	return !same, nil
}
