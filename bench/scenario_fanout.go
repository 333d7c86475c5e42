package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/bench/report"
	"github.com/rollcallhq/rollcall/bench/workload"
)

var fanoutScenario = scenario{
	name:  "fanout",
	title: "Watches: fan-out, its effect on others, memory",
	about: "10,000 watch streams of one service on 100 connections, held by a process of their own, on a server that has just started. A flip is timed from the call that sets the status (in Rollcall a durable write through the node that is watched; in health.Server a call in its process) to the moment the last stream has received it. Longest Check: one caller on a connection of its own, one Check of another service after the other, while flips follow each other every 250 ms; with the streams, and after they have gone. Memory: growth of the resident set per stream, garbage collected before and after; per connection: 2,000 connections with one watch each, on another fresh server.",
	run:   runFanout,
}

const (
	watched   = 0 // the service that flips
	unrelated = 1 // the one that is Checked
)

func runFanout(ctx context.Context, s *session, r *report.Scenario) error {
	const onFollower = "Rollcall, a follower"
	kinds := []func(context.Context) (statusServer, error){
		func(ctx context.Context) (statusServer, error) { return newRollcallStatuses(ctx, s, viaLeader) },
		func(ctx context.Context) (statusServer, error) { return newHealthStatuses(ctx, s) },
		func(ctx context.Context) (statusServer, error) {
			c, err := newRollcallStatuses(ctx, s, viaFollower)
			if err == nil {
				c.label = onFollower
			}
			return c, err
		},
	}
	row := func(work, unit string, bar *report.Bar) *report.Row {
		return r.Row(work, unit, bar, rollcallName, healthName, onFollower)
	}
	return eachRound(s, kinds, func(make func(context.Context) (statusServer, error)) error {
		f, who, err := measureFanout(ctx, s, make)
		if err != nil {
			return err
		}
		row("flip to the last of 10,000 streams", "ms", report.RatioAtMost(1, 0.7)).Add(who, f.last)
		row("memory of an idle stream", "KiB", report.RatioAtMost(1, 0.7)).Add(who, f.stream)
		row("memory of an idle connection with one watch", "KiB", report.RatioAtMost(0.6, 0.42)).Add(who, f.connection)
		row("longest unrelated Check during fan-out, beyond that without", "ms", report.AtMost(10, 5)).Add(who, f.longest-f.alone)
		row("longest unrelated Check during fan-out", "ms", nil).Add(who, f.longest)
		row("longest unrelated Check of each fan-out, median", "ms", nil).Add(who, f.longestMedian)
		row("longest unrelated Check, the same flips, nobody watches", "ms", nil).Add(who, f.alone)
		row("longest unrelated Check of each such flip, median", "ms", nil).Add(who, f.aloneMedian)
		return nil
	})
}

// fanout is what one round found. Times are in ms, memory in KiB.
type fanout struct {
	last, longest, longestMedian, alone, aloneMedian, stream, connection float64
}

func measureFanout(ctx context.Context, s *session, make func(context.Context) (statusServer, error)) (*fanout, string, error) {
	f := &fanout{}
	c, err := make(ctx)
	if err != nil {
		return nil, "", err
	}
	who := c.who()
	err = f.withStreams(ctx, s, c)
	c.close()
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", who, err)
	}
	if c, err = make(ctx); err != nil {
		return nil, "", err
	}
	defer c.close()
	s.progress("%s: 2,000 connections", who)
	if err := c.fill(ctx, 0, 10); err != nil {
		return nil, "", err
	}
	w, grown, err := idleWatchers(ctx, s, c, 2000, 2000)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", who, err)
	}
	w.close()
	f.connection = grown
	return f, who, nil
}

