package main

import (
	"context"
	"fmt"

	"github.com/rollcallhq/rollcall/bench/report"
)

var writeStreamScenario = scenario{
	name:  "writestream",
	title: "Durable writes over a stream",
	about: "As above, but Rollcall's writers share one Admin.WriteStream, as those of its own client do when several wait. etcd's and NATS' clients send what waits over one connection, too.",
	run:   runWriteStream,
}

func runWriteStream(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, true)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	for _, work := range []struct {
		through    via
		writers    int
		etcd, nats float64
	}{
		{viaLeader, 64, 2.5, 1},
		{viaLeader, 256, 2.5, 1},
		{viaFollower, 64, 2, 0},
		{viaFollower, 256, 2, 0},
	} {
		name := fmt.Sprintf("%d waiting through %s", work.writers, work.through)
		err := eachRound(s, clusters, func(c cluster) error {
			s.progress("%s, %s", name, c.who())
			l, err := streamed(ctx, s, c, work.through, work.writers)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, c.who(), err)
			}
			r.Row(name, "writes/s", report.RatioAtLeast(work.etcd, work.etcd), rollcallName, etcdName, natsName).Add(c.who(), l.perSecond())
			if work.nats > 0 && s.before == "" && c.who() != etcdName {
				r.Row(name, "writes/s, beside NATS", report.RatioAtLeast(work.nats, work.nats), rollcallName, natsName).Add(c.who(), l.perSecond())
			}
			r.Row(name, "ms p50", nil, rollcallName, etcdName, natsName).Add(c.who(), l.quantileMillis(0.5))
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
	return nil
}

// streamed drives writers through c, those of Rollcall over one stream.
func streamed(ctx context.Context, s *session, c cluster, through via, writers int) (*load, error) {
	ours, ok := c.(*rollcall)
	if !ok {
		return write(ctx, s, c, through, writers)
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ours.openWriteStream(ctx, through.member(c, leader, 0))
	if err != nil {
		return nil, err
	}
	calls := make([]func(context.Context) error, writers)
	for i := range calls {
		calls[i] = ours.streamWriter(stream, i)
	}
	processes := make([]int, len(c.members()))
	for i, m := range c.members() {
		processes[i] = m.process.pid()
	}
	return drive(ctx, calls, s.duration, processes...)
}
