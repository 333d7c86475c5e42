package history

import (
	"context"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// This file reads the leases of the past.

// leasesAtOnce is how many leases are read between two turns of the throttle.
const leasesAtOnce = 500

// showLeases adds to services the leases that their reports were attached to, as of a revision that VisibleRevision
// returned. Services with one lease share its message.
func (r *Reader) showLeases(ctx context.Context, revision int64, services []*rollcallv1.ServiceRecord) error {
	var ids []string
	known := map[string]*rollcallv1.Lease{}
	for _, s := range services {
		id := s.GetReport().GetLeaseId()
		if _, again := known[id]; id != "" && !again {
			known[id] = nil
			ids = append(ids, id)
		}
	}
	for len(ids) > 0 {
		part := ids[:min(len(ids), leasesAtOnce)]
		ids = ids[len(part):]
		span, err := r.stored(ctx, reading{most: len(part)}, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
			for _, id := range part {
				q := logv1.EventQuery{From: 1, To: revision, Kind: logv1.Kind_KIND_LEASE, Key: id, Descending: true}
				span, err = r.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
					known[id] = leaseAfter(e)
					return false, nil
				})
				if err != nil {
					return span, 0, err
				}
			}
			return span, len(part), nil
		})
		if err := beforeHorizon(err, revision, revision, span); err != nil {
			return err
		}
	}
	for _, s := range services {
		s.Lease = known[s.GetReport().GetLeaseId()]
	}
	return nil
}

// leaseAfter returns the lease that an event left; nil if it left none.
func leaseAfter(e *logv1.Event) *rollcallv1.Lease {
	l := new(logv1.Lease)
	if e.GetDeletes() || l.UnmarshalVT(e.GetAfter()) != nil {
		return nil
	}
	return convert.Lease(e.GetKey(), l)
}
