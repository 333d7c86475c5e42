package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// healthServer is a process that serves grpc-go's health.Server: peers/health.
type healthServer struct {
	api      string
	profiles string
	process  *child
	conn     *grpc.ClientConn
}

func openHealthServer(ctx context.Context, s *session) (*healthServer, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	m, err := s.member("health", 0)
	if err != nil {
		return nil, err
	}
	h := &healthServer{api: ports[0], profiles: "http://" + ports[1]}
	if h.conn, err = dial(h.api); err != nil {
		return nil, err
	}
	if h.process, err = s.children.start(m.log, true, m.binary, "-listen", ports[0], "-http", ports[1]); err != nil {
		h.conn.Close()
		return nil, err
	}
	return h, h.process.until(ctx, "ready", func(ctx context.Context) error { return check(ctx, h.conn, "") })
}

func (h *healthServer) close() {
	h.conn.Close()
	h.process.kill()
}

func (h *healthServer) fill(n int) error {
	_, err := h.process.tell("fill %d", n)
	return err
}

func (h *healthServer) set(service string, status healthpb.HealthCheckResponse_ServingStatus) error {
	_, err := h.process.tell("set %s %s", service, status)
	return err
}

// churn changes rate services of the first n each second; 0 ends it.
func (h *healthServer) churn(rate, n int) error {
	_, err := h.process.tell("churn %s", fmt.Sprint(rate, " ", n))
	return err
}
