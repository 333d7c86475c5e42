package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeLeases is Leases: of one node.
type fakeLeases struct {
	mu     sync.Mutex
	leases map[string]*logv1.Lease
	guard  *logv1.LeaseGuard
	// attached are the services whose reports are attached to a lease, as GetLease counts them.
	attached map[string][]string
}

func (f *fakeLeases) put(ttl time.Duration, ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leases == nil {
		f.leases = map[string]*logv1.Lease{}
	}
	for _, id := range ids {
		f.leases[id] = &logv1.Lease{Ttl: int64(ttl), OnExpiry: logv1.Status_STATUS_NOT_SERVING, Revision: 3}
	}
}

func (f *fakeLeases) setGuard(g *logv1.LeaseGuard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guard = g
}

func (f *fakeLeases) Lease(id string) *logv1.Lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leases[id]
}

func (f *fakeLeases) GetLease(id string, filter *logv1.LeaseFilter) (*rollcallv1.Lease, int64) {
	l := f.Lease(id)
	if !shows(filter, l) {
		return nil, 9
	}
	p := convert.Lease(id, l)
	for _, service := range f.attached[id] {
		if filter == nil || filter.Service(service) {
			p.ServiceCount++
		}
	}
	return p, 9
}

func (f *fakeLeases) ListLeases(after string, limit int, all bool, filter *logv1.LeaseFilter) (list []*rollcallv1.Lease, more bool, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for id, l := range f.leases {
		if id > after && (all || !l.GetEnd().GetDone()) && shows(filter, l) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids[:min(limit, len(ids))] {
		list = append(list, convert.Lease(id, f.leases[id]))
	}
	return list, len(ids) > limit, 9
}

// shows knows of no attached reports.
func shows(filter *logv1.LeaseFilter, l *logv1.Lease) bool { return filter == nil || filter.Lease(l) }

func (f *fakeLeases) LeaseGuard() *logv1.LeaseGuard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.guard
}

// fakeLessor is Lessor: of one node. Leases whose id begins with "lost" are lost, and the end
// of those with "ends" is under way.
type fakeLessor struct {
	agreement *fakeAgreement

	mu      sync.Mutex
	renewed []string
	calls   int
	renew   func(ctx context.Context, ids []string) ([]string, error) // nil: as said above
	times   func(ids []string) ([]*peerv1.LeaseTime, error)           // nil: every lease has 7 s left
}

func (f *fakeLessor) onRenew(do func(ctx context.Context, ids []string) ([]string, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew = do
}

func (f *fakeLessor) count() (calls int, ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, slices.Clone(f.renewed)
}

var errNotLeading = notWrittenErr{errors.New("not leading")}

func (f *fakeLessor) Renew(ctx context.Context, ids []string) (lost, waiting []string, err error) {
	if _, leading := f.agreement.Leader(); !leading {
		return nil, nil, errNotLeading
	}
	f.mu.Lock()
	f.calls++
	f.renewed = append(f.renewed, ids...)
	renew := f.renew
	f.mu.Unlock()
	if renew != nil {
		lost, err = renew(ctx, ids)
		return lost, nil, err
	}
	for _, id := range ids {
		switch {
		case strings.HasPrefix(id, "lost"):
			lost = append(lost, id)
		case strings.HasPrefix(id, "ends"):
			waiting = append(waiting, id)
		}
	}
	return lost, waiting, nil
}

func (f *fakeLessor) Times(ids []string) ([]*peerv1.LeaseTime, error) {
	if _, leading := f.agreement.Leader(); !leading {
		return nil, errNotLeading
	}
	f.mu.Lock()
	times := f.times
	f.mu.Unlock()
	if times != nil {
		return times(ids)
	}
	var all []*peerv1.LeaseTime
	for _, id := range ids {
		all = append(all, &peerv1.LeaseTime{Known: !strings.HasPrefix(id, "lost"), Left: int64(7 * time.Second), Late: strings.HasPrefix(id, "late")})
	}
	return all, nil
}

// previewLease is what becomes of a command about a lease or the lease guard. r is its result, and missing says that
// there is no lease of a name.
func previewLease(cmd *logv1.Command, r *logv1.RecordResult, missing func(name string, allowed bool)) {
	c := cmd.GetRecord()
	if c.GetKind() == logv1.Kind_KIND_LEASE_GUARD {
		r.Key = "guard"
		r.Value, _ = (&logv1.LeaseGuard{Late: 41, Live: 52, Time: 5, ReleaseTime: 5, Reason: cmd.GetReason()}).MarshalVT()
		return
	}
	var lease logv1.LeaseCommand
	_ = lease.UnmarshalVT(c.GetPayload())
	if grant := lease.GetGrant(); grant != nil {
		r.Key = grant.GetLeaseId()
		r.Value, _ = (&logv1.Lease{Ttl: grant.GetTtl(), OnExpiry: grant.GetOnExpiry(), ForgetAfter: grant.GetForgetAfter()}).MarshalVT()
		return
	}
	revoke := lease.GetRevoke()
	r.MatchedCount = 3
	switch {
	case strings.HasPrefix(revoke.GetLeaseId(), "large"):
		r.Value, _ = (&logv1.Lease{End: &logv1.LeaseEnd{Time: 5, Revoked: true}}).MarshalVT()
	case strings.HasPrefix(revoke.GetLeaseId(), "kept"):
		r.Value, _ = (&logv1.Lease{End: &logv1.LeaseEnd{Time: 5, Revoked: true, Done: true}}).MarshalVT()
	default:
		r.Deleted = true
	}
	missing(revoke.GetLeaseId(), revoke.GetAllowMissing())
}
