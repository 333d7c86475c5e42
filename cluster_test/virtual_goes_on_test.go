package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/rollcallhq/rollcall/client"
)

// received counts what a client's watches of services receive.
type received struct{ messages, bytes atomic.Int64 }

func (r *received) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, r, strings.HasSuffix(info.FullMethodName, "/WatchServices"))
}

func (r *received) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok && ctx.Value(r) == true {
		r.messages.Add(1)
		r.bytes.Add(int64(in.WireLength))
	}
}

func (*received) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*received) HandleConn(context.Context, stats.ConnStats)                       {}

// TestVirtualWatchServicesGoesOn: a watch of 10,000 services that loses its node is sent by the next one what changed
// meanwhile, and not all services again. When it comes back to a node that has started anew, too.
func TestVirtualWatchServicesGoesOn(t *testing.T) {
	beside(t, ofVirtualTime)
	const services, atOnce = 10_000, 500
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		writer := c.client()
		defer writer.Close()
		for from := 0; from < services; from += atOnce {
			var changes []client.Change
			for i := from; i < from+atOnce; i++ {
				changes = append(changes, client.Change{Service: fmt.Sprintf("shop/service-%05d", i), Status: serving})
			}
			if _, err := writer.SetBatch(c.ctx, changes, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		c.caughtUp()
		got := &received{}
		cfg := client.DefaultConfig()
		cfg.Endpoints, cfg.KeepOrder = nil, true
		for _, n := range c.nodes {
			cfg.Endpoints = append(cfg.Endpoints, n.api)
		}
		cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(c.dialer), grpc.WithTransportCredentials(c.creds), grpc.WithStatsHandler(got)}
		reader, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		var mu sync.Mutex // guards what follows
		state, revision, given, at := map[string]client.Status{}, int64(0), 0, ""
		c.wg.Go(func() {
			for u, err := range reader.WatchServices(c.ctx, "shop/") {
				if err != nil {
					return
				}
				mu.Lock()
				for _, r := range u.Services {
					state[r.GetService()] = r.GetStatus()
				}
				for _, name := range u.Deleted {
					delete(state, name)
				}
				given += len(u.Services) + len(u.Deleted)
				if at = u.Endpoint; u.Synced {
					revision = u.Revision
				}
				mu.Unlock()
			}
		})
		// reaches waits until the watch is synced at the revision, at another node than before.
		reaches := func(what string, want int64, other string) (bytes int64) {
			t.Helper()
			c.until(what, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return revision >= want && at != other
			})
			mu.Lock()
			defer mu.Unlock()
			bytes = got.bytes.Swap(0)
			t.Logf("%s: %d messages, %d bytes; %d services were given", what, got.messages.Swap(0), bytes, given)
			return bytes
		}
		whole := reaches("the first state", c.caughtUp(), "")
		if given != services {
			t.Fatalf("%d services", given)
		}
		for i := range 4 {
			mu.Lock()
			given = 0
			before := at
			mu.Unlock()
			for _, n := range c.nodes {
				if n.api == before {
					n.stop()
				}
			}
			changed, deleted := fmt.Sprintf("shop/service-%05d", 2*i), fmt.Sprintf("shop/service-%05d", 2*i+1)
			if _, err := writer.Set(c.ctx, changed, notServing, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Delete(c.ctx, deleted, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.nodes {
				if n.api == before {
					n.start()
				}
			}
			c.waitReady()
			bytes := reaches(fmt.Sprintf("move %d", i+1), c.caughtUp(), before)
			mu.Lock()
			if _, there := state[deleted]; state[changed] != notServing || there || len(state) != services-i-1 {
				t.Errorf("%s is %v, %s is there: %v; %d services", changed, state[changed], deleted, there, len(state))
			}
			if given != 2 || bytes > whole/20 {
				t.Errorf("it was sent %d bytes and gave %d services; all of them are %d bytes, and two had changed", bytes, given, whole)
			}
			mu.Unlock()
		}
	})
}
