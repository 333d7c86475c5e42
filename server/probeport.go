package server

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// probes implements grpc.health.v1.Health for probes without TLS: it answers Check of the node's own names, and nothing
// else. Strangers reach it, so it begins nothing that lasts, and takes no metadata.
type probes struct {
	statuses Statuses
}

const onlyOwn = `this port answers Check of "" and of names that begin with rollcall. only; ask the API port`

// Check implements grpc.health.v1.Health.
func (p probes) Check(_ context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !rollcallv1.IsOwn(req.GetService()) {
		return nil, status.Error(codes.NotFound, onlyOwn)
	}
	s, ok := p.statuses.Status(req.GetService())
	if !ok {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

// Watch implements grpc.health.v1.Health.
func (probes) Watch(*healthpb.HealthCheckRequest, grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return status.Error(codes.Unimplemented, onlyOwn)
}

// List implements grpc.health.v1.Health.
func (probes) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	return nil, status.Error(codes.Unimplemented, onlyOwn)
}

// maxProbeBytes is more than the longest name of a service takes.
const maxProbeBytes = 4 << 10

// ProbeHandler answers gRPC probes of the node's own names, over HTTP/2.
func (s *Server) ProbeHandler() http.Handler {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxProbeBytes))
	healthpb.RegisterHealthServer(s.rpcs.On(g), probes{s.readiness.statuses})
	return g
}
