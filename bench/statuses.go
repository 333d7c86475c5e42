package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/bench/workload"
)

// statusServer is a contestant that answers grpc.health.v1 on one address.
type statusServer interface {
	who() string
	address() string
	connection() *grpc.ClientConn
	pid() int // of the process that answers
	collect(context.Context) error
	// fill makes services from to to-1 SERVING.
	fill(ctx context.Context, from, to int) error
	set(ctx context.Context, service string, status healthpb.HealthCheckResponse_ServingStatus) error
	// churn changes rate of the first n services each second, until stop is called. stop returns what went
	// wrong.
	churn(ctx context.Context, rate, n int) (stop func() error, err error)
	close()
}

// rollcallStatuses is a Rollcall cluster whose callers ask one member.
type rollcallStatuses struct {
	*rollcall
	label   string
	asked   int // member
	changed int // changes of churn so far
}

// newRollcallStatuses opens a cluster of three and asks its leader or a follower.
func newRollcallStatuses(ctx context.Context, s *session, v via, args ...string) (*rollcallStatuses, error) {
	c, err := newRollcall(s, 3, args...)
	if err != nil {
		return nil, err
	}
	return askedOf(ctx, c, v)
}

// askedOf opens c and asks its leader or a follower.
func askedOf(ctx context.Context, c *rollcall, v via) (*rollcallStatuses, error) {
	if err := open(ctx, c); err != nil {
		return nil, err
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	return &rollcallStatuses{rollcall: c, label: c.name, asked: v.member(c, leader, 0)}, nil
}

func (r *rollcallStatuses) who() string                  { return r.label }
func (r *rollcallStatuses) address() string              { return r.apis[r.asked] }
func (r *rollcallStatuses) connection() *grpc.ClientConn { return r.conns[r.asked] }
func (r *rollcallStatuses) pid() int                     { return r.nodes[r.asked].process.pid() }
func (r *rollcallStatuses) close()                       { closeCluster(r.rollcall) }

func (r *rollcallStatuses) collect(ctx context.Context) error {
	return collect(ctx, r.nodes[r.asked].profiles)
}

func (r *rollcallStatuses) set(ctx context.Context, service string, status healthpb.HealthCheckResponse_ServingStatus) error {
	return r.rollcall.set(ctx, r.asked, service, status)
}

// churn sends ten batches a second to the leader.
func (r *rollcallStatuses) churn(ctx context.Context, rate, n int) (func() error, error) {
	leader, err := r.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
			}
			status := healthpb.HealthCheckResponse_SERVING
			if (r.changed/n)%2 == 0 {
				status = healthpb.HealthCheckResponse_NOT_SERVING
			}
			size := min(rate/10, n-r.changed%n)
			// Not ctx: a batch that is cut off may or may not have changed its services.
			call, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			_, err := r.batch(call, leader, r.changed%n, size, status)
			end()
			if err != nil {
				failed = err
				return
			}
			r.changed += size
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		return failed
	}, nil
}

// healthStatuses is a process with grpc-go's health.Server.
type healthStatuses struct{ *healthServer }

func newHealthStatuses(ctx context.Context, s *session) (*healthStatuses, error) {
	h, err := openHealthServer(ctx, s)
	if err != nil {
		return nil, err
	}
	return &healthStatuses{h}, nil
}

func (h *healthStatuses) who() string                            { return healthName }
func (h *healthStatuses) address() string                        { return h.api }
func (h *healthStatuses) connection() *grpc.ClientConn           { return h.conn }
func (h *healthStatuses) pid() int                               { return h.process.pid() }
func (h *healthStatuses) collect(ctx context.Context) error      { return collect(ctx, h.profiles) }
func (h *healthStatuses) fill(_ context.Context, _, n int) error { return h.healthServer.fill(n) }

func (h *healthStatuses) set(_ context.Context, service string, status healthpb.HealthCheckResponse_ServingStatus) error {
	return h.healthServer.set(service, status)
}

func (h *healthStatuses) churn(_ context.Context, rate, n int) (func() error, error) {
	return func() error { return h.healthServer.churn(0, n) }, h.healthServer.churn(rate, n)
}

// checkers call Check of services picked at random among n, over one connection.
func checkers(conn *grpc.ClientConn, callers, n int) []func(context.Context) error {
	requests := make([]*healthpb.HealthCheckRequest, min(n, 100_000))
	for i := range requests {
		requests[i] = &healthpb.HealthCheckRequest{Service: workload.Service(i * (n / len(requests)))}
	}
	health := healthpb.NewHealthClient(conn)
	calls := make([]func(context.Context) error, callers)
	for i := range calls {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		calls[i] = func(ctx context.Context) error {
			_, err := health.Check(ctx, requests[random.IntN(len(requests))])
			return err
		}
	}
	return calls
}

// other is the status to flip to.
func other(s healthpb.HealthCheckResponse_ServingStatus) healthpb.HealthCheckResponse_ServingStatus {
	if s == healthpb.HealthCheckResponse_SERVING {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}
