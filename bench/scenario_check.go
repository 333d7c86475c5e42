package main

import (
	"context"
	"fmt"

	"github.com/rollcallhq/rollcall/bench/report"
)

var checkScenario = scenario{
	name:  "check",
	title: "Check over gRPC",
	about: "64 callers on one connection, each one call after the other, of services picked at random. Rollcall: a follower of three nodes answers; health.Server: the application's own process. Processor time is that of the process that answers. Changes: in Rollcall ten batches of 100 a second through the leader, folded and stored by the node that answers; in health.Server calls in its process.",
	run:   runCheck,
}

func runCheck(ctx context.Context, s *session, r *report.Scenario) error {
	ours, err := newRollcallStatuses(ctx, s, viaFollower)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := checkPeer(ctx, s)
	if err != nil {
		return err
	}
	defer theirs.close()
	contestants := []statusServer{ours, theirs}
	filled := 0
	for _, work := range []struct {
		name     string
		services int
		rate     int
	}{
		{"10 services", 10, 0},
		{"100,000 services", 100_000, 0},
		{"100,000 services, 1,000 changes/s", 100_000, 1000},
	} {
		for _, c := range contestants {
			if err := c.fill(ctx, filled, work.services); err != nil {
				return fmt.Errorf("fill %s: %w", c.who(), err)
			}
		}
		filled = work.services
		err := eachRound(s, contestants, func(c statusServer) error {
			s.progress("%s, %s", work.name, c.who())
			l, err := checkUnder(ctx, s, c, work.services, work.rate)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", work.name, c.who(), err)
			}
			r.Row(work.name, "calls/s", report.RatioAtLeast(1, 1.15), rollcallName, healthName).Add(c.who(), l.perSecond())
			r.Row(work.name, "µs processor/call", report.RatioAtMost(1, 1/1.15), rollcallName, healthName).Add(c.who(), l.cpuPerCall())
			r.Row(work.name, "ms p50", nil, rollcallName, healthName).Add(c.who(), l.quantileMillis(0.5))
			r.Row(work.name, "ms p99", nil, rollcallName, healthName).Add(c.who(), l.quantileMillis(0.99))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPeer is who answers beside Rollcall.
func checkPeer(ctx context.Context, s *session) (statusServer, error) {
	if s.before == "" {
		return newHealthStatuses(ctx, s)
	}
	c, err := newRollcallBefore(s, 3)
	if err != nil {
		return nil, err
	}
	return askedOf(ctx, c, viaFollower)
}

// checkUnder drives Check of n services while rate of them change each second.
func checkUnder(ctx context.Context, s *session, c statusServer, n, rate int) (*load, error) {
	stop := func() error { return nil }
	if rate > 0 {
		var err error
		if stop, err = c.churn(ctx, rate, n); err != nil {
			return nil, err
		}
	}
	l, err := drive(ctx, checkers(c.connection(), 64, n), s.duration, c.pid())
	if stopped := stop(); err == nil {
		err = stopped
	}
	return l, err
}
