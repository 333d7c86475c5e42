package main

import (
	"context"
	"fmt"

	"github.com/rollcallhq/rollcall/bench/report"
)

var writesScenario = scenario{
	name:  "writes",
	title: "Durable writes",
	about: "Unary writers, each one write after the other, three nodes; every acknowledged write is synced on a majority. Rollcall: SetServingStatus that changes a status; etcd: Put; NATS: Put into a key-value bucket; with keys and values of the same content. All nodes: each writer through one of the three. Syncs are counted with strace in short runs of their own.",
	run:   runWrites,
}

// threeOfEach opens clusters that take writes.
func threeOfEach(ctx context.Context, s *session, withNATS bool) ([]cluster, error) {
	s.progress("starting clusters")
	ours, err := newRollcall(s, 3)
	if err != nil {
		return nil, err
	}
	if s.before != "" {
		before, err := newRollcallBefore(s, 3)
		if err != nil {
			return nil, err
		}
		both := []cluster{ours, before}
		return both, opened(ctx, both...)
	}
	theirs, err := newEtcd(s, 3)
	if err != nil {
		return nil, err
	}
	all := []cluster{ours, theirs}
	if withNATS {
		n, err := newNATS(s, 3)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, opened(ctx, all...)
}

func runWrites(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, true)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	for _, work := range []struct {
		through via
		writers int
		bar     *report.Bar
	}{
		{viaLeader, 64, report.RatioAtLeast(1.6, 2.5)},
		{viaLeader, 256, report.RatioAtLeast(1.8, 2.5)},
		{viaFollower, 64, report.RatioAtLeast(1.6, 2.5)},
		{viaFollower, 256, report.RatioAtLeast(1.8, 2.5)},
		{viaAll, 64, report.RatioAtLeast(1.6, 2.5)},
		{viaAll, 256, report.RatioAtLeast(1.8, 2.5)},
		{viaLeader, 1, nil},
		{viaFollower, 1, nil},
	} {
		name := writersThrough(work.writers, work.through)
		err := eachRound(s, clusters, func(c cluster) error {
			s.progress("%s, %s", name, c.who())
			l, err := write(ctx, s, c, work.through, work.writers)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, c.who(), err)
			}
			p50 := (*report.Bar)(nil)
			if work.writers == 1 {
				p50 = report.RatioAtMost(1, 0.7)
			}
			r.Row(name, "writes/s", work.bar, rollcallName, etcdName, natsName).Add(c.who(), l.perSecond())
			r.Row(name, "ms p50", p50, rollcallName, etcdName, natsName).Add(c.who(), l.quantileMillis(0.5))
			r.Row(name, "ms p99", nil, rollcallName, etcdName, natsName).Add(c.who(), l.quantileMillis(0.99))
			r.Row(name, "µs processor/write, all nodes", nil, rollcallName, etcdName, natsName).Add(c.who(), l.cpuPerCall())
			if l.errors > 0 {
				r.Note("%s, %s: %d of %d failed, the first with: %v", name, c.who(), l.errors, l.errors+len(l.latencies), l.err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, c := range clusters {
		if err := countSyncs(ctx, s, r, c); err != nil {
			return err
		}
	}
	return nil
}

// write drives writers through c.
func write(ctx context.Context, s *session, c cluster, through via, writers int) (*load, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	calls := make([]func(context.Context) error, writers)
	for i := range calls {
		calls[i] = c.writer(through.member(c, leader, i), i)
	}
	processes := make([]int, len(c.members()))
	for i, m := range c.members() {
		processes[i] = m.process.pid()
	}
	return drive(ctx, calls, s.duration, processes...)
}

func writersThrough(writers int, through via) string {
	if writers == 1 {
		return fmt.Sprintf("1 writer through %s", through)
	}
	return fmt.Sprintf("%d writers through %s", writers, through)
}
