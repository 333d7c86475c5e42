package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/client"
)

// numbered writes numbers through one client until ctx ends, and counts those that failed.
type numbered struct {
	service string
	last    int
	failed  int
}

func (w *numbered) run(ctx context.Context, t *testing.T, cl *client.Client) {
	for ctx.Err() == nil {
		w.last++
		s := serving
		if w.last%2 == 0 {
			s = notServing
		}
		attempt, done := context.WithTimeout(context.Background(), 5*time.Second)
		if _, err := cl.Set(attempt, w.service, s, client.WriteOptions{Reason: strconv.Itoa(w.last)}); err != nil {
			if w.failed++; w.failed == 1 {
				t.Errorf("%s: write %d: %v", w.service, w.last, err)
			}
		}
		done()
		time.Sleep(20 * time.Millisecond)
	}
}

// TestVirtualUpgradeFailsNoWrite upgrades a cluster of the base level, one node after the other, while clients write
// through each node and watch at each: no write fails and no watch misses one, while the levels are mixed, while a member
// holds the level down, and when it rises.
func TestVirtualUpgradeFailsNoWrite(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, size := range []int{3, 5} {
		t.Run(fmt.Sprint(size, " nodes"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newVirtual(t, size, likeInProduction)
				defer c.close()
				for _, n := range c.nodes {
					n.cfg.Version, n.cfg.Faults.MaxLevel = "v0.9.0", logv1.BaseLevel
					n.start()
				}
				c.waitReady()
				c.awaitLevel(logv1.BaseLevel)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				var writing, watching sync.WaitGroup
				writers, watches := make([]*numbered, size), make([]map[string][]int, size)
				following, unfollow := context.WithCancel(context.Background())
				defer unfollow()
				for i := range c.nodes {
					cl := c.client(append(slices.Clone(c.nodes[i:]), c.nodes[:i]...)...)
					defer cl.Close()
					writers[i], watches[i] = &numbered{service: fmt.Sprint("w", i)}, map[string][]int{}
					writing.Go(func() { writers[i].run(ctx, t, cl) })
					watching.Go(func() {
						for batch, err := range cl.WatchEvents(following, client.WatchEventsOptions{From: 1}) {
							if err != nil && following.Err() == nil {
								t.Errorf("the watch at %s ended: %v", c.nodes[i].cfg.Name, err)
							}
							for _, e := range batch.Events {
								if n, err := strconv.Atoi(e.GetReason()); err == nil {
									watches[i][e.GetService()] = append(watches[i][e.GetService()], n)
								}
							}
						}
					})
				}
				leader := c.leader()
				order := append(c.others(leader), leader)
				holds := order[0]
				for _, n := range order {
					n.cfg.Version, n.cfg.Faults.MaxLevel = "v1.0.0", logv1.Level
					if n == holds {
						n.cfg.HoldLevel = logv1.BaseLevel
					}
					n.restart()
					time.Sleep(time.Second)
				}
				time.Sleep(10 * time.Second)
				if level := c.leader().status().GetLevel(); level != logv1.BaseLevel {
					t.Errorf("the level rose to %d although %s holds it", level, holds.cfg.Name)
				}
				holds.cfg.HoldLevel = 0
				holds.restart()
				c.awaitLevel(logv1.Level)
				time.Sleep(time.Second)
				cancel()
				writing.Wait()
				c.agree()
				time.Sleep(time.Second)
				unfollow()
				watching.Wait()
				for i, w := range writers {
					if w.failed > 0 {
						t.Errorf("%d of %d writes of %s failed", w.failed, w.last, w.service)
					}
					for at, got := range watches {
						want := make([]int, w.last)
						for n := range want {
							want[n] = n + 1
						}
						if !slices.Equal(got[fmt.Sprint("w", i)], want) {
							t.Errorf("the watch at %s was given %d events of %d writes of %s", c.nodes[at].cfg.Name, len(got[w.service]), w.last, w.service)
						}
					}
				}
			})
		})
	}
}