func (f *fanout) withStreams(ctx context.Context, s *session, c statusServer) error {
	s.progress("%s: 10,000 streams", c.who())
	if err := c.fill(ctx, 0, 10); err != nil {
		return err
	}
	w, grown, err := idleWatchers(ctx, s, c, 100, 10_000)
	if err != nil {
		return err
	}
	defer w.close()
	f.stream = grown
	status := healthpb.HealthCheckResponse_SERVING
	flip := func() (time.Duration, error) {
		status = other(status)
		return flipToLast(ctx, c, w, status)
	}
	var flips []float64
	for range 10 {
		took, err := flip()
		if err != nil {
			return err
		}
		flips = append(flips, millis(took))
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	f.last = report.Median(flips)
	f.longest, f.longestMedian, err = longestChecks(ctx, s, c, func() error { _, err := flip(); return err })
	if err != nil {
		return err
	}
	w.close()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	f.alone, f.aloneMedian, err = longestChecks(ctx, s, c, func() error {
		status = other(status)
		return c.set(ctx, workload.Service(watched), status)
	})
	return err
}

// idleWatchers opens streams and returns by how much each makes the server's memory grow, in KiB.
func idleWatchers(ctx context.Context, s *session, c statusServer, connections, streams int) (*watchers, float64, error) {
	if err := c.collect(ctx); err != nil {
		return nil, 0, err
	}
	before, _, err := residentBytes(c.pid())
	if err != nil {
		return nil, 0, err
	}
	w, err := openWatchers(s, c.address(), workload.Service(watched), connections, streams)
	if err != nil {
		return nil, 0, err
	}
	if err := c.collect(ctx); err != nil {
		w.close()
		return nil, 0, err
	}
	after, _, err := residentBytes(c.pid())
	if err != nil {
		w.close()
		return nil, 0, err
	}
	return w, float64(after-before) / 1024 / float64(streams), nil
}

// flipToLast sets the watched service's status and waits until every stream has it.
func flipToLast(ctx context.Context, c statusServer, w *watchers, status healthpb.HealthCheckResponse_ServingStatus) (time.Duration, error) {
	begun, err := clock()
	if err != nil {
		return 0, err
	}
	if err := c.set(ctx, workload.Service(watched), status); err != nil {
		return 0, err
	}
	last, err := w.all()
	return last - begun, err
}

// longestChecks flips the status every 250 ms for the session's duration and calls Check all the time. It
// returns the longest Check, and the median of the longest Checks after each flip, in ms.
func longestChecks(ctx context.Context, s *session, c statusServer, flip func() error) (longest, median float64, err error) {
	conn, err := dial(c.address())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	checking, cancel := context.WithCancel(ctx)
	defer cancel()
	flips := make(chan chan float64) // asks for the longest since it last asked
	ended := make(chan error, 1)
	go func() { ended <- checkForLongest(checking, conn, flips) }()
	ask := func() (float64, error) {
		answer := make(chan float64, 1)
		select {
		case flips <- answer:
			return <-answer, nil
		case err := <-ended:
			return 0, err
		}
	}
	if err := pause(ctx, 250*time.Millisecond); err != nil {
		return 0, 0, err
	}
	if _, err := ask(); err != nil { // what connecting took
		return 0, 0, err
	}
	var all []float64
	for begun := time.Now(); time.Since(begun) < s.duration || len(all) < 4; {
		next := time.Now().Add(250 * time.Millisecond)
		if err := flip(); err != nil {
			return 0, 0, err
		}
		if err := pause(ctx, time.Until(next)); err != nil {
			return 0, 0, err
		}
		v, err := ask()
		if err != nil {
			return 0, 0, err
		}
		all = append(all, v)
	}
	return slices.Max(all), report.Median(all), nil
}

func checkForLongest(ctx context.Context, conn *grpc.ClientConn, flips <-chan chan float64) error {
	health := healthpb.NewHealthClient(conn)
	req := &healthpb.HealthCheckRequest{Service: workload.Service(unrelated)}
	longest := time.Duration(0)
	for {
		begun := time.Now()
		_, err := health.Check(ctx, req)
		longest = max(longest, time.Since(begun))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		select {
		case answer := <-flips:
			answer <- millis(longest)
			longest = 0
		default:
		}
	}
}
