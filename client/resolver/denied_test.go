package resolver

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// TestTheCallerIsRefused: the instances stay, and the registry is asked seldom.
func TestTheCallerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		c := r.channel()
		defer c.resolver.Close()
		r.off(false)
		r.say("a", 1, is(a1, client.Serving))
		r.say("b", 1, is(a1, client.Serving))
		c.has(t, a1)
		stop := make(chan struct{})
		for _, half := range []string{"a", "b"} {
			go func() {
				for {
					select {
					case r.feeds[half] <- item{err: &client.Error{Code: codes.PermissionDenied, Reason: client.ReasonDenied, Endpoint: half}}:
					case <-stop:
						return
					}
				}
			}()
		}
		time.Sleep(time.Minute)
		opened := r.opened.Load()
		time.Sleep(time.Hour)
		c.has(t, a1)
		if n := r.opened.Load() - opened; n < 100 || n > 1200 {
			t.Errorf("%d watches were opened in an hour", n)
		}
		close(stop)
	})
}
