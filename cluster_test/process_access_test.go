package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// withToken sends a token with calls.
func withToken(ctx context.Context, text string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+text)
}

// openWatch is one stream that a token has open at one node.
type openWatch struct {
	what  string
	ended chan error
	at    time.Time // when it ended; to be read after ended
}

// watchAll opens a watch of each kind at each node, and waits for their first messages.
func (s *secured) watchAll(ctx context.Context, text string) (all []*openWatch) {
	s.t.Helper()
	open := func(p *process, what string, begin func(ctx context.Context) (recv func() error, err error)) {
		s.t.Helper()
		recv, err := begin(withToken(ctx, text))
		if err == nil {
			err = recv()
		}
		if err != nil {
			s.t.Fatalf("%s at %s: %v", what, p.name, err)
		}
		w := &openWatch{what: what + " at " + p.name, ended: make(chan error, 1)}
		all = append(all, w)
		go func() {
			for err == nil {
				err = recv()
			}
			w.at = time.Now()
			w.ended <- err
		}()
	}
	for _, p := range s.nodes {
		conn := p.dial()
		open(p, "Health.Watch", func(ctx context.Context) (func() error, error) {
			stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: "shop/cart"})
			return func() error { _, err := stream.Recv(); return err }, err
		})
		open(p, "WatchServices", func(ctx context.Context) (func() error, error) {
			stream, err := rollcallv1.NewRegistryClient(conn).WatchServices(ctx, &rollcallv1.WatchServicesRequest{Prefixes: []string{"shop/"}})
			return func() error { _, err := stream.Recv(); return err }, err
		})
		open(p, "WatchServices by name", func(ctx context.Context) (func() error, error) {
			stream, err := rollcallv1.NewRegistryClient(conn).WatchServices(ctx, &rollcallv1.WatchServicesRequest{Services: []string{"shop/cart"}})
			return func() error { _, err := stream.Recv(); return err }, err
		})
		open(p, "WatchEvents", func(ctx context.Context) (func() error, error) {
			stream, err := rollcallv1.NewRegistryClient(conn).WatchEvents(ctx, &rollcallv1.WatchEventsRequest{Prefixes: []string{"shop/"}})
			return func() error { _, err := stream.Recv(); return err }, err
		})
		open(p, "WriteStream", func(ctx context.Context) (func() error, error) {
			stream, err := rollcallv1.NewAdminClient(conn).WriteStream(ctx)
			return func() error { _, err := stream.Recv(); return err }, err
		})
	}
	return all
}

// TestProcessAccessRevoked revokes a token while it watches through all nodes and writes through all of them: its
// watches end within a second, and it writes nothing after the revision of the revoke.
func TestProcessAccessRevoked(t *testing.T) {
	beside(t, ofProcesses)
	s := startSecured(t)
	stalls := startStallMeter(t)
	if _, stderr, code := s.as("reporter", "set", "shop/cart", "serving"); code != 0 {
		t.Fatal(stderr)
	}
	text := s.token("reporter")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, p := range s.nodes { // each knows the token by now
		eventually(t, p.name+" to know the token", func(ctx context.Context) bool {
			_, err := healthpb.NewHealthClient(p.dial()).Check(withToken(ctx, text), &healthpb.HealthCheckRequest{Service: "shop/cart"})
			return err == nil
		})
	}
	watches := s.watchAll(ctx, text)
	var writers sync.WaitGroup
	begun := make(chan struct{}, 100)
	for i, p := range s.nodes {
		for j := range 2 {
			writers.Go(func() {
				admin := rollcallv1.NewAdminClient(p.dial())
				for n := 0; ctx.Err() == nil; n++ {
					_, err := admin.SetServingStatus(withToken(ctx, text), &rollcallv1.SetServingStatusRequest{
						Service: fmt.Sprintf("shop/w%d-%d", i, j), Status: serving.Enum(), Reason: fmt.Sprint(n),
					})
					if err != nil {
						if c := status.Code(err); c != codes.Unauthenticated && ctx.Err() == nil {
							t.Errorf("a write through %s ended with %v", p.name, err)
						}
						return
					}
					if n == 20 {
						begun <- struct{}{}
					}
				}
			})
		}
	}
	for range 2 * len(s.nodes) {
		select {
		case <-begun:
		case <-time.After(patience):
			t.Fatal("the writers do not write")
		}
	}
	s.mustAdmin("token", "revoke", "of-reporter", "--reason", "stolen")
	revoked := time.Now()
	writers.Wait()
	for _, w := range watches {
		select {
		case err := <-w.ended:
			if c := status.Code(err); c != codes.Unauthenticated {
				t.Errorf("%s ended with %v", w.what, err)
			}
			if late := w.at.Sub(revoked); late > time.Second+stalls.since(revoked) {
				t.Errorf("%s ended %v after the revoke", w.what, late)
			}
		case <-time.After(patience):
			t.Errorf("%s does not end", w.what)
		}
	}
	// What each node holds of it: nothing newer than the revoke.
	for _, p := range s.nodes {
		events := s.events(p)
		last := slices.IndexFunc(events, func(e *rollcallv1.Event) bool {
			return e.GetType() == rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED && e.GetReason() == "stolen"
		})
		if last < 0 {
			t.Fatalf("%s: the revoke is no event", p.name)
		}
		written := 0
		for i, e := range events {
			switch {
			case e.GetActor().GetName() != "token:of-reporter":
			case !e.GetActor().GetVerified():
				t.Errorf("%s: not verified: %v", p.name, e)
			case i > last && e.GetRevision() > events[last].GetCommitRevision():
				t.Errorf("%s: written after the revoke at revision %d: %v", p.name, events[last].GetRevision(), e)
			default:
				written++
			}
		}
		if written < 6*20 {
			t.Errorf("%s: only %d writes of the token stand in the history", p.name, written)
		}
	}
}

// events returns all events that a node holds, as the administrator sees them.
func (s *secured) events(p *process) (all []*rollcallv1.Event) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(withToken(context.Background(), s.token("admin")), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "rollcall-consistency", "linearizable")
	req := &rollcallv1.ListEventsRequest{}
	for {
		res, err := rollcallv1.NewRegistryClient(p.dial()).ListEvents(ctx, req)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, res.GetEvents()...)
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return all
		}
	}
}
