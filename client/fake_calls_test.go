package client_test

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// tellRevision sets the header, if the call asked by metadata; as the real server does.
func tellRevision(ctx context.Context, revision int64) {
	if len(metadata.ValueFromIncomingContext(ctx, "rollcall-min-revision")) > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs("rollcall-revision", strconv.FormatInt(revision, 10)))
	}
}

// tellCluster sets the header, if the call asked by metadata; as the real server does.
func tellCluster(ctx context.Context, id string) {
	if len(metadata.ValueFromIncomingContext(ctx, "rollcall-min-revision")) > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs("rollcall-cluster", id))
	}
}

func refusal(code codes.Code, reason string, meta map[string]string) error {
	st, err := status.New(code, "fake: "+strings.ToLower(reason)).WithDetails(
		&errdetails.ErrorInfo{Domain: "rollcall", Reason: reason, Metadata: meta})
	if err != nil {
		return err
	}
	return st.Err()
}

func lag(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (n *fakeNode) status(service string) (client.Status, bool) {
	if rollcallv1.IsOwn(service) {
		s, ok := n.own[service]
		return s, ok
	}
	r := n.cluster.record(service, n.applied)
	return r.GetStatus(), r != nil
}

func (n *fakeNode) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := n.enter(ctx, "Check", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	s, ok := n.status(req.GetService())
	if !ok {
		return nil, refusal(codes.NotFound, "NOT_FOUND", nil)
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

func (n *fakeNode) Watch(req *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx := stream.Context()
	if err := n.enter(ctx, "Watch", req); err != nil {
		return err
	}
	n.cluster.mu.Lock()
	id := cmp.Or(n.stray, n.cluster.id)
	n.cluster.mu.Unlock()
	tellCluster(ctx, id)
	var sent *client.Status
	for {
		n.cluster.mu.Lock()
		s, ok := n.status(req.GetService())
		if !ok {
			s = missing
		}
		changed, draining, watchLag := n.cluster.changed, n.draining, n.watchLag
		n.cluster.mu.Unlock()
		if draining {
			return refusal(codes.Unavailable, "STOPPING", nil)
		}
		if sent == nil || *sent != s {
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: s}); err != nil {
				return err
			}
			sent = &s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		lag(ctx, watchLag)
	}
}

func (n *fakeNode) GetService(ctx context.Context, req *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
	if err := n.enter(ctx, "GetService", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	readLag := n.readLag
	n.cluster.mu.Unlock()
	lag(ctx, readLag)
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	tellRevision(ctx, n.applied)
	at, err := n.asOf(req.GetAt())
	if err != nil {
		return nil, err
	}
	r := n.cluster.record(req.GetService(), at)
	if r == nil {
		return nil, refusal(codes.NotFound, "NOT_FOUND", map[string]string{"revision": strconv.FormatInt(at, 10)})
	}
	return &rollcallv1.GetServiceResponse{Service: r, Revision: at, ClusterId: n.cluster.id}, nil
}

func (n *fakeNode) ListServices(ctx context.Context, req *rollcallv1.ListServicesRequest) (*rollcallv1.ListServicesResponse, error) {
	if err := n.enter(ctx, "ListServices", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	at, err := n.asOf(req.GetAt())
	if err != nil {
		return nil, err
	}
	resp := &rollcallv1.ListServicesResponse{Revision: at, ClusterId: n.cluster.id}
	names := map[string]bool{}
	for _, e := range n.cluster.events[:at] {
		names[e.service] = true
	}
	for _, name := range sorted(names) {
		r := n.cluster.record(name, at)
		if r == nil || name <= req.GetPageToken() || !strings.HasPrefix(name, req.GetPrefix()) {
			continue
		}
		if size := int(req.GetPageSize()); size > 0 && len(resp.Services) == size {
			resp.NextPageToken = resp.Services[size-1].GetService()
			break
		}
		resp.Services = append(resp.Services, r)
	}
	return resp, nil
}

func (n *fakeNode) GetStatus(ctx context.Context, req *rollcallv1.GetStatusRequest) (*rollcallv1.GetStatusResponse, error) {
	if err := n.enter(ctx, "GetStatus", req); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return &rollcallv1.GetStatusResponse{ClusterId: n.cluster.id, Node: "n1", Leader: "n2", Term: 7, Revision: n.applied, Writable: true}, nil
}

// change notes a write, asks onWrite, and makes it, if allowed says so (nil: it does) and it was not
// answered before. onAnswer may keep the answer back.
func (n *fakeNode) change(ctx context.Context, method string, req any, dry bool, allowed func() error, events ...event) (int64, error) {
	if err := n.enter(ctx, method, req); err != nil {
		return 0, err
	}
	n.cluster.mu.Lock()
	count, onWrite := len(n.calls), n.onWrite
	forbids := n.cluster.access.forbids
	n.cluster.mu.Unlock()
	for _, e := range events {
		if forbids != "" && e.service == forbids {
			return 0, refusal(codes.PermissionDenied, client.ReasonDenied, map[string]string{"written": "no", "identity": "token:ci", "verb": "report", "name": forbids})
		}
	}
	if onWrite != nil {
		if err := onWrite(ctx, count); err != nil {
			return 0, err
		}
	}
	a, count := n.decide(req.(interface{ GetRequestId() string }).GetRequestId(), dry, allowed, events)
	n.cluster.mu.Lock()
	onAnswer := n.onAnswer
	n.cluster.mu.Unlock()
	if onAnswer != nil {
		if err := onAnswer(ctx, count); err != nil {
			return 0, err
		}
	}
	return a.revision, a.err
}

func (n *fakeNode) decide(id string, dry bool, allowed func() error, events []event) (answer, int) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	a, known := n.cluster.answers[id]
	if known && !dry {
		return a, len(n.calls)
	}
	a = answer{revision: int64(len(n.cluster.events))}
	if allowed != nil {
		a.err = allowed()
	}
	if dry {
		return a, len(n.calls)
	}
	if a.err == nil {
		a.revision = n.cluster.append(events...)
	}
	n.cluster.answers[id] = a
	return a, len(n.calls)
}

func (n *fakeNode) SetServingStatus(ctx context.Context, req *rollcallv1.SetServingStatusRequest) (*rollcallv1.SetServingStatusResponse, error) {
	allowed := func() error {
		current := n.cluster.record(req.GetService(), int64(len(n.cluster.events))).GetReport().GetRevision()
		if req.IfRevision != nil && current != req.GetIfRevision() {
			return refusal(codes.FailedPrecondition, "REVISION_MISMATCH",
				map[string]string{"current_revision": strconv.FormatInt(current, 10), "written": "no"})
		}
		return n.cluster.attach(req.GetLeaseId(), req.GetValidateOnly(), req.GetService(), req.GetStatus())
	}
	revision, err := n.change(ctx, "SetServingStatus", req, req.GetValidateOnly(), allowed, event{req.GetService(), req.GetStatus(), req.GetReason()})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.SetServingStatusResponse{
		Service:   &rollcallv1.ServiceRecord{Service: req.GetService(), Status: req.GetStatus()},
		Changed:   true,
		Revision:  revision,
		ClusterId: n.clusterID(),
	}, nil
}

func (n *fakeNode) BatchSetServingStatus(ctx context.Context, req *rollcallv1.BatchSetServingStatusRequest) (*rollcallv1.BatchSetServingStatusResponse, error) {
	var events []event
	for _, c := range req.GetChanges() {
		events = append(events, event{c.GetService(), c.GetStatus(), req.GetReason()})
	}
	allowed := func() error {
		for _, c := range req.GetChanges() { // a batch that is refused in the middle does not matter to any test
			if err := n.cluster.attach(c.GetLeaseId(), req.GetValidateOnly(), c.GetService(), c.GetStatus()); err != nil {
				return err
			}
		}
		return nil
	}
	revision, err := n.change(ctx, "BatchSetServingStatus", req, req.GetValidateOnly(), allowed, events...)
	if err != nil {
		return nil, err
	}
	return &rollcallv1.BatchSetServingStatusResponse{ChangedCount: int32(len(events)), Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) DeleteService(ctx context.Context, req *rollcallv1.DeleteServiceRequest) (*rollcallv1.DeleteServiceResponse, error) {
	allowed := func() error {
		return n.cluster.attach(req.GetLeaseId(), req.GetValidateOnly(), req.GetService(), missing)
	}
	revision, err := n.change(ctx, "DeleteService", req, req.GetValidateOnly(), allowed, event{req.GetService(), missing, req.GetReason()})
	if err != nil {
		return nil, err
	}
	return &rollcallv1.DeleteServiceResponse{Revision: revision, ClusterId: n.clusterID()}, nil
}

func (n *fakeNode) clusterID() string {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.cluster.id
}
