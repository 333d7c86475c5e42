package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/rollcallhq/rollcall/bench/report"
	"github.com/rollcallhq/rollcall/bench/workload"
)

var restartScenario = scenario{
	name:  "restart",
	title: "Restart to the first answer",
	about: "All three nodes are killed (SIGKILL). Rollcall: one is started alone, with no quorum, until it answers a Check of one of the services with the right status. etcd, which serves nothing without a quorum: all three are started, until any answers a serializable Get of one of the keys.",
	run:   runRestart,
}

func runRestart(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, false)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	filled := 0
	for _, services := range s.sizes() {
		for _, c := range clusters {
			s.progress("filling %s with %d services", c.who(), services)
			if err := c.(filler).fill(ctx, filled, services); err != nil {
				return fmt.Errorf("fill %s: %w", c.who(), err)
			}
		}
		filled = services
		err := eachRound(s, clusters, func(c cluster) error {
			s.progress("%d services, %s", services, c.who())
			took, err := restart(ctx, c, services)
			if err != nil {
				return fmt.Errorf("%s: %w", c.who(), err)
			}
			r.Row(fmt.Sprintf("restart with %s services", report.Number(float64(services))), "ms", report.RatioAtMost(0.5, 0), rollcallName, etcdName).Add(c.who(), millis(took))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// filler is a cluster that can be given many services.
type filler interface {
	fill(ctx context.Context, from, to int) error
}

// sizes are the numbers of services in scenarios that depend on the number.
func (s *session) sizes() []int {
	if s.full {
		return []int{100_000, 1_000_000}
	}
	return []int{100_000}
}

// restart kills all of c, measures, and leaves it running and ready.
func restart(ctx context.Context, c cluster, services int) (time.Duration, error) {
	for _, m := range c.members() {
		m.kill()
	}
	asked := workload.Service(services / 2)
	var took time.Duration
	switch c := c.(type) {
	case *rollcall:
		begun := time.Now()
		if err := c.nodes[0].start(); err != nil {
			return 0, err
		}
		if err := firstCheck(ctx, c, asked); err != nil {
			return 0, err
		}
		took = time.Since(begun)
		for _, m := range c.nodes[1:] {
			if err := m.start(); err != nil {
				return 0, err
			}
		}
	case *etcd:
		begun := time.Now()
		for _, m := range c.nodes {
			if err := m.start(); err != nil {
				return 0, err
			}
		}
		if err := firstGet(ctx, c, asked); err != nil {
			return 0, err
		}
		took = time.Since(begun)
	}
	return took, c.ready(ctx)
}

func firstCheck(ctx context.Context, c *rollcall, service string) error {
	conn, err := dial(c.apis[0]) // one that knows of no failure yet
	if err != nil {
		return err
	}
	defer conn.Close()
	return c.nodes[0].process.soon(ctx, func(ctx context.Context) error {
		res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err == nil && res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = fmt.Errorf("%s is %s", service, res.GetStatus())
		}
		return err
	})
}

func firstGet(ctx context.Context, c *etcd, key string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(c.clients)) // one each
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for i, client := range c.clients {
		asking.Go(func() {
			answers <- c.nodes[i].process.soon(ctx, func(ctx context.Context) error {
				res, err := client.Get(ctx, key, clientv3.WithSerializable())
				if err == nil && len(res.Kvs) != 1 {
					err = fmt.Errorf("no key %s", key)
				}
				return err
			})
		})
	}
	var err error
	for range c.clients {
		if err = <-answers; err == nil {
			return nil
		}
	}
	return err
}

// soon is until with short attempts and short pauses, for what is timed.
func (p *child) soon(ctx context.Context, try func(context.Context) error) error {
	return p.until(ctx, "answering", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return try(ctx)
	})
}
