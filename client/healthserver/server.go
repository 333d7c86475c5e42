package healthserver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// Server is a health.Server of grpc-go that the registry can switch off. It is registered as the original is, and
// has the original's methods: SetServingStatus, Shutdown and Resume are the original's own, and are what the process
// says. Make one with [New]. It is safe for use by many goroutines.
type Server struct {
	// Server keeps what the process says. Asked directly it answers without the registry.
	*health.Server

	service  string
	instance string // SERVICE/INSTANCE; "" without WithInstance
	unmerged map[string]bool
	drain    time.Duration
	logger   *slog.Logger
	observer Observer // may be nil
	source   source   // nil without WithClient
	state    *stateFile
	publish  *publisher          // nil without WithPublish
	refusal  error               // of the gates
	why      atomic.Pointer[why] // of what is said of ""; nil: no reason was given

	// verdict is what is made of the registry's opinions. It is written with mu held.
	verdict     atomic.Int32
	initialWait time.Duration
	waiting     sync.Once // starts the initial wait

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed and replaced when the verdict changes
	settled bool          // the first opinions were heard, or the initial wait is over
	ended   bool          // EndWatches was called
	ends    chan struct{} // closed then
	own     view.Instance // whether SERVICE/INSTANCE is switched off
	*life
}

// New returns a Server for the process that is an instance of service: the name that operators switch, 1 to 256
// bytes as the registry has it, not one of the nodes' own ("" and rollcall.…), and no pattern.
//
// Without [WithClient] there is no registry, and the Server answers as the process says. With it [Server.Run] must
// run. New connects to nothing. Its errors are those of service and of the options.
func New(service string, opts ...Option) (*Server, error) {
	o, err := newOptions(service, opts)
	if err != nil {
		return nil, fmt.Errorf("healthserver: %w", err)
	}
	s := &Server{
		Server:      o.health,
		service:     service,
		instance:    o.instanceName(service),
		unmerged:    o.unmerged,
		drain:       o.drain,
		logger:      o.logger.With("service", service),
		observer:    o.observer,
		initialWait: o.initialWait,
		refusal:     newRefusal(service),
		changed:     make(chan struct{}),
		ends:        make(chan struct{}),
		life:        newLife(),
	}
	if s.Server == nil {
		s.Server = health.NewServer()
	}
	if o.registry == nil {
		s.settled = true
		return s, nil
	}
	if o.publish != nil {
		s.publish = newPublisher(o.registry.keepLease, *o.publish)
		s.own.Reports = true
	}
	var initial map[string]view.Opinion
	if o.stateFile != "" {
		s.state = newStateFile(o.stateFile, service, o.instance, s.logger)
		initial = s.state.load()
	}
	if s.source, err = o.registry.newSource(s.names(), initial, s.logger); err != nil {
		return nil, fmt.Errorf("healthserver: %w", err)
	}
	s.settled = s.initialWait == 0
	s.judge()
	return s, nil
}

// names are what the registry is asked for.
func (s *Server) names() []string {
	if s.instance == "" {
		return []string{s.service}
	}
	return []string{s.service, s.instance}
}

// Check answers with the worse of what the process says and what the registry says. While nothing is switched off it
// costs a load more than the original.
func (s *Server) Check(ctx context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	resp, err := s.Server.Check(ctx, in)
	if err != nil {
		if resp, err = s.checkUnset(ctx, in, err); err != nil {
			return nil, err
		}
	}
	if s.verdict.Load() != verdictOn {
		resp.Status = s.overlay(in.GetService(), resp.GetStatus())
	}
	return resp, nil
}

// checkUnset answers for a name that the process never set, of which the original says err.
func (s *Server) checkUnset(ctx context.Context, in *healthpb.HealthCheckRequest, err error) (*healthpb.HealthCheckResponse, error) {
	switch {
	case status.Code(err) != codes.NotFound:
	case s.unmerged[in.GetService()]:
		return &healthpb.HealthCheckResponse{Status: client.Serving}, nil
	case in.GetService() == s.service:
		return s.Server.Check(ctx, &healthpb.HealthCheckRequest{})
	}
	return nil, err
}

// List answers for the names that the process has set, each as Check does. It is limited as the original's.
func (s *Server) List(ctx context.Context, in *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	resp, err := s.Server.List(ctx, in)
	if err != nil || s.verdict.Load() == verdictOn {
		return resp, err
	}
	for name, answer := range maps.All(resp.GetStatuses()) {
		answer.Status = s.overlay(name, answer.GetStatus())
	}
	return resp, nil
}
