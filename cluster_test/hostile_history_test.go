package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestP8HistoryReaders has clients that read the whole history from the disk: some follow it from the first
// event on, some list page after page. Writes, Checks, an honest watch, reads of a point in time and short
// lists of events go on, each within the time that a command has.
func TestP8HistoryReaders(t *testing.T) {
	needProcesses(t)
	const (
		connections = 10
		// More than a node keeps in memory, so that the oldest are read from the disk.
		events, batch = 90_000, 3_000
	)
	followers, listers := 200, 50
	commandTime := 5 * time.Second // what a command has
	if raceEnabled {               // then clients, which are all in this process, take most of the processors
		followers, listers, commandTime = 50, 10, patience
	}
	s := newSolo(t, nil)
	admin := rollcallv1.NewAdminClient(s.conn)
	for i := range events / batch {
		req := &rollcallv1.BatchSetServingStatusRequest{Reason: fmt.Sprint("round ", i)}
		for k := range batch {
			req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprint("service/", k), Status: serving.Enum()})
		}
		if _, err := admin.BatchSetServingStatus(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	gone := func(err error) bool {
		return errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled || ctx.Err() != nil
	}
	var conns []*grpc.ClientConn
	for range connections {
		conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for i := range followers {
		wg.Go(func() {
			stream, err := rollcallv1.NewRegistryClient(conns[i%connections]).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
			for err == nil {
				_, err = stream.Recv()
			}
			if !gone(err) {
				t.Errorf("a follower ended with %v", err)
			}
		})
	}
	for i := range listers {
		wg.Go(func() {
			registry := rollcallv1.NewRegistryClient(conns[i%connections])
			for token := ""; ctx.Err() == nil; {
				page, err := registry.ListEvents(ctx, &rollcallv1.ListEventsRequest{PageSize: 1000, PageToken: token})
				// One that reads as much as it can may have to wait for longer than a node lets it.
				if err != nil && !gone(err) && status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("a lister got %v", err)
					return
				}
				token = page.GetNextPageToken()
			}
		})
	}
	s.watches(followers + 1)

	short := func(what string, read func(context.Context, rollcallv1.RegistryClient) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), commandTime)
		defer cancel()
		// As a command does, it has a connection of its own.
		conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := read(ctx, rollcallv1.NewRegistryClient(conn)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 10 {
		s.flip("payments", 4, honest)
		short("a read of a point in time", func(ctx context.Context, r rollcallv1.RegistryClient) error {
			_, err := r.GetService(ctx, &rollcallv1.GetServiceRequest{Service: "service/7",
				At: &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: events / 2}}})
			return err
		})
		short("a list of events", func(ctx context.Context, r rollcallv1.RegistryClient) error {
			_, err := r.ListEvents(ctx, &rollcallv1.ListEventsRequest{Service: "service/8", NewestFirst: true, PageSize: 20})
			return err
		})
		short("the first services of a list as of a revision", func(ctx context.Context, r rollcallv1.RegistryClient) error {
			_, err := r.ListServices(ctx, &rollcallv1.ListServicesRequest{Prefix: "service/9", PageSize: 20,
				At: &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: events / 3}}})
			return err
		})
	}
	cancel()
	wg.Wait()
	for _, conn := range conns {
		conn.Close()
	}
	s.watches(1)
	s.flip("payments", 2, honest)
	s.settles(before, 16<<20)
}
