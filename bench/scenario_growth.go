package main

import (
	"context"
	"fmt"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/bench/report"
	"github.com/rollcallhq/rollcall/bench/workload"
)

var servicesScenario = scenario{
	name:  "services",
	title: "Cost as services grow",
	about: "The same clusters, filled further and further: Check with 64 callers on one connection, writes by 64 writers through the leader, and how long one node takes from its start to its first answer.",
	run:   runServices,
}

func (s *session) serviceCounts() []int {
	n := []int{1000, 10_000, 100_000}
	if s.full {
		n = append(n, 1_000_000)
	}
	return n
}

func runServices(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, false)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	theirs, err := newHealthStatuses(ctx, s)
	if err != nil {
		return err
	}
	defer theirs.close()
	plot := func(name, title, y string) *report.Plot {
		p := &report.Plot{Name: name, Title: title, X: "services", Y: y, LogX: true}
		r.Plots = append(r.Plots, p)
		return p
	}
	checks := plot("services-check", "Check over gRPC as services grow", "calls/s, 64 callers")
	cpu := plot("services-check-cpu", "Processor time of a Check as services grow", "µs a call")
	writes := plot("services-writes", "Durable writes as services grow", "writes/s, 64 writers through the leader")
	restarts := plot("services-restart", "Restart to the first answer as services grow", "ms")
	restarts.LogY = true
	filled := 0
	for _, services := range s.serviceCounts() {
		for _, c := range clusters {
			s.progress("filling %s with %d services", c.who(), services)
			if err := c.(filler).fill(ctx, filled, services); err != nil {
				return err
			}
		}
		if err := theirs.fill(ctx, 0, services); err != nil {
			return err
		}
		filled = services
		ours := clusters[0].(*rollcall)
		leader, err := ours.leader(ctx)
		if err != nil {
			return err
		}
		x := float64(services)
		err = eachRound(s, []statusServer{
			&rollcallStatuses{rollcall: ours, label: rollcallName, asked: viaFollower.member(ours, leader, 0)}, theirs,
		}, func(c statusServer) error {
			s.progress("%d services, Check, %s", services, c.who())
			l, err := drive(ctx, checkers(c.connection(), 64, services), s.duration/2, c.pid())
			if err != nil {
				return err
			}
			checks.Add(c.who(), x, l.perSecond())
			cpu.Add(c.who(), x, l.cpuPerCall())
			return nil
		})
		if err != nil {
			return err
		}
		err = eachRound(s, clusters, func(c cluster) error {
			s.progress("%d services, writes and restart, %s", services, c.who())
			l, err := write(ctx, s, c, viaLeader, 64)
			if err != nil {
				return err
			}
			writes.Add(c.who(), x, l.perSecond())
			took, err := restart(ctx, c, services)
			if err != nil {
				return err
			}
			restarts.Add(c.who(), x, millis(took))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var watchersScenario = scenario{
	name:  "watchers",
	title: "Cost as watchers grow",
	about: "A flip of one service to the last of its watch streams, which share 100 connections, at most 1,000 on each; Rollcall through its leader.",
	run:   runWatchers,
}

func runWatchers(ctx context.Context, s *session, r *report.Scenario) error {
	counts := []int{100, 1000, 10_000}
	if s.full {
		counts = append(counts, 100_000)
	}
	ours, err := newRollcallStatuses(ctx, s, viaLeader, "--max-watches=200000")
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := newHealthStatuses(ctx, s)
	if err != nil {
		return err
	}
	defer theirs.close()
	p := &report.Plot{Name: "watchers-fanout", Title: "One flip to the last watcher as watchers grow", X: "watch streams", Y: "ms", LogX: true, LogY: true}
	r.Plots = append(r.Plots, p)
	contestants := []statusServer{ours, theirs}
	for _, c := range contestants {
		if err := c.fill(ctx, 0, 10); err != nil {
			return err
		}
	}
	status := map[string]healthpb.HealthCheckResponse_ServingStatus{}
	for _, n := range counts {
		err := eachRound(s, contestants, func(c statusServer) error {
			s.progress("%d watchers, %s", n, c.who())
			w, err := openWatchers(s, c.address(), workload.Service(watched), min(n, 100), n)
			if err != nil {
				return err
			}
			defer w.close()
			var times []float64
			for range 6 {
				if status[c.who()] == 0 {
					status[c.who()] = healthpb.HealthCheckResponse_SERVING
				}
				status[c.who()] = other(status[c.who()])
				took, err := flipToLast(ctx, c, w, status[c.who()])
				if err != nil {
					return fmt.Errorf("%s: %w", c.who(), err)
				}
				times = append(times, millis(took))
			}
			p.Add(c.who(), float64(n), report.Median(times))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var nodesScenario = scenario{
	name:  "nodes",
	title: "Cost as nodes grow",
	about: "Clusters of one, three and five nodes, all on this machine, so that its cores are shared by more of them: durable writes through the leader.",
	run:   runNodes,
}

func runNodes(ctx context.Context, s *session, r *report.Scenario) error {
	rate := &report.Plot{Name: "nodes-writes", Title: "Durable writes as nodes grow", X: "nodes", Y: "writes/s, 64 writers through the leader"}
	p50 := &report.Plot{Name: "nodes-latency", Title: "Latency of one writer as nodes grow", X: "nodes", Y: "ms, median"}
	r.Plots = append(r.Plots, rate, p50)
	for _, nodes := range []int{1, 3, 5} {
		ours, err := newRollcall(s, nodes)
		if err != nil {
			return err
		}
		theirs, err := newEtcd(s, nodes)
		if err != nil {
			return err
		}
		clusters := []cluster{ours, theirs}
		err = opened(ctx, clusters...)
		if err == nil {
			err = eachRound(s, clusters, func(c cluster) error {
				s.progress("%d nodes, %s", nodes, c.who())
				many, err := write(ctx, s, c, viaLeader, 64)
				if err != nil {
					return err
				}
				one, err := write(ctx, s, c, viaLeader, 1)
				if err != nil {
					return err
				}
				rate.Add(c.who(), float64(nodes), many.perSecond())
				p50.Add(c.who(), float64(nodes), one.quantileMillis(0.5))
				return nil
			})
		}
		closeCluster(ours)
		closeCluster(theirs)
		if err != nil {
			return err
		}
	}
	return nil
}
