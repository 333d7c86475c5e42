package client_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// leases are those of a fakeCluster, which expire by time. They are guarded by fakeCluster.mu.
type leases struct {
	granted    int
	live       map[string]*fakeLease
	attached   map[string]string // service → lease
	leaderless bool              // renewals wait, and nothing expires
	guard      *rollcallv1.LeaseGuard
}

type fakeLease struct {
	*rollcallv1.Lease
	expiry  *time.Timer
	renewed []time.Time
}

// stop ends the timers.
func (l *leases) stop(f *fakeCluster) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, lease := range l.live {
		lease.expiry.Stop()
	}
	l.leaderless = true
}

// grant makes a lease.
func (f *fakeCluster) grant(id string, ttl time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addLease(&rollcallv1.Lease{LeaseId: id, Ttl: durationpb.New(ttl), OnExpiry: notServing})
}

// addLease makes a lease, f.mu is held.
func (f *fakeCluster) addLease(l *rollcallv1.Lease) {
	if f.leases.live == nil {
		f.leases.live, f.leases.attached = map[string]*fakeLease{}, map[string]string{}
	}
	lease := &fakeLease{Lease: l}
	lease.expiry = time.AfterFunc(l.GetTtl().AsDuration(), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.leases.live[l.GetLeaseId()] == lease && !f.leases.leaderless {
			f.endLease(l.GetLeaseId(), l.GetOnExpiry(), "lease expired")
		}
	})
	f.leases.live[l.GetLeaseId()] = lease
}

// expire ends a lease now, as its reporter's silence would.
func (f *fakeCluster) expire(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endLease(id, f.leases.live[id].GetOnExpiry(), "lease expired")
}

// elect ends or begins an interregnum. A new leader gives each lease a whole TTL.
func (f *fakeCluster) elect(leaderless bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases.leaderless = leaderless
	for _, l := range f.leases.live {
		l.expiry.Reset(l.GetTtl().AsDuration())
	}
}

// endLease changes what is attached, and returns how much that is; f.mu is held.
func (f *fakeCluster) endLease(id string, s client.Status, reason string) int64 {
	f.leases.live[id].expiry.Stop()
	delete(f.leases.live, id)
	var changed []event
	for service, held := range f.leases.attached {
		if held == id {
			delete(f.leases.attached, service)
			changed = append(changed, event{service, s, reason})
		}
	}
	f.append(changed...)
	return int64(len(changed))
}

// attach has a change of a service made under a lease, "" for none; f.mu is held.
func (f *fakeCluster) attach(id string, dry bool, service string, s client.Status) error {
	held := f.leases.attached[service]
	lease := f.leases.live[id]
	switch {
	case id == "" && f.leases.live[held] != nil:
		return refusal(codes.FailedPrecondition, "LEASE_HELD", map[string]string{"service": service, "lease": held, "written": "no"})
	case id == "" || dry:
		return nil
	case lease == nil:
		return refusal(codes.NotFound, "NOT_FOUND", map[string]string{"lease": id, "written": "no"})
	}
	if f.leases.attached[service] = id; s == missing {
		delete(f.leases.attached, service)
	}
	lease.expiry.Reset(lease.GetTtl().AsDuration())
	return nil
}

func (n *fakeNode) GrantLease(ctx context.Context, req *rollcallv1.GrantLeaseRequest) (*rollcallv1.GrantLeaseResponse, error) {
	resp := &rollcallv1.GrantLeaseResponse{Ttl: req.GetTtl(), ClusterId: n.clusterID()}
	revision, err := n.changeLayer(ctx, "GrantLease", req, func() error { return nil }, func() int64 {
		n.cluster.leases.granted++
		onExpiry := notServing
		if req.OnExpiry != nil {
			onExpiry = req.GetOnExpiry()
		}
		resp.LeaseId = fmt.Sprintf("%016x", n.cluster.leases.granted)
		n.cluster.addLease(&rollcallv1.Lease{LeaseId: resp.LeaseId, Ttl: req.GetTtl(), OnExpiry: onExpiry, ForgetAfter: req.GetForgetAfter(), Reason: req.GetReason()})
		return n.cluster.append(event{status: missing})
	})
	if err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if resp.LeaseId == "" && !req.GetValidateOnly() { // a repeated request is answered as the first
		resp.LeaseId = fmt.Sprintf("%016x", n.cluster.leases.granted)
	}
	resp.Revision = revision
	return resp, nil
}

