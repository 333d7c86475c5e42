package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

// fill writes batches of 10,000 changes with a reason of 290 bytes: each is more than 4 MB of events.
func (s *solo) fill(batches int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for b := range batches {
		req := &rollcallv1.BatchSetServingStatusRequest{Reason: fmt.Sprint(b, strings.Repeat("r", 289))}
		for i := range 10_000 {
			req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("filled/%05d", i), Status: serving.Enum()})
		}
		if _, err := rollcallv1.NewAdminClient(s.conn).BatchSetServingStatus(ctx, req); err != nil {
			s.t.Fatal(err)
		}
	}
}

// filledNames are some of the 10,000 names that fill writes. A raw client has room for one frame a request, and for
// the window of its connection in all.
func filledNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("filled/%05d", i))
	}
	return names
}

// used is how much memory the node counts as held for clients.
func (s *solo) used() (bytes int64) {
	for _, b := range s.node.ClientMemory() {
		bytes += b.Used
	}
	return bytes
}

// TestP8UnreadStreamsAreBounded: a hundred streams of a kind on one connection, or calls, whose answers nobody
// reads: all the events, the whole state, the largest pages there are.
func TestP8UnreadStreamsAreBounded(t *testing.T) {
	needProcesses(t)
	const streams = 100
	for name, tt := range map[string]struct {
		method  string
		request proto.Message
		limit   int64 // of what all of them may hold
	}{
		"events":          {rollcallv1.Registry_WatchEvents_FullMethodName, &rollcallv1.WatchEventsRequest{FromRevision: 1}, 48 << 20},
		"state":           {rollcallv1.Registry_WatchServices_FullMethodName, &rollcallv1.WatchServicesRequest{}, 48 << 20},
		"names":           {rollcallv1.Registry_WatchServices_FullMethodName, &rollcallv1.WatchServicesRequest{Services: filledNames(700)}, 48 << 20},
		"pages of events": {rollcallv1.Registry_ListEvents_FullMethodName, &rollcallv1.ListEventsRequest{PageSize: 10_000}, 96 << 20},
		"pages of state":  {rollcallv1.Registry_ListServices_FullMethodName, &rollcallv1.ListServicesRequest{PageSize: 10_000}, 96 << 20},
		"pages of the past": {rollcallv1.Registry_ListServices_FullMethodName, &rollcallv1.ListServicesRequest{
			PageSize: 10_000, At: &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: 10_000}}}, 96 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSolo(t, nil)
			s.set("payments", serving)
			s.fill(2)
			honest := s.watch("payments")
			s.next(honest, serving)
			s.flip("payments", 2, honest)
			before := measure()

			var wg sync.WaitGroup
			r := dialRaw(t, s.api, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1_000})
			r.listen(&wg, nil)
			for range streams {
				if _, err := r.call(tt.method, tt.request); err != nil {
					t.Fatal(err)
				}
			}
			refused := func() (calls int64) {
				for _, b := range s.node.ClientMemory() {
					calls += b.Refused
				}
				return calls
			}
			eventually(t, "the node to hold what it may", func(context.Context) bool { return s.used() >= streams*16<<10 || refused() > 0 })
			s.flip("payments", 100, honest)
			full := measure()
			if grown := full.heap - before.heap; grown > tt.limit {
				t.Errorf("%d unread calls hold %d MiB; the node counts %d MiB", streams, grown>>20, s.used()>>20)
			} else {
				t.Logf("%d unread calls hold %d MiB; the node counts %d MiB", streams, grown>>20, s.used()>>20)
			}
			// Another connection reads all of it meanwhile.
			conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			follow, err := rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < 20_000; {
				m, err := follow.Recv()
				if err != nil {
					t.Fatalf("an honest follower at %d: %v", at, err)
				}
				at = m.GetRevision()
			}
			if _, err := rollcallv1.NewRegistryClient(conn).ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 10_000}); err != nil {
				t.Errorf("an honest list: %v", err)
			}
			cancel()
			conn.Close()
			r.conn.Close()
			wg.Wait()
			s.watches(1)
			eventually(t, "the budgets to be given back", func(context.Context) bool { return s.used() == 0 })
		})
	}
}

// TestP8StreamsOverTheBudgetAreRefused at once, with what is over.
func TestP8StreamsOverTheBudgetAreRefused(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, func(c *node.Config) { c.ClientMemory = 192 << 20 })
	s.set("payments", serving)
	dial := func() rollcallv1.RegistryClient {
		conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return rollcallv1.NewRegistryClient(conn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	open := func(c rollcallv1.RegistryClient, state bool) error {
		if state {
			stream, err := c.WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
		stream, err := c.WatchEvents(ctx, &rollcallv1.WatchEventsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	greedy := dial()
	opened := 0
	var refused error
	for refused == nil && opened < 2_000 {
		if refused = open(greedy, opened%2 == 0); refused == nil {
			opened++
		}
	}
	if got := quotaOf(refused); status.Code(refused) != codes.ResourceExhausted || got != "stream-bytes-per-connection" {
		t.Fatalf("stream %d of a connection: %v, quota %q", opened+1, refused, got)
	}
	if opened < 700 {
		t.Errorf("%d streams were opened", opened)
	}
	for _, state := range []bool{true, false} {
		if err := open(dial(), state); err != nil {
			t.Errorf("another connection: %v", err)
		}
	}
}
