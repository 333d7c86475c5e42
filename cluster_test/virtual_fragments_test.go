package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// gRPC's clients refuse a message of more than 4 MiB by default. What a node sends on purpose stays well
// below that.
const wellBelow = 1 << 20

// TestVirtualP6LargeWritesReachStockClients: the largest batches that are allowed, each of whose events or
// records are more than a client takes in one message. Under the race detector, where each takes seconds, a run tries
// one of them at random.
func TestVirtualP6LargeWritesReachStockClients(t *testing.T) {
	beside(t, ofVirtualTime)
	tried := false
	for name, batch := range map[string]struct{ changes, name, reason, actor int }{
		"many changes, a long reason": {10_000, 12, 290, 0},
		"long names":                  {10_000, 256, 20, 0},
		"a very long reason":          {3_200, 30, 1_024, 0},
		"a long actor":                {10_000, 12, 20, 256},
	} {
		if raceEnabled && tried {
			break
		}
		tried = true
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newVirtual(t, 1, nil)
				defer c.close()
				n := c.nodes[0]
				n.start()
				c.waitReady()
				registry := rollcallv1.NewRegistryClient(n.conn)
				ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
				defer cancel()
				near, err := registry.WatchEvents(ctx, &rollcallv1.WatchEventsRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := near.Recv(); err != nil {
					t.Fatal(err)
				}
				state, err := registry.WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
				if err != nil {
					t.Fatal(err)
				}
				records := map[string]*rollcallv1.ServiceRecord{}
				apply := func() int64 {
					for {
						m, err := state.Recv()
						if err != nil {
							t.Fatalf("WatchServices: %v", err)
						}
						if size := proto.Size(m); size > wellBelow {
							t.Fatalf("WatchServices sent %d bytes at once", size)
						}
						for _, r := range m.GetServices() {
							records[r.GetService()] = r
						}
						if m.GetSynced() {
							return m.GetRevision()
						}
					}
				}
				apply()
				var changes []client.Change
				for i := range batch.changes {
					service := fmt.Sprintf("%06d/", i)
					changes = append(changes, client.Change{Service: service + strings.Repeat("n", batch.name-len(service)), Status: serving})
				}
				req := &rollcallv1.BatchSetServingStatusRequest{
					Reason: strings.Repeat("r", batch.reason), Actor: strings.Repeat("a", batch.actor), RequestId: strings.Repeat("i", 64),
				}
				for _, ch := range changes {
					req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: ch.Service, Status: ch.Status.Enum()})
				}
				admin := rollcallv1.NewAdminClient(n.conn)
				res, err := admin.BatchSetServingStatus(ctx, req)
				if err != nil {
					t.Fatal(err)
				}
				// And again: the first answer, from what is remembered.
				if again, err := admin.BatchSetServingStatus(ctx, req); err != nil || again.GetRevision() != res.GetRevision() {
					t.Fatalf("the second try: %v", err)
				}
				follow := func(what string, stream rollcallv1.Registry_WatchEventsClient, whole int64) {
					t.Helper()
					next, fragments := res.GetRevision()-int64(batch.changes)+1, 0
					for whole < res.GetRevision() {
						m, err := stream.Recv()
						if err != nil {
							t.Fatalf("%s: %v", what, err)
						}
						if size := proto.Size(m); size > wellBelow {
							t.Fatalf("%s: %d bytes at once", what, size)
						}
						for _, e := range m.GetEvents() {
							if e.GetService() == "" || e.GetRevision() < next {
								continue // of before
							}
							if e.GetRevision() != next {
								t.Fatalf("%s: event %d, want %d", what, e.GetRevision(), next)
							}
							next++
						}
						if m.GetMore() {
							fragments++
							if m.GetRevision() != whole {
								t.Fatalf("%s: a fragment says revision %d, but what is whole ends at %d", what, m.GetRevision(), whole)
							}
							continue
						}
						whole = m.GetRevision()
					}
					if next != res.GetRevision()+1 || fragments == 0 {
						t.Errorf("%s: came to event %d of %d in %d fragments", what, next-1, res.GetRevision(), fragments)
					}
				}
				follow("close behind", near, res.GetRevision()-int64(batch.changes))
				for at := int64(0); at < res.GetRevision(); {
					at = apply()
				}
				if len(records) != batch.changes {
					t.Errorf("WatchServices told of %d services", len(records))
				}
				n.stop() // and what was in memory is forgotten
				n.start()
				c.waitReady()
				far, err := rollcallv1.NewRegistryClient(n.conn).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
				if err != nil {
					t.Fatal(err)
				}
				follow("from the first", far, 0)

				// Our client hands on whole writes only.
				cl := c.client()
				defer cl.Close()
				for b, err := range cl.WatchEvents(ctx, client.WatchEventsOptions{From: 1}) {
					if err != nil {
						t.Fatal(err)
					}
					if len(b.Events) > 0 && b.Events[len(b.Events)-1].GetRevision() != b.Events[len(b.Events)-1].GetCommitRevision() {
						t.Fatal("a batch ends within an atomic write")
					}
					if b.Revision == res.GetRevision() {
						break
					}
				}
				// Pages shrink.
				listed := 0
				for req := (&rollcallv1.ListServicesRequest{PageSize: 10_000}); ; {
					page, err := rollcallv1.NewRegistryClient(n.conn).ListServices(ctx, req)
					if err != nil {
						t.Fatalf("ListServices: %v", err)
					}
					listed += len(page.GetServices())
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						break
					}
				}
				events := 0
				for req := (&rollcallv1.ListEventsRequest{PageSize: 10_000, FromRevision: 1}); ; {
					page, err := rollcallv1.NewRegistryClient(n.conn).ListEvents(ctx, req)
					if err != nil {
						t.Fatalf("ListEvents: %v", err)
					}
					events += len(page.GetEvents())
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						break
					}
				}
				if listed != batch.changes || events < batch.changes {
					t.Errorf("%d services and %d events are listed", listed, events)
				}
			})
		})
	}
}
