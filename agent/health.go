package agent

import (
	"context"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

var (
	errStreamEnded = status.Error(codes.Canceled, "the stream has ended")
	errStopping    = status.Error(codes.Unavailable, "the agent is stopping")
	errNoService   = status.Error(codes.NotFound, "the agent does not watch this service")
)

// health serves the board as grpc.health.v1.
type health struct {
	healthpb.UnimplementedHealthServer
	board *board
}

// Check implements grpc.health.v1.
func (h health) Check(_ context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	shown := h.board.look(in.GetService())
	if shown == client.ServiceUnknown {
		return nil, errNoService
	}
	return &healthpb.HealthCheckResponse{Status: shown}, nil
}

// List implements grpc.health.v1. It names all services, and "".
func (h health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	b := h.board
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]*healthpb.HealthCheckResponse, len(b.cells))
	for name, c := range b.cells {
		all[name] = &healthpb.HealthCheckResponse{Status: c.shown}
	}
	return &healthpb.HealthListResponse{Statuses: all}, nil
}

// Watch implements grpc.health.v1: the newest status wins, and the same one is not sent twice in a row. A name that
// the agent does not watch is SERVICE_UNKNOWN, until it does.
func (h health) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	sent := client.Status(-1)
	for {
		shown, changed := h.board.follow(in.GetService())
		select {
		case <-h.board.ends:
			return errStopping
		default:
		}
		if shown != sent {
			sent = shown
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: shown}); err != nil {
				return errStreamEnded
			}
		}
		select {
		case <-changed:
		case <-h.board.ends:
		case <-stream.Context().Done():
			return errStreamEnded
		}
	}
}
