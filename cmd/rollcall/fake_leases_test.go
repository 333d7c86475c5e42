package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeLeases are the leases of a fake; its mutex guards them. None ends by itself: see lose.
type fakeLeases struct {
	live    map[string]*rollcallv1.Lease
	granted int
	guard   *rollcallv1.LeaseGuard
	asked   []proto.Message // requests of changes, in order
	renewed int             // messages that renewed something
	waiting bool            // nothing is renewed, as without a leader
}

// leaseID is that of the n-th lease of a fake.
func leaseID(n int) string { return fmt.Sprintf("%016x", 0xa0+n) }

// refuseLease says why a change that names a lease, or none, must not change the report of a service.
func (f *fake) refuseLease(service, id string) error {
	held := f.services[service].GetReport().GetLeaseId()
	switch {
	case id != "" && f.leases.live[id] == nil:
		return refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("lease %q does not exist", id), map[string]string{"lease": id, "written": "no"})
	case id == "" && f.leases.live[held] != nil:
		return refusal(codes.FailedPrecondition, "LEASE_HELD", fmt.Sprintf("not written: lease %s holds the report of service %q", held, service),
			map[string]string{"lease": held, "service": service, "written": "no"})
	}
	return nil
}

// attach attaches a report to a lease; "": to none.
func (f *fake) attach(rec *rollcallv1.ServiceRecord, id string) {
	if l := f.leases.live[id]; l != nil {
		rec.Report.LeaseId, rec.Lease = id, l
	}
}

func (f *fake) attached(id string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(f.services)) {
		if f.services[name].GetReport().GetLeaseId() == id {
			names = append(names, name)
		}
	}
	return names
}

func (f *fake) GrantLease(_ context.Context, req *rollcallv1.GrantLeaseRequest) (*rollcallv1.GrantLeaseResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases.asked = append(f.leases.asked, req)
	if f.refuse != nil {
		return nil, f.refuse
	}
	if req.GetValidateOnly() {
		return &rollcallv1.GrantLeaseResponse{Ttl: req.GetTtl()}, nil
	}
	f.leases.granted++
	f.revision++
	l := &rollcallv1.Lease{
		LeaseId: leaseID(f.leases.granted), Ttl: req.GetTtl(), OnExpiry: notServing, ForgetAfter: req.GetForgetAfter(), Reason: req.GetReason(),
		Actor: &rollcallv1.Actor{Name: req.GetActor(), Peer: "127.0.0.1:4711"}, Time: timestamppb.New(reported), Revision: f.revision,
	}
	if req.OnExpiry != nil {
		l.OnExpiry = req.GetOnExpiry()
	}
	f.leases.live[l.GetLeaseId()] = l
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED, Time: timestamppb.New(timeOf(f.revision)),
		Actor: l.GetActor(), Reason: req.GetReason(), LeaseId: l.GetLeaseId(), Lease: l,
	})
	return &rollcallv1.GrantLeaseResponse{LeaseId: l.GetLeaseId(), Ttl: l.GetTtl(), Revision: f.revision, ClusterId: "3f9a"}, nil
}

func (f *fake) KeepAlive(stream grpc.BidiStreamingServer[rollcallv1.KeepAliveRequest, rollcallv1.KeepAliveResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := &rollcallv1.KeepAliveResponse{ClusterId: "3f9a"}
		f.mu.Lock()
		f.leases.renewed++
		for _, id := range req.GetLeaseIds() {
			if f.leases.waiting {
				resp.WaitingLeaseIds = append(resp.WaitingLeaseIds, id)
			} else if l := f.leases.live[id]; l == nil {
				resp.LostLeaseIds = append(resp.LostLeaseIds, id)
			} else {
				resp.RenewedLeaseIds = append(resp.RenewedLeaseIds, id)
				resp.RenewAfter = durationpb.New(l.GetTtl().AsDuration() / 3)
			}
		}
		f.mu.Unlock()
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// wait has nothing renewed from now on, or again.
func (f *fake) wait(waiting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases.waiting = waiting
}

// lose has a lease expire.
func (f *fake) lose(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(id, f.leases.live[id].GetOnExpiry(), rollcallv1.EventType_EVENT_TYPE_EXPIRED, "lease expired", "node n1")
}

// end ends a lease: its reports turn to s, by events of a type.
func (f *fake) end(id string, s healthpb.HealthCheckResponse_ServingStatus, t rollcallv1.EventType, reason, actor string) {
	names := f.attached(id)
	delete(f.leases.live, id)
	for _, name := range names {
		before := f.services[name].GetStatus()
		if s == none {
			f.revision++
			f.happened(name, none, reason, actor)
			delete(f.services, name)
			continue
		}
		f.put(name, s, reason, actor)
		e := f.history.events[f.revision-1]
		e.Type, e.LeaseId, e.PreviousStatus = t, id, before
	}
	f.revision++
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, Time: timestamppb.New(timeOf(f.revision)),
		Actor: &rollcallv1.Actor{Name: actor}, Reason: reason, LeaseId: id, MatchedCount: int64(len(names)), Lease: &rollcallv1.Lease{LeaseId: id},
	})
}