func (n *fakeNode) RevokeLease(ctx context.Context, req *rollcallv1.RevokeLeaseRequest) (*rollcallv1.RevokeLeaseResponse, error) {
	resp := &rollcallv1.RevokeLeaseResponse{ClusterId: n.clusterID()}
	var err error
	resp.Revision, err = n.changeLayer(ctx, "RevokeLease", req, func() error {
		if n.cluster.leases.live[req.GetLeaseId()] == nil && !req.GetAllowMissing() {
			return refusal(codes.NotFound, "NOT_FOUND", map[string]string{"lease": req.GetLeaseId(), "written": "no"})
		}
		return nil
	}, func() int64 {
		f, id := n.cluster, req.GetLeaseId()
		switch l := f.leases.live[id]; {
		case l == nil:
		case req.GetKeepReports():
			maps.DeleteFunc(f.leases.attached, func(_, held string) bool { return held == id })
			f.endLease(id, 0, "")
		case req.Status != nil:
			resp.MatchedCount = f.endLease(id, req.GetStatus(), req.GetReason())
		default:
			resp.MatchedCount = f.endLease(id, l.GetOnExpiry(), req.GetReason())
		}
		return int64(len(f.events))
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (n *fakeNode) ReleaseLeaseGuard(ctx context.Context, req *rollcallv1.ReleaseLeaseGuardRequest) (*rollcallv1.ReleaseLeaseGuardResponse, error) {
	resp := &rollcallv1.ReleaseLeaseGuardResponse{ClusterId: n.clusterID()}
	var err error
	resp.Revision, err = n.changeLayer(ctx, "ReleaseLeaseGuard", req, func() error { return nil }, func() int64 {
		resp.Changed = n.cluster.leases.guard.GetEngaged()
		n.cluster.leases.guard = &rollcallv1.LeaseGuard{}
		resp.Guard = n.cluster.leases.guard
		return n.cluster.append(event{status: missing})
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (n *fakeNode) ListLeases(ctx context.Context, req *rollcallv1.ListLeasesRequest) (*rollcallv1.ListLeasesResponse, error) {
	if err := n.enter(ctx, "ListLeases", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	resp := &rollcallv1.ListLeasesResponse{Revision: n.applied, ClusterId: n.cluster.id, Guard: n.cluster.leases.guard}
	for _, id := range slices.Sorted(maps.Keys(n.cluster.leases.live)) {
		if id <= req.GetPageToken() || req.GetLeaseId() != "" && id != req.GetLeaseId() {
			continue
		}
		if size := int(req.GetPageSize()); size > 0 && len(resp.Leases) == size {
			resp.NextPageToken = resp.Leases[size-1].GetLeaseId()
			break
		}
		resp.Leases = append(resp.Leases, n.cluster.leases.live[id].Lease)
	}
	return resp, nil
}

// KeepAlive notes each message as a call of "renew". A node that is hung or mute does nothing else with it.
func (n *fakeNode) KeepAlive(stream rollcallv1.Admin_KeepAliveServer) error {
	ctx := stream.Context()
	if err := n.enter(ctx, "KeepAlive", nil); err != nil {
		return err
	}
	type arrived struct {
		*rollcallv1.KeepAliveRequest
		at time.Time
	}
	requests := make(chan arrived, 64)
	go func() {
		defer close(requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			n.cluster.mu.Lock()
			n.calls = append(n.calls, call{method: "renew", request: req, at: time.Now()})
			n.cluster.mu.Unlock()
			select {
			case requests <- arrived{req, time.Now()}:
			case <-ctx.Done():
				return
			}
		}
	}()
	n.cluster.mu.Lock()
	stuck := n.stuckStreams > 0
	n.stuckStreams--
	n.cluster.mu.Unlock()
	var req *arrived // to be answered
	for first := true; ; {
		n.cluster.mu.Lock()
		changed, draining, silent := n.cluster.changed, n.draining, n.hung || n.mute || stuck
		n.cluster.mu.Unlock()
		incoming := requests
		if req != nil {
			incoming = nil
		}
		switch {
		case draining:
			return refusal(codes.Unavailable, "STOPPING", nil)
		case req != nil && !silent:
			resp := n.renew(req.KeepAliveRequest)
			n.cluster.mu.Lock()
			late := n.late
			n.cluster.mu.Unlock()
			lag(ctx, max(0, late-time.Since(req.at)))
			if first {
				first, resp.ClusterId = false, n.clusterID()
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
			req = nil
			continue
		}
		select {
		case <-changed:
		case r, ok := <-incoming:
			if !ok {
				return nil
			}
			req = &r
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renew answers one message.
func (n *fakeNode) renew(req *rollcallv1.KeepAliveRequest) *rollcallv1.KeepAliveResponse {
	f := n.cluster
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &rollcallv1.KeepAliveResponse{}
	shortest := client.Forever
	for _, id := range req.GetLeaseIds() {
		switch l := f.leases.live[id]; {
		case f.leases.leaderless:
			resp.WaitingLeaseIds = append(resp.WaitingLeaseIds, id)
		case l == nil || n.stray != "": // another cluster knows none of them
			resp.LostLeaseIds = append(resp.LostLeaseIds, id)
		default:
			resp.RenewedLeaseIds = append(resp.RenewedLeaseIds, id)
			l.expiry.Reset(l.GetTtl().AsDuration())
			l.renewed = append(l.renewed, time.Now())
			shortest = min(shortest, l.GetTtl().AsDuration())
		}
	}
	if len(resp.RenewedLeaseIds) > 0 {
		resp.RenewAfter = durationpb.New(shortest / 3)
	}
	return resp
}
