package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestVirtualReadsAreFiltered: every node of a real cluster tells a caller of what it may read, now and in the past, and
// ends its watches within a second of the revocation of its token.
func TestVirtualReadsAreFiltered(t *testing.T) {
	beside(t, ofVirtualTime)
	withAccess(t, func(t *testing.T, c *guarded) {
		leader := c.leader()
		admin := c.as(c.root)
		token := c.create(admin, leader, "shop", "reporter", "shop/*")
		var last int64
		for _, name := range []string{"pay", "shop/a", "shop/b", "shop/c", "shopify"} {
			res, err := leader.admin().SetServingStatus(admin, set(name))
			if err != nil {
				t.Fatal(err)
			}
			last = res.GetRevision()
		}
		c.enforce(admin, leader, "")
		res, err := leader.admin().SetServingStatus(admin, set("shop/d"))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 3*len(c.nodes)) // one of each watch
		for _, n := range c.nodes {
			reads := rollcallv1.NewRegistryClient(n.dial())
			ctx := metadata.AppendToOutgoingContext(c.as(token), "rollcall-min-revision", fmt.Sprint(res.GetRevision()))
			list := func(at *rollcallv1.At) (names []string) {
				for page := ""; ; {
					var header metadata.MD
					res, err := reads.ListServices(ctx, &rollcallv1.ListServicesRequest{PageSize: 2, PageToken: page, At: at}, grpc.Header(&header))
					if err != nil {
						t.Fatalf("list by %s: %v", n.cfg.Name, err)
					}
					if !slices.Equal(header.Get("rollcall-filtered"), []string{"true"}) {
						t.Errorf("%s does not say that it leaves out something: %v", n.cfg.Name, header)
					}
					for _, r := range res.GetServices() {
						names = append(names, r.GetService())
					}
					if page = res.GetNextPageToken(); page == "" {
						return names
					}
				}
			}
			if got := list(nil); strings.Join(got, " ") != "shop/a shop/b shop/c shop/d" {
				t.Errorf("%s lists %q", n.cfg.Name, got)
			}
			if got := list(&rollcallv1.At{At: &rollcallv1.At_Revision{Revision: last}}); strings.Join(got, " ") != "shop/a shop/b shop/c" {
				t.Errorf("%s lists of the past %q", n.cfg.Name, got)
			}
			_, err := reads.GetService(ctx, &rollcallv1.GetServiceRequest{Service: "pay"})
			c.refused("get by "+n.cfg.Name, err, codes.PermissionDenied, "DENIED")
			_, err = healthpb.NewHealthClient(n.dial()).Check(c.patiently(), &healthpb.HealthCheckRequest{Service: "shop/a"})
			c.refused("check without a token by "+n.cfg.Name, err, codes.Unauthenticated, "NO_CREDENTIALS")
			events, err := reads.ListEvents(ctx, &rollcallv1.ListEventsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events.GetEvents() {
				if !strings.HasPrefix(e.GetService(), "shop/") {
					t.Errorf("%s tells of %v", n.cfg.Name, e)
				}
			}
			if len(events.GetEvents()) != 4 {
				t.Errorf("%s tells of %d events", n.cfg.Name, len(events.GetEvents()))
			}

			follow := func(begin func(ctx context.Context) (interface{ RecvMsg(any) error }, error), m any) {
				ctx := metadata.AppendToOutgoingContext(c.ctx, "authorization", "Bearer "+token.Text())
				stream, err := begin(ctx)
				for err == nil {
					err = stream.RecvMsg(m)
				}
				ended <- fmt.Errorf("%T by %s: %w", m, n.cfg.Name, err)
			}
			go follow(func(ctx context.Context) (interface{ RecvMsg(any) error }, error) {
				return healthpb.NewHealthClient(n.dial()).Watch(ctx, &healthpb.HealthCheckRequest{Service: "shop/a"})
			}, new(healthpb.HealthCheckResponse))
			go follow(func(ctx context.Context) (interface{ RecvMsg(any) error }, error) {
				return reads.WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
			}, new(rollcallv1.WatchServicesResponse))
			go follow(func(ctx context.Context) (interface{ RecvMsg(any) error }, error) {
				return reads.WatchEvents(ctx, &rollcallv1.WatchEventsRequest{})
			}, new(rollcallv1.WatchEventsResponse))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(ended) > 0 {
			t.Fatalf("a watch ended by itself: %v", <-ended)
		}
		if _, err := leader.access().RevokeToken(admin, &rollcallv1.RevokeTokenRequest{Name: "shop"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(ended) != cap(ended) {
			t.Errorf("%d of %d watches ended within a second", len(ended), cap(ended))
		}
		for range len(ended) {
			if err := <-ended; !strings.Contains(err.Error(), "revoked") {
				t.Error(err)
			}
		}
	})
}
