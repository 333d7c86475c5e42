package resolver

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// TestOneNodeRefuses: a node without permission, or of an earlier version, ends a watch. The others of its half are
// asked then, and not the same one again and again.
func TestOneNodeRefuses(t *testing.T) {
	for _, code := range []codes.Code{codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.InvalidArgument} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(t, "b", "c", "a") // halves: b and c; a
			r.feeds["c"] = make(chan item)
			c := r.channel()
			defer c.resolver.Close()
			r.off(false)
			for _, node := range []string{"b", "c", "b", "c"} {
				select {
				case r.feeds[node] <- item{err: &client.Error{Code: code, Endpoint: node}}:
				case <-time.After(time.Minute):
					t.Fatalf("%v: %s is not asked", code, node)
				}
			}
			// That none can be reached says nothing of one.
			r.fail("b", &client.Error{Code: codes.Unavailable, Reason: client.ReasonNoEndpoint, Endpoint: "b"})
			time.Sleep(time.Minute)
			yes := true
			select {
			case r.feeds["b"] <- item{connected: &yes}:
			case <-time.After(time.Minute):
				t.Fatal("b is not asked")
			}
			r.say("b", 1, is(a1, client.Serving))
			c.has(t, a1)
		})
	}
}
