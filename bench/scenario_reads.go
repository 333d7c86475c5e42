package main

import (
	"context"
	"fmt"

	"github.com/rollcallhq/rollcall/bench/report"
)

var readsScenario = scenario{
	name:  "reads",
	title: "Linearizable reads",
	about: "64 callers on one connection to a node, each one read after the other, of one service: Check with rollcall-consistency: linearizable, and etcd's Get.",
	run:   runReads,
}

// reader is a cluster that reads so that no acknowledged write is missed.
type reader interface {
	cluster
	reader(member int, service string) func(context.Context) error
}

func runReads(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, false)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
		if err := c.writer(0, 0)(ctx); err != nil {
			return err
		}
	}
	for _, through := range []via{viaLeader, viaFollower} {
		name := fmt.Sprintf("64 readers of %s", through)
		err := eachRound(s, clusters, func(c cluster) error {
			s.progress("%s, %s", name, c.who())
			leader, err := c.leader(ctx)
			if err != nil {
				return err
			}
			member := through.member(c, leader, 0)
			calls := make([]func(context.Context) error, 64)
			for i := range calls {
				calls[i] = c.(reader).reader(member, writtenService(0, 0))
			}
			l, err := drive(ctx, calls, s.duration, c.members()[member].process.pid())
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, c.who(), err)
			}
			r.Row(name, "reads/s", report.RatioAtLeast(1.3, 2), rollcallName, etcdName).Add(c.who(), l.perSecond())
			r.Row(name, "ms p50", nil, rollcallName, etcdName).Add(c.who(), l.quantileMillis(0.5))
			r.Row(name, "ms p99", nil, rollcallName, etcdName).Add(c.who(), l.quantileMillis(0.99))
			r.Row(name, "µs processor/read, node asked", nil, rollcallName, etcdName).Add(c.who(), l.cpuPerCall())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
