package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// backup writes a backup of one node into a file.
func (c *virtual) backup(cl *client.Client) string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "backup")
	f, err := os.Create(file)
	must(c.t, err)
	ctx, cancel := context.WithTimeout(c.ctx, virtualPatience)
	defer cancel()
	_, err = cl.ExportSnapshot(ctx, f, client.ExportOptions{})
	must(c.t, err)
	must(c.t, f.Close())
	return file
}

// replace stops all nodes and starts another cluster on their addresses: from a backup, or, with none, with
// nothing.
func (c *virtual) replace(backup string) {
	c.t.Helper()
	token := ""
	for _, n := range c.nodes {
		n.stop()
	}
	for _, n := range c.nodes {
		n.cfg.DataDir = filepath.Join(dataDir(c.t), n.cfg.Name)
		if backup == "" {
			continue
		}
		restored, err := node.Restore(backup, n.cfg, token)
		must(c.t, err)
		token = restored.Token
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
}

// openStreams are one stream of each kind, open while the cluster is replaced. Everything is guarded by mu.
type openStreams struct {
	mu        sync.Mutex
	updates   []client.Update
	state     map[string]client.Status // of the watch of services, as its updates make it
	resets    int
	synced    string // cluster of the last synced update
	events    map[string]int
	eventsErr error
}

func (s *openStreams) locked(f func() bool) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return f()
	}
}

func (c *virtual) openStreams(cl *client.Client, service string) *openStreams {
	s := &openStreams{state: map[string]client.Status{}, events: map[string]int{}}
	c.wg.Go(func() {
		for u, err := range cl.Watch(c.ctx, service) {
			if err != nil {
				if !errors.Is(err, client.ErrClosed) {
					c.t.Errorf("watch: %v", err)
				}
				return
			}
			s.mu.Lock()
			s.updates = append(s.updates, u)
			s.mu.Unlock()
		}
	})
	c.wg.Go(func() {
		for u, err := range cl.WatchServices(c.ctx) {
			if err != nil {
				if !errors.Is(err, client.ErrClosed) {
					c.t.Errorf("watch services: %v", err)
				}
				return
			}
			s.mu.Lock()
			if u.Reset {
				s.resets++
				clear(s.state)
			}
			for _, r := range u.Services {
				s.state[r.GetService()] = r.GetStatus()
			}
			for _, name := range u.Deleted {
				delete(s.state, name)
			}
			s.synced = ""
			if u.Synced {
				s.synced = u.Cluster
			}
			s.mu.Unlock()
		}
	})
	c.wg.Go(func() {
		for batch, err := range cl.WatchEvents(c.ctx, client.WatchEventsOptions{From: 1}) {
			s.mu.Lock()
			s.events[batch.Cluster] += len(batch.Events)
			if s.eventsErr = err; err != nil {
				delete(s.events, "")
			}
			s.mu.Unlock()
		}
	})
	return s
}

// TestVirtualAnotherClusterOnTheSameAddresses replaces a cluster under open streams, by its own backup and by
// nothing. Found before: the streams were silent, as they demanded revisions that the new cluster had not
// reached, and then went on as if its history continued the old one.
func TestVirtualAnotherClusterOnTheSameAddresses(t *testing.T) {
	beside(t, ofVirtualTime)
	for name, restored := range map[string]bool{"restored from a backup": true, "founded anew": false} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				cl, writer := c.client(), c.client()
				defer cl.Close()
				defer writer.Close()
				c.set(writer, "payments", serving)
				c.set(writer, "orders", serving)
				backup := ""
				if restored {
					backup = c.backup(writer)
				}
				for i := range 20 { // what the backup does not have
					c.set(writer, fmt.Sprintf("later/%d", i), serving)
				}
				ctx, cancel := context.WithTimeout(c.ctx, virtualPatience)
				defer cancel()
				before, err := writer.Get(ctx, "orders")
				must(t, err)
				old := before.GetClusterId()
				s := c.openStreams(cl, "payments")
				c.until("the streams", s.locked(func() bool {
					return len(s.updates) == 1 && s.synced == old && len(s.state) == 22 && s.events[old] >= 22
				}))
				page, err := rollcallv1.NewRegistryClient(c.nodes[0].dial()).ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 1})
				must(t, err)
				readEvents := s.events[old]

				c.replace(backup)
				now := c.nodes[0].status().GetClusterId()
				if now == old || now == "" {
					t.Fatalf("the cluster is %q, as before", now)
				}

				// A token of the old cluster is refused, and changes nothing.
				revision := before.GetService().GetReport().GetRevision()
				_, err = writer.Set(ctx, "orders", notServing, client.WriteOptions{IfRevision: &revision})
				var refused *client.Error
				if !errors.Is(err, client.ErrClusterChanged) || !errors.As(err, &refused) || refused.Written != client.WrittenNo || refused.ClusterID != now {
					t.Errorf("a write on a condition of the old cluster: %v", err)
				}
				for _, err := range rawRefusals(ctx, c.nodes[1].dial(), old, page.GetNextPageToken()) {
					if status.Code(err) != codes.FailedPrecondition {
						t.Errorf("a stock client's request for the old cluster: %v", err)
					}
				}

				// Streams of the old one end, or go on with the new one and say so.
				c.set(writer, "payments", notServing)
				c.set(writer, "new", serving)
				want := map[string]client.Status{"payments": notServing, "new": serving}
				if restored {
					want["orders"] = serving
				}
				took := c.until("the streams to go on", s.locked(func() bool {
					return s.eventsErr != nil && s.synced == now && maps.Equal(s.state, want) &&
						s.updates[len(s.updates)-1].Status == notServing && s.updates[len(s.updates)-1].Cluster == now
				}))
				if took > 15*time.Second {
					t.Errorf("it took them %s", took)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				changed := 0
				for _, u := range s.updates {
					if u.ClusterChanged {
						changed++
					}
				}
				if changed != 1 || s.resets != 1 {
					t.Errorf("the watch told %d changes of cluster, that of services %d", changed, s.resets)
				}
				if !errors.Is(s.eventsErr, client.ErrClusterChanged) || len(s.events) != 1 || s.events[old] != readEvents {
					t.Errorf("events of %v, then %v", s.events, s.eventsErr)
				}
			})
		})
	}
}

