package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/bench/report"
)

var batchesScenario = scenario{
	name:  "batches",
	title: "Batches of 100 changes",
	about: "32 writers through the leader of three nodes, each one atomic batch of 100 changes after the other (etcd: a transaction of 100 puts). Rollcall's clock runs until all three nodes show and have stored every change.",
	run:   runBatches,
}

func runBatches(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, false)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	turns := map[string][]int{} // of each contestant's writers, how many batches they made so far
	for _, c := range clusters {
		turns[c.who()] = make([]int, batchWriters)
	}
	return eachRound(s, clusters, func(c cluster) error {
		s.progress("%s", c.who())
		rate, p50, err := batches(ctx, s, c, turns[c.who()])
		if err != nil {
			return fmt.Errorf("%s: %w", c.who(), err)
		}
		r.Row("32 writers of batches of 100", "changes/s", report.AtLeast(100_000, 250_000), rollcallName, etcdName).Add(c.who(), rate)
		r.Row("32 writers of batches of 100", "ms p50 of a batch", nil, rollcallName, etcdName).Add(c.who(), p50)
		return nil
	})
}

const batchWriters, batchSize = 32, 100

func batches(ctx context.Context, s *session, c cluster, turns []int) (perSecond, p50 float64, err error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return 0, 0, err
	}
	latencies := make([][]time.Duration, batchWriters)
	errs := make([]error, batchWriters)
	begun := time.Now()
	var wg sync.WaitGroup
	for w := range batchWriters {
		wg.Go(func() {
			for errs[w] == nil && time.Since(begun) < s.duration && ctx.Err() == nil {
				before := time.Now()
				switch c := c.(type) {
				case *rollcall:
					status := healthpb.HealthCheckResponse_SERVING
					if turns[w]%2 == 1 {
						status = healthpb.HealthCheckResponse_NOT_SERVING
					}
					_, errs[w] = c.batch(ctx, leader, w*batchSize, batchSize, status)
				case *etcd:
					errs[w] = c.batch(ctx, leader, w*batchSize, batchSize, turns[w])
				}
				turns[w]++
				latencies[w] = append(latencies[w], time.Since(before))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return 0, 0, err
	}
	if c, ok := c.(*rollcall); ok {
		if err := c.settled(ctx); err != nil {
			return 0, 0, err
		}
	}
	took := time.Since(begun)
	all := slices.Concat(latencies...)
	made := len(all) * batchSize
	slices.Sort(all)
	return float64(made) / took.Seconds(), millis(report.Quantile(all, 0.5)), nil
}
