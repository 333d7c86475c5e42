package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func manyNames(n, size int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%0*d", size, i)
	}
	return names
}

func TestWatchServicesByNames(t *testing.T) {
	n := single(t)
	n.registry.set("shop/a", serving)
	n.registry.set("other", serving)
	stream, err := n.reads().WatchServices(patient(t), &rollcallv1.WatchServicesRequest{Services: []string{"shop/a", "none", "shop/a"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 1} { // as the fake begins
		m, err := stream.Recv()
		if err != nil || len(m.GetServices()) != want || !m.GetSynced() || (m.GetClusterId() != "") != (i == 0) {
			t.Fatalf("%v %v", m, err)
		}
	}
}

func TestBadNamesOfAWatchAreRefused(t *testing.T) {
	n := single(t)
	for about, tt := range map[string]struct {
		req  *rollcallv1.WatchServicesRequest
		text string
	}{
		"with prefixes":        {&rollcallv1.WatchServicesRequest{Services: []string{"a"}, Prefixes: []string{"b"}}, "services cannot be given together with prefixes"},
		"the node's own":       {&rollcallv1.WatchServicesRequest{Services: []string{"a", "rollcall.live"}}, `services[1] is "rollcall.live", one of the node's own names`},
		"the empty name":       {&rollcallv1.WatchServicesRequest{Services: []string{""}}, `services[0] is "", one of the node's own names`},
		"too long":             {&rollcallv1.WatchServicesRequest{Services: []string{strings.Repeat("x", 257)}}, "services[0] is 257"},
		"own and far too long": {&rollcallv1.WatchServicesRequest{Services: []string{"rollcall." + strings.Repeat("x", 1<<20)}}, "services[0] is 1048585"},
		"a control character":  {&rollcallv1.WatchServicesRequest{Services: []string{"a\x00"}}, "services[0]"},
		"too many":             {&rollcallv1.WatchServicesRequest{Services: manyNames(10_001, 8)}, "services has 10001 entries; at most 10000"},
		"many bad ones":        {&rollcallv1.WatchServicesRequest{Services: make([]string, 10_000)}, "and 9999 more"},
	} {
		t.Run(about, func(t *testing.T) {
			stream, err := n.reads().WatchServices(patient(t), tt.req)
			if err == nil {
				_, err = stream.Recv()
			}
			checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, tt.text})
		})
	}
	// The most that is allowed.
	stream, err := n.reads().WatchServices(patient(t), &rollcallv1.WatchServicesRequest{Services: manyNames(10_000, 256)})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Error(err)
	}
}

// TestNamesOfAWatchAreTakenFromTheBudget while it is open, and already while it waits for what it asks by metadata.
func TestNamesOfAWatchAreTakenFromTheBudget(t *testing.T) {
	bubble(t, "virtual", func(t *testing.T) {
		n := single(t)
		used := func() int64 {
			for _, b := range n.Budgets() {
				if b.Name == "stream-bytes" {
					return b.Used
				}
			}
			return -1
		}
		names := manyNames(10_000, 200)
		least := int64(10_000 * (200 + 150))
		ctx, cancel := context.WithCancel(timeout(t, time.Hour))
		defer cancel()
		stream, err := n.reads().WatchServices(metadata.AppendToOutgoingContext(ctx, "rollcall-min-revision", "1"), &rollcallv1.WatchServicesRequest{Services: names})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := used(); got < least {
			t.Errorf("%d bytes are taken while it waits", got)
		}
		n.registry.set("a", serving) // which the stream waits for
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if got := used(); got < least {
			t.Errorf("%d bytes are taken while it is open", got)
		}
		refused := 0
		for range 30 {
			stream, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{Services: names})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				refused++
				checkError(t, err, want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, "", nil, "this connection's calls would hold"})
			}
		}
		if refused == 0 || refused > 25 {
			t.Errorf("%d of 30 were refused", refused)
		}
		cancel()
		synctest.Wait()
		if got := used(); got != 0 {
			t.Errorf("%d bytes are left", got)
		}
	})
}