// rawRefusals makes the calls of a stock client that names the cluster of its tokens.
func rawRefusals(ctx context.Context, conn *grpc.ClientConn, cluster, pageToken string) []error {
	named := metadata.AppendToOutgoingContext(ctx, "rollcall-cluster", cluster, "rollcall-min-revision", "22")
	registry := rollcallv1.NewRegistryClient(conn)
	_, byToken := registry.ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 1, PageToken: pageToken})
	_, byMinimum := registry.GetService(named, &rollcallv1.GetServiceRequest{Service: "payments"})
	onlyNamed := metadata.AppendToOutgoingContext(ctx, "rollcall-cluster", cluster)
	_, byCondition := rollcallv1.NewAdminClient(conn).SetServingStatus(onlyNamed, &rollcallv1.SetServingStatusRequest{
		Service: "payments", Status: unknown.Enum(), IfRevision: proto.Int64(1),
	})
	events, byCursor := registry.WatchEvents(onlyNamed, &rollcallv1.WatchEventsRequest{FromRevision: 23})
	if byCursor == nil {
		_, byCursor = events.Recv()
	}
	return []error{byToken, byMinimum, byCondition, byCursor}
}

// firstState reads a node's watch of services up to the first message that is synced.
func firstState(ctx context.Context, t *testing.T, n *virtualNode) (services int, first, synced time.Duration) {
	t.Helper()
	began := time.Now()
	stream, err := rollcallv1.NewRegistryClient(n.dial()).WatchServices(ctx, &rollcallv1.WatchServicesRequest{}, grpc.WaitForReady(true))
	must(t, err)
	for {
		m, err := stream.Recv()
		must(t, err)
		if first == 0 {
			first = time.Since(began) + 1
		}
		services += len(m.GetServices()) - len(m.GetDeleted())
		if m.GetSynced() {
			return services, first, time.Since(began)
		}
	}
}

// TestVirtualWatchServicesIsSyncedWhenAllIsThere cuts a node off, as a stopped process is, and asks it for its
// services when it is back: it does not say that it has sent all before it has what was acknowledged
// meanwhile. Found before: an empty first state, synced.
func TestVirtualWatchServicesIsSyncedWhenAllIsThere(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		leader := c.leader()
		away := c.others(leader)[0]
		c.net.Isolate(memnet.Stall, away.cfg.Name)
		cl := c.client(c.others(away)...)
		defer cl.Close()
		for i := range 30 {
			c.set(cl, fmt.Sprintf("shop/%d", i), serving)
		}
		time.Sleep(20 * time.Second)
		ctx, cancel := context.WithTimeout(c.ctx, virtualPatience)
		defer cancel()
		if services, first, synced := firstState(ctx, t, away); services != 0 || first > time.Second || synced < 3*time.Second || synced > 5*time.Second {
			t.Errorf("alone: %d services, first after %s, synced after %s", services, first, synced)
		}
		healed := make(chan struct{})
		c.wg.Go(func() {
			time.Sleep(500 * time.Millisecond)
			c.net.Heal()
			close(healed)
		})
		services, first, synced := firstState(ctx, t, away)
		<-healed
		if services != 30 || first > time.Second {
			t.Errorf("back: %d services of 30, first after %s, synced after %s", services, first, synced)
		}
	})
}