func (f *fake) RevokeLease(_ context.Context, req *rollcallv1.RevokeLeaseRequest) (*rollcallv1.RevokeLeaseResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases.asked = append(f.leases.asked, req)
	if f.refuse != nil {
		return nil, f.refuse
	}
	l := f.leases.live[req.GetLeaseId()]
	resp := &rollcallv1.RevokeLeaseResponse{MatchedCount: int64(len(f.attached(req.GetLeaseId()))), ClusterId: "3f9a", Revision: f.revision}
	switch {
	case l == nil && req.GetAllowMissing():
		resp.MatchedCount = 0
		return resp, nil
	case l == nil:
		return nil, refusal(codes.NotFound, "NOT_FOUND", fmt.Sprintf("lease %q does not exist", req.GetLeaseId()), map[string]string{"lease": req.GetLeaseId(), "written": "no"})
	case req.GetValidateOnly():
		return resp, nil
	}
	s := l.GetOnExpiry()
	if req.Status != nil {
		s = req.GetStatus()
	}
	if req.GetKeepReports() {
		for _, name := range f.attached(req.GetLeaseId()) {
			f.services[name].Report.LeaseId, f.services[name].Lease = "", nil
		}
	}
	f.end(req.GetLeaseId(), s, rollcallv1.EventType_EVENT_TYPE_REPORTED, req.GetReason(), req.GetActor())
	resp.Revision, resp.Ending = f.revision, resp.GetMatchedCount() > 2
	return resp, nil
}

// ListLeases says that each lease has as much time left as it has revisions.
func (f *fake) ListLeases(_ context.Context, req *rollcallv1.ListLeasesRequest) (*rollcallv1.ListLeasesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return nil, f.unread
	}
	resp := &rollcallv1.ListLeasesResponse{Revision: f.revision, ClusterId: "3f9a", Guard: f.leases.guard}
	for _, id := range slices.Sorted(maps.Keys(f.leases.live)) {
		if req.GetLeaseId() != "" && req.GetLeaseId() != id {
			continue
		}
		l := proto.CloneOf(f.leases.live[id])
		l.ServiceCount = int64(len(f.attached(id)))
		l.TimeLeft = durationpb.New(time.Duration(l.GetRevision()) * time.Second)
		resp.Leases = append(resp.Leases, l)
	}
	return resp, nil
}

func (f *fake) ReleaseLeaseGuard(_ context.Context, req *rollcallv1.ReleaseLeaseGuardRequest) (*rollcallv1.ReleaseLeaseGuardResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases.asked = append(f.leases.asked, req)
	resp := &rollcallv1.ReleaseLeaseGuardResponse{Guard: f.leases.guard, Changed: f.leases.guard.GetEngaged(), Revision: f.revision, ClusterId: "3f9a"}
	if !resp.GetChanged() || req.GetValidateOnly() {
		return resp, nil
	}
	f.revision++
	resp.Guard = proto.CloneOf(resp.GetGuard())
	resp.Guard.Engaged, resp.Guard.ReleaseTime = false, timestamppb.New(reported)
	f.leases.guard, resp.Revision = resp.GetGuard(), f.revision
	f.append(&rollcallv1.Event{
		Revision: f.revision, CommitRevision: f.revision, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD, Time: timestamppb.New(timeOf(f.revision)),
		Actor: &rollcallv1.Actor{Name: req.GetActor()}, Reason: req.GetReason(), LeaseGuard: f.leases.guard,
	})
	return resp, nil
}
