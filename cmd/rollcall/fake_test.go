package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
)

// fake is a node that keeps its registry in a map: enough to see what the command line asks and says.
type fake struct {
	rollcallv1.UnimplementedAdminServer
	rollcallv1.UnimplementedRegistryServer
	rollcallv1.UnimplementedClusterServer
	rollcallv1.UnimplementedAccessServer
	health  *health.Server
	address string
	dialer  []grpc.DialOption // reaches it, if it is virtual
	seen    atomic.Value      // the authorization of the newest unary call; a string

	mu       sync.Mutex // guards what follows
	revision int64
	services map[string]*rollcallv1.ServiceRecord
	status   *rollcallv1.GetStatusResponse
	refuse   error // of every write
	unread   error // of every read
	noStatus error // of GetStatus
	history  fakeHistory
	layers   fakeLayers
	leases   fakeLeases
	access   fakeAccess
	members  fakeMembers
	others   map[string]*bufconn.Listener // of other nodes that a virtual one knows, by address; set before it is asked
	wrote    chan *rollcallv1.SetServingStatusRequest
}

// startFake serves a fake on a free loopback port, and makes it the default of --endpoints.
func startFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := serveFake(t, l)
	t.Setenv("ROLLCALL_ENDPOINTS", f.address)
	return f
}

func serveFake(t *testing.T, l net.Listener, options ...grpc.ServerOption) *fake {
	f := &fake{
		health:   health.NewServer(),
		address:  l.Addr().String(),
		services: map[string]*rollcallv1.ServiceRecord{},
		layers:   fakeLayers{overrides: map[string]*rollcallv1.Override{}, rules: map[string]*rollcallv1.Rule{}},
		leases:   fakeLeases{live: map[string]*rollcallv1.Lease{}},
		access:   newFakeAccess(),
		status:   &rollcallv1.GetStatusResponse{},
		wrote:    make(chan *rollcallv1.SetServingStatusRequest, 16),
	}
	s := grpc.NewServer(append(options, grpc.ChainUnaryInterceptor(f.unaryFilter), grpc.ChainStreamInterceptor(f.streamFilter))...)
	rollcallv1.RegisterAdminServer(s, f)
	rollcallv1.RegisterRegistryServer(s, f)
	rollcallv1.RegisterClusterServer(s, f)
	rollcallv1.RegisterAccessServer(s, f)
	healthpb.RegisterHealthServer(s, f.health)
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return f
}

func (f *fake) refuseWrites(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

func (f *fake) refuseReads(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unread = err
}

func (f *fake) setStatus(s *rollcallv1.GetStatusResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
}

func refusal(code codes.Code, reason, message string, metadata map[string]string) error {
	s, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Domain: "rollcall", Reason: reason, Metadata: metadata})
	if err == nil && reason == reasonNotWritten {
		// So that a deadline comes while the client pauses, and not while a try is under way: its
		// outcome would be unknown.
		s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	}
	if err != nil {
		return err
	}
	return s.Err()
}

var reported = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func (f *fake) put(service string, s healthpb.HealthCheckResponse_ServingStatus, reason, actor string) *rollcallv1.ServiceRecord {
	f.revision++
	f.happened(service, s, reason, actor)
	rec := &rollcallv1.ServiceRecord{
		Service: service, Status: s, StatusTime: timestamppb.New(reported),
		Report: &rollcallv1.Report{
			Status: s, Reason: reason, Actor: &rollcallv1.Actor{Name: actor, Peer: "127.0.0.1:4711"},
			Time: timestamppb.New(reported), Revision: f.revision,
		},
	}
	f.services[service] = rec
	f.health.SetServingStatus(service, s)
	return rec
}

func (f *fake) SetServingStatus(_ context.Context, req *rollcallv1.SetServingStatusRequest) (*rollcallv1.SetServingStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrote <- req
	if f.refuse != nil {
		return nil, f.refuse
	}
	if err := f.refuseLease(req.GetService(), req.GetLeaseId()); err != nil {
		return nil, err
	}
	old := f.services[req.GetService()]
	if req.IfRevision != nil && req.GetIfRevision() != old.GetReport().GetRevision() {
		return nil, refusal(codes.FailedPrecondition, "REVISION_MISMATCH", "the revision of "+req.GetService()+" differs",
			map[string]string{"current_revision": fmt.Sprint(old.GetReport().GetRevision())})
	}
	if old != nil && old.GetStatus() == req.GetStatus() && old.GetReport().GetLeaseId() == req.GetLeaseId() {
		return &rollcallv1.SetServingStatusResponse{Service: f.shown(old), Revision: f.revision}, nil
	}
	future := &rollcallv1.ServiceRecord{Service: req.GetService(), Status: req.GetStatus(), Report: &rollcallv1.Report{Status: req.GetStatus()}}
	broken, err := f.keepRules(req.GetBreakGlass(), true, func() { f.services[req.GetService()] = future })
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		return &rollcallv1.SetServingStatusResponse{Service: f.shown(future), Changed: true, BrokenRules: broken, ClusterId: "3f9a"}, nil
	}
	rec := f.put(req.GetService(), req.GetStatus(), req.GetReason(), req.GetActor())
	f.attach(rec, req.GetLeaseId())
	return &rollcallv1.SetServingStatusResponse{Service: f.shown(rec), Changed: true, Revision: f.revision, BrokenRules: broken, ClusterId: "3f9a"}, nil
}

