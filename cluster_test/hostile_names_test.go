package cluster_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

// TestP8UnreadWatchesOfManyNamesAreBounded: watches of 10,000 names each, which are not read, are refused when their
// connection holds what it may. What the node holds is no more than it counts. Those that are refused, and those that
// go, leave nothing.
func TestP8UnreadWatchesOfManyNamesAreBounded(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, func(c *node.Config) { c.ClientMemory = 192 << 20 })
	s.set("payments", serving)
	s.fill(1)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()
	conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	registry := rollcallv1.NewRegistryClient(conn)
	opened := 0
	for range 20 {
		stream, err := registry.WatchServices(ctx, &rollcallv1.WatchServicesRequest{Services: filledNames(10_000)})
		if err == nil {
			_, err = stream.Recv() // and no more
		}
		if err == nil {
			opened++
			continue
		}
		if got := quotaOf(err); status.Code(err) != codes.ResourceExhausted || got != "stream-bytes-per-connection" {
			t.Fatalf("watch %d: %v, quota %q", opened+1, err, got)
		}
	}
	if opened < 4 || opened > 10 {
		t.Errorf("%d watches of 10,000 names were opened", opened)
	}
	// All of their names change, over and over, and payments too.
	for range 3 {
		s.fill(1)
		s.flip("payments", 10, honest)
	}
	full := measure()
	t.Logf("%d unread watches hold %d KiB; the node counts %d KiB", opened, (full.heap-before.heap)>>10, s.used()>>10)
	if grown, most := full.heap-before.heap, s.used()+16<<20; grown > most { // the client is in this process, too
		t.Errorf("they hold %d MiB, and the node counts %d MiB", grown>>20, s.used()>>20)
	}
	cancel()
	conn.Close()
	s.watches(1)
	eventually(t, "the budgets to be given back", func(context.Context) bool { return s.used() == 0 })
	s.flip("payments", 2, honest)
	s.settles(before, 24<<20)
}
