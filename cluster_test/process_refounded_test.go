package cluster_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// seen is what a watch of "payments" said last.
type seen struct {
	what string
	mu   sync.Mutex // guards what follows
	client.Status
	cluster string
	err     error
}

func (s *seen) set(status client.Status, cluster string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Status, s.cluster, s.err = status, cluster, err
}

// shows waits until the watch says that payments has a status in a cluster.
func (s *seen) shows(t *testing.T, status client.Status, cluster string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s of payments in cluster %s, %s", status, cluster, s.what), func(context.Context) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err != nil {
			t.Fatalf("%s: %v", s.what, s.err)
		}
		return s.Status == status && s.cluster == cluster
	})
}

// services takes what an update says of payments.
func (s *seen) services(u client.ServicesUpdate) {
	status := s.Status
	if u.Reset {
		status = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	}
	for _, r := range u.Services {
		if r.GetService() == "payments" {
			status = r.GetStatus()
		}
	}
	for _, name := range u.Deleted {
		if name == "payments" {
			status = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		}
	}
	s.set(status, u.Cluster, nil)
}

// TestProcessRefoundedUnderOpenWatches kills all nodes at the same moment, has them found a cluster anew with empty
// directories, and does so again: each kind of watch sees the first flip in the new cluster, whose revisions begin anew, and
// those after it. Found before: watches demanded the revision that they had seen, and never saw a flip again.
func TestProcessRefoundedUnderOpenWatches(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	for i := range 20 { // revisions that the new cluster does not reach soon
		c.set(fmt.Sprintf("earlier/%d", i), serving)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	var watches []*seen
	follow := func(what string, run func(s *seen)) {
		s := &seen{what: what}
		watches = append(watches, s)
		following.Go(func() { run(s) })
	}
	cl := c.client()
	e := cl.Endpoints()
	for what, ctx := range map[string]context.Context{
		"all":  ctx,
		"one":  client.WithEndpoints(ctx, e[2]),
		"half": client.WithEndpoints(ctx, e[1], e[0]),
	} {
		follow("Watch at "+what, func(s *seen) {
			for u, err := range cl.Watch(ctx, "payments") {
				if s.set(u.Status, u.Cluster, err); ctx.Err() != nil {
					return
				}
			}
		})
		for name, updates := range map[string]func(func(client.ServicesUpdate, error) bool){
			"WatchServices at ": cl.WatchServices(ctx, "pay"),
			"WatchNames at ":    cl.WatchNames(ctx, "payments"),
		} {
			follow(name+what, func(s *seen) {
				for u, err := range updates {
					switch {
					case ctx.Err() != nil:
						return
					case err != nil:
						s.set(0, "", err)
						return
					}
					s.services(u)
				}
			})
		}
	}
	now := func() string {
		t.Helper()
		var id string
		eventually(t, "the cluster's id", func(ctx context.Context) bool {
			status, err := c.client().ClusterStatus(ctx)
			id = status.GetClusterId()
			return err == nil && id != ""
		})
		return id
	}
	id := now()
	for _, w := range watches {
		w.shows(t, serving, id)
	}
	for round := range 2 {
		for _, p := range c.nodes {
			p.signal(syscall.SIGKILL)
		}
		for _, p := range c.nodes {
			p.kill()
			p.data = filepath.Join(t.TempDir(), fmt.Sprintf("anew-%d", round))
		}
		c.start()
		c.waitReady()
		old := id
		if id = now(); id == old {
			t.Fatalf("it is still cluster %s", id)
		}
		for _, status := range []client.Status{notServing, serving} {
			c.set("payments", status)
			for _, w := range watches {
				w.shows(t, status, id)
			}
		}
	}
}