func (f *fake) BatchSetServingStatus(_ context.Context, req *rollcallv1.BatchSetServingStatusRequest) (*rollcallv1.BatchSetServingStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	for _, c := range req.GetChanges() {
		if err := f.refuseLease(c.GetService(), c.GetLeaseId()); err != nil {
			return nil, err
		}
	}
	broken, err := f.keepRules(req.GetBreakGlass(), true, func() {
		for _, c := range req.GetChanges() {
			f.services[c.GetService()] = &rollcallv1.ServiceRecord{Service: c.GetService(), Status: c.GetStatus()}
		}
	})
	if err != nil {
		return nil, err
	}
	resp := &rollcallv1.BatchSetServingStatusResponse{BrokenRules: broken}
	for _, c := range req.GetChanges() {
		if c.GetStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			f.revision++
			delete(f.services, c.GetService())
			resp.ChangedCount++
			continue
		}
		rec := f.put(c.GetService(), c.GetStatus(), req.GetReason(), req.GetActor())
		f.attach(rec, c.GetLeaseId())
		resp.Services = append(resp.Services, rec)
		resp.ChangedCount++
	}
	resp.Revision = f.revision
	f.committed(len(req.GetChanges()))
	return resp, nil
}

func (f *fake) DeleteService(_ context.Context, req *rollcallv1.DeleteServiceRequest) (*rollcallv1.DeleteServiceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	if f.services[req.GetService()] == nil && !req.GetAllowMissing() {
		return nil, refusal(codes.NotFound, "NOT_FOUND", req.GetService()+" does not exist", nil)
	}
	if err := f.refuseLease(req.GetService(), req.GetLeaseId()); err != nil {
		return nil, err
	}
	broken, err := f.keepRules(req.GetBreakGlass(), true, func() { delete(f.services, req.GetService()) })
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		return &rollcallv1.DeleteServiceResponse{Revision: f.revision, BrokenRules: broken}, nil
	}
	f.revision++
	f.happened(req.GetService(), healthpb.HealthCheckResponse_SERVICE_UNKNOWN, req.GetReason(), req.GetActor())
	delete(f.services, req.GetService())
	f.health.SetServingStatus(req.GetService(), healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
	return &rollcallv1.DeleteServiceResponse{Revision: f.revision, BrokenRules: broken}, nil
}

func (f *fake) GetService(ctx context.Context, req *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return nil, f.unread
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-revision", fmt.Sprint(f.revision))); err != nil {
		return nil, err
	}
	if req.GetAt() != nil {
		return f.getAt(req)
	}
	rec := f.shown(f.services[req.GetService()])
	if rec == nil {
		return nil, refusal(codes.NotFound, "NOT_FOUND", req.GetService()+" does not exist",
			map[string]string{"revision": strconv.FormatInt(f.revision, 10)})
	}
	return &rollcallv1.GetServiceResponse{Service: rec, Revision: f.revision, ClusterId: "3f9a"}, nil
}

func (f *fake) ListServices(_ context.Context, req *rollcallv1.ListServicesRequest) (*rollcallv1.ListServicesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return nil, f.unread
	}
	services, revision, err := f.servicesAt(req.GetAt())
	if err != nil {
		return nil, err
	}
	resp := &rollcallv1.ListServicesResponse{Revision: revision, ClusterId: "3f9a"}
	for name, rec := range services {
		if req.GetAt() == nil {
			rec = f.shown(rec)
		}
		if strings.HasPrefix(name, req.GetPrefix()) && (len(req.GetStatuses()) == 0 || slices.Contains(req.GetStatuses(), rec.GetStatus())) {
			resp.Services = append(resp.Services, rec)
		}
	}
	slices.SortFunc(resp.Services, func(a, b *rollcallv1.ServiceRecord) int { return cmp.Compare(a.GetService(), b.GetService()) })
	return resp, nil
}

func (f *fake) GetStatus(context.Context, *rollcallv1.GetStatusRequest) (*rollcallv1.GetStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.statusNow()
}

// result is what one command line printed and returned.
type result struct {
	stdout, stderr string
	code           int
}

// rollcall runs one command line in this process.
func rollcall(t *testing.T, args ...string) result {
	t.Helper()
	return rollcallAt(t, time.Time{}, args...)
}

// rollcallAt is rollcall at a time; at zero, now.
func rollcallAt(t *testing.T, now time.Time, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &lockedWriter{w: &stderr}, now: time.Now}
	if !now.IsZero() {
		a.now = func() time.Time { return now }
	}
	code := a.run(ctx, args)
	return ended(t, ctx, args, &stdout, &stderr, code)
}

func ended(t *testing.T, ctx context.Context, args []string, stdout, stderr *bytes.Buffer, code int) result {
	t.Helper()
	if ctx.Err() != nil {
		t.Fatalf("rollcall %s did not end", strings.Join(args, " "))
	}
	return result{stdout.String(), stderr.String(), code}
}

// want fails unless the result is this one; a text that ends in "…" is the begin.
func (r result) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit status %d, want %d", r.code, code)
	}
	for _, c := range []struct{ what, got, want string }{{"stdout", r.stdout, stdout}, {"stderr", r.stderr, stderr}} {
		begin, open := strings.CutSuffix(c.want, "…")
		if open && strings.HasPrefix(c.got, begin) || c.got == c.want {
			continue
		}
		t.Errorf("%s:\n%s\nwant:\n%s", c.what, c.got, c.want)
	}
}
