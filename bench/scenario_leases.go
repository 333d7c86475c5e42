package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/bench/report"
	"github.com/rollcallhq/rollcall/bench/workload"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

var leasesScenario = scenario{
	name:  "leases",
	title: "Leases",
	about: "Renewals: 10,000 leases with a TTL of 10 s, each renewed every second through a follower, by a process of its own, on 100 connections: on a stream for each lease, and on 100 streams with 100 leases each. Processor time is what the nodes' processes use beyond what they use while there is nothing to do; log entries are those that the leader applied meanwhile. Expiry: one lease holds 100,000 services; its reporter falls silent. Longest apply: a benchmark of Rollcall's package fsm, in process, over the entries of one expiry. Others' writes: 8 writers through the leader, one write after the other, from when the first service turned until the last one had.",
	run:   runLeases,
}

// renewedLeases is how many are renewed.
const renewedLeases = 10_000

func runLeases(ctx context.Context, s *session, r *report.Scenario) error {
	for range s.rounds {
		for _, part := range []func(context.Context, *session, *report.Scenario) error{renewals, expiryEntries, expiryBesideWrites} {
			if err := part(ctx, s, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// renewals measures each way on a cluster of its own, so that no lease of another expires meanwhile.
func renewals(ctx context.Context, s *session, r *report.Scenario) error {
	for _, streams := range []int{renewedLeases, 100} {
		c, err := newRollcall(s, 3)
		if err != nil {
			return err
		}
		err = renewOn(ctx, s, r, c, streams)
		closeCluster(c)
		if err != nil {
			return fmt.Errorf("%d streams: %w", streams, err)
		}
	}
	return nil
}

func renewOn(ctx context.Context, s *session, r *report.Scenario, c *rollcall, streams int) error {
	if err := open(ctx, c); err != nil {
		return err
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	follower := viaFollower.member(c, leader, 0)
	used := func(long time.Duration) (u nodesUse, err error) {
		return useOf(ctx, c, leader, follower, long)
	}
	s.progress("nothing to do")
	idle, err := used(2 * s.duration)
	if err != nil {
		return err
	}
	s.progress("%d leases on %d streams", renewedLeases, streams)
	w, err := openRenewers(s, c.apis[follower], 100, streams, renewedLeases)
	if err != nil {
		return err
	}
	defer w.close()
	if err := pause(ctx, s.duration); err != nil { // until what granting left behind is done
		return err
	}
	before, err := w.renewed()
	if err != nil {
		return err
	}
	begun := time.Now()
	busy, err := used(4 * s.duration)
	if err != nil {
		return err
	}
	after, err := w.renewed()
	if err != nil {
		return err
	}
	rate := float64(after-before) / time.Since(begun).Seconds()
	if want := float64(renewedLeases) / renewEvery.Seconds(); rate < 0.95*want {
		return fmt.Errorf("%.0f renewals/s of %.0f", rate, want)
	}
	var node *report.Bar
	if streams == renewedLeases {
		node = report.AtMost(25, 0)
	}
	work := fmt.Sprintf("10,000 leases renewed each second, %s streams", report.Number(float64(streams)))
	r.Row(work, "log entries", report.AtMost(0, 0), rollcallName).Add(rollcallName, max(busy.entries-idle.entries, 0))
	r.Row(work, "% of a core, the leader", report.AtMost(3, 0), rollcallName).Add(rollcallName, busy.leader-idle.leader)
	r.Row(work, "% of a core, the node that holds the streams", node, rollcallName).Add(rollcallName, busy.follower-idle.follower)
	r.Row("nothing to do", "% of a core, the leader", nil, rollcallName).Add(rollcallName, idle.leader)
	r.Row("nothing to do", "% of a core, a follower", nil, rollcallName).Add(rollcallName, idle.follower)
	return nil
}

// nodesUse is what nodes used in a time.
type nodesUse struct {
	leader, follower float64 // % of a core
	entries          float64 // that were applied
}

func useOf(ctx context.Context, c *rollcall, leader, follower int, long time.Duration) (u nodesUse, err error) {
	read := func() (l, f time.Duration, entries float64, err error) {
		if l, err = cpuTime(c.nodes[leader].process.pid()); err != nil {
			return
		}
		if f, err = cpuTime(c.nodes[follower].process.pid()); err != nil {
			return
		}
		entries, err = metric(ctx, c.nodes[leader].profiles+"/metrics", "rollcall_applied_index")
		return
	}
	l0, f0, entries0, err := read()
	if err != nil {
		return u, err
	}
	begun := time.Now()
	if err := pause(ctx, long); err != nil {
		return u, err
	}
	took := time.Since(begun)
	l1, f1, entries1, err := read()
	return nodesUse{
		leader: 100 * (l1 - l0).Seconds() / took.Seconds(), follower: 100 * (f1 - f0).Seconds() / took.Seconds(),
		entries: entries1 - entries0,
	}, err
}

// expiryEntries runs the benchmark of package fsm.
func expiryEntries(ctx context.Context, s *session, r *report.Scenario) error {
	f, err := s.fsmBenchmark(ctx, "^BenchmarkExpiryOfManyServices$", "3x")
	if err != nil {
		return err
	}
	for _, c := range []struct{ sub, work string }{
		{"watched=none", "expiry of 100,000 services on one lease"}, {"watched=all", "the same, all of them watched"},
	} {
		longest, err := figure(f, c.sub, "ms/longest-apply")
		if err != nil {
			return err
		}
		r.Row(c.work, "ms, longest apply of an entry", report.AtMost(50, 0), rollcallName).Add(rollcallName, longest)
	}
	return nil
}

// expiringServices are on one lease.
const expiringServices = 100_000

func expiryBesideWrites(ctx context.Context, s *session, r *report.Scenario) error {
	c, err := newRollcall(s, 3)
	if err != nil {
		return err
	}
	defer closeCluster(c)
	if err := open(ctx, c); err != nil {
		return err
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	s.progress("100,000 services on one lease")
	if err := c.leased(ctx, leader, expiringServices, 10*time.Second); err != nil {
		return err
	}
	if err := c.settled(ctx); err != nil { // within the TTL
		return err
	}
	writing, cancel := context.WithCancel(ctx)
	defer cancel()
	writers := make([]timedWriter, 8)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range writers {
		call := c.writer(leader, i)
		wg.Go(func() { writers[i].run(writing, call) })
	}
	turned := make([]time.Time, 2)
	for i, service := range []int{0, expiringServices - 1} {
		if turned[i], err = c.turned(ctx, leader, workload.Service(service)); err != nil {
			return err
		}
	}
	cancel()
	wg.Wait()
	var during []time.Duration
	for i := range writers {
		if writers[i].err != nil {
			return writers[i].err
		}
		for _, w := range writers[i].writes {
			if w.begun.Add(w.took).After(turned[0]) && w.begun.Before(turned[1]) {
				during = append(during, w.took)
			}
		}
	}
	if len(during) == 0 {
		return fmt.Errorf("no write ended while services expired")
	}
	slices.Sort(during)
	const work = "others' writes while 100,000 services of one lease expire"
	r.Row(work, "ms p99", report.AtMost(100, 0), rollcallName).Add(rollcallName, millis(report.Quantile(during, 0.99)))
	r.Row(work, "ms p50", nil, rollcallName).Add(rollcallName, millis(report.Quantile(during, 0.5)))
	r.Row(work, "ms, from the first service to the last", nil, rollcallName).Add(rollcallName, millis(turned[1].Sub(turned[0])))
	return nil
}

// leased makes services SERVING that are attached to one lease.
func (c *rollcall) leased(ctx context.Context, member, services int, ttl time.Duration) error {
	admin := rollcallv1.NewAdminClient(c.conns[member])
	var lease *rollcallv1.GrantLeaseResponse
	err := c.nodes[member].process.until(ctx, "of the feature level that has leases", func(ctx context.Context) (err error) {
		lease, err = admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(ttl), Actor: "bench"})
		return err
	})
	if err != nil {
		return err
	}
	return inParallel(4, 0, services, 1000, func(first, n int) error {
		req := &rollcallv1.BatchSetServingStatusRequest{Reason: "probe answered", Actor: "bench"}
		for i := first; i < first+n; i++ {
			req.Changes = append(req.Changes, &rollcallv1.StatusChange{
				Service: workload.Service(i), Status: healthpb.HealthCheckResponse_SERVING.Enum(), LeaseId: lease.GetLeaseId()})
		}
		_, err := admin.BatchSetServingStatus(ctx, req)
		return err
	})
}

// turned waits until a service is NOT_SERVING.
func (c *rollcall) turned(ctx context.Context, member int, service string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := healthpb.NewHealthClient(c.conns[member]).Watch(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		return time.Time{}, err
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return time.Time{}, fmt.Errorf("watch %s: %w", service, err)
		}
		if res.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING {
			return time.Now(), nil
		}
	}
}

// timedWriter makes one write after the other and notes when.
type timedWriter struct {
	writes []timedWrite
	err    error
}

type timedWrite struct {
	begun time.Time
	took  time.Duration
}

func (w *timedWriter) run(ctx context.Context, call func(context.Context) error) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := call(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.err = err
			return
		}
		w.writes = append(w.writes, timedWrite{begun, time.Since(begun)})
	}
}
