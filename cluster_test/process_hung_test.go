package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

var hangs = flag.Int("hangs", 1, "how often TestProcessHungNode stops each node with SIGSTOP, and measures writes meanwhile")

// TestProcessHungNode stops the process of each node in turn with SIGSTOP, the leader too, and writes and reads
// meanwhile: through a client that is connected to the stopped node, one that has yet to connect to it, and those that
// are at the other nodes. No attempt is given up in the time that a call has here: only that others are made beside it
// lets the call end.
func TestProcessHungNode(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	took := map[string][]time.Duration{}
	for round := range *hangs {
		for _, hung := range c.nodes {
			c.waitReady()
			c.caughtUp()
			role := "a follower"
			if hung == c.leader() {
				role = "the leader"
			}
			clients := map[string]*client.Client{}
			for j, first := range c.nodes {
				for _, connected := range []bool{true, false} {
					cfg := client.DefaultConfig()
					cfg.Endpoints, cfg.KeepOrder = slices.Concat(c.endpoints()[j:], c.endpoints()[:j]), true
					cfg.AttemptTimeout = 10 * patience
					cl, err := client.New(cfg)
					must(t, err)
					defer cl.Close()
					if connected {
						_, err = cl.Check(t.Context(), "payments")
						must(t, err)
					}
					clients[fmt.Sprintf("at %s (connected %t)", first.name, connected)] = cl
				}
			}
			hung.signal(syscall.SIGSTOP)
			var all sync.WaitGroup
			var mu sync.Mutex
			for where, cl := range clients {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					began := time.Now()
					_, err := cl.Set(ctx, fmt.Sprintf("hung/%d-%s", round, hung.name), serving, client.WriteOptions{})
					wrote := time.Since(began)
					if err != nil {
						t.Errorf("%s hangs, a client %s: %v", role, where, err)
						return
					}
					began = time.Now()
					if s, err := cl.Check(ctx, "payments"); err != nil || s != healthpb.HealthCheckResponse_SERVING {
						t.Errorf("%s hangs, then a client %s reads %v, %v", role, where, s, err)
					}
					t.Logf("%s, %s, hangs: a write of a client %s took %v, a read then %v", hung.name, role, where, wrote.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
					mu.Lock()
					defer mu.Unlock()
					took[role] = append(took[role], wrote)
				})
			}
			all.Wait()
			hung.signal(syscall.SIGCONT)
		}
	}
	for role, all := range took {
		slices.Sort(all)
		t.Logf("%d writes while %s hangs: p50 %v, max %v", len(all), role, all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	}
}
