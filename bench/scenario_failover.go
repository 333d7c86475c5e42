package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/bench/report"
)

var failoverScenario = scenario{
	name:  "failover",
	title: "Failover",
	about: "The process of the leader is killed (SIGKILL); from then on a write is sent through each of the two others every 5 ms, without waiting for those before it, until one is acknowledged. Before the next kill the killed node is back and up to date.",
	run:   runFailover,
}

func runFailover(ctx context.Context, s *session, r *report.Scenario) error {
	clusters, err := threeOfEach(ctx, s, false)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		defer closeCluster(c)
	}
	all := map[string][]float64{}
	err = eachRound(s, clusters, func(c cluster) error {
		var times []float64
		for kill := range s.kills {
			s.progress("%s, kill %d of %d", c.who(), kill+1, s.kills)
			took, err := failover(ctx, c, kill)
			if err != nil {
				return fmt.Errorf("%s: %w", c.who(), err)
			}
			times = append(times, millis(took))
		}
		all[c.who()] = append(all[c.who()], times...)
		least, greatest := report.Range(times)
		r.Row("kill -9 of the leader to an acknowledged write, median of a round", "ms", report.RatioAtMost(0.8, 0.2), rollcallName, etcdName).Add(c.who(), report.Median(times))
		r.Row("the shortest of a round", "ms", nil, rollcallName, etcdName).Add(c.who(), least)
		r.Row("the longest of a round", "ms", nil, rollcallName, etcdName).Add(c.who(), greatest)
		return nil
	})
	for _, c := range clusters {
		if times := all[c.who()]; len(times) > 0 {
			least, greatest := report.Range(times)
			r.Note("%s: %d kills, median %s ms, %s to %s ms.", c.who(), len(times), report.Number(report.Median(times)), report.Number(least), report.Number(greatest))
		}
	}
	return err
}

// failover kills c's leader, and starts it again when a write has been acknowledged.
func failover(ctx context.Context, c cluster, id int) (time.Duration, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	for i := range c.members() { // connections stand, as those of clients do
		if err := c.writer(i, id)(ctx); err != nil {
			return 0, err
		}
	}
	// At a fixed time after the last write, heartbeats would always have the same age.
	if err := pause(ctx, time.Duration(id*37%200)*time.Millisecond); err != nil {
		return 0, err
	}
	killed := c.members()[leader]
	begun := time.Now()
	killed.kill()
	took, err := firstAcknowledged(ctx, c, leader, begun)
	if err != nil {
		return 0, err
	}
	if err := killed.start(); err != nil {
		return 0, err
	}
	if err := c.ready(ctx); err != nil {
		return 0, err
	}
	// An election because the node returned must be over before the next kill.
	return took, pause(ctx, 500*time.Millisecond)
}

// firstAcknowledged returns how long after begun the first write through a member that lives was
// acknowledged.
func firstAcknowledged(ctx context.Context, c cluster, dead int, begun time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel() // before waiting for them
	acknowledged := make(chan time.Duration, 1)
	id := 0
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		for i := range c.members() {
			if i == dead {
				continue
			}
			id++
			write := c.writer(i, 1000+id)
			tries.Go(func() {
				if write(ctx) != nil {
					return
				}
				select {
				case acknowledged <- time.Since(begun):
				default: // another was first
				}
			})
		}
		select {
		case took := <-acknowledged:
			return took, nil
		case <-ctx.Done():
			return 0, errors.New("no write was acknowledged after the leader was killed")
		case <-ticks.C:
		}
	}
}
