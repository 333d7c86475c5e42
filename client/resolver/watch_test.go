package resolver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/internal/halves"
)

// inBubble runs a test on a virtual clock, with one channel to checkout.
func inBubble(t *testing.T, test func(t *testing.T, r *registry, c *conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		c := r.channel()
		defer c.resolver.Close()
		test(t, r, c)
	})
}

func records(all ...*rollcallv1.ServiceRecord) []*rollcallv1.ServiceRecord { return all }

const (
	a1, a2, a3 = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
)

func TestServingInstancesAreGiven(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		c.has(t, "waits")
		r.off(false)
		c.has(t, "waits")
		r.both(1, is(a3, client.Serving), is(a1, client.Serving), is(a2, client.Unknown), is("10.0.0.4:80", client.NotServing),
			is("not an address", client.Serving), is("eu/10.0.0.9:80", client.Serving), is("0.0.0.0:80", client.Serving))
		c.has(t, a1+" "+a3)
		r.say("a", 2, is(a2, client.Serving))
		c.has(t, a1+" "+a2+" "+a3)
		r.say("a", 3, is(a1, client.NotServing))
		c.has(t, a2+" "+a3)
		r.gone("a", 4, "checkout/"+a2)
		c.has(t, a3)
		r.say("a", 5, overridden(a3, client.NotServing, nil))
		c.has(t, "none")
		r.say("a", 6, overridden(a3, client.Serving, nil))
		c.has(t, a3)
		c.resolver.ResolveNow(resolver.ResolveNowOptions{})
		c.has(t, a3)

		r.say("a", 7, is(a1, client.Serving))
		c.has(t, a1+" "+a3)

		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.state.Addresses) != 2 || c.state.Addresses[0].Addr != a1 || c.state.Addresses[1].Addr != a3 {
			t.Errorf("Addresses: %v", c.state.Addresses)
		}
		if c.state.ServiceConfig != nil {
			t.Error("there is a service config")
		}
		if c.state.Addresses[0].ServerName != "" || c.state.Endpoints[0].Addresses[0].ServerName != "" {
			t.Error("what reporters write decides whom TLS trusts")
		}
		if want := []string{"checkout 2 3 0", "checkout 3 3 0", "checkout 2 3 0", "checkout 1 3 0", "checkout 0 3 0", "checkout 1 3 0", "checkout 2 3 0"}; !slices.Equal(r.counts, want) {
			t.Errorf("counted %q; want %q", r.counts, want)
		}
	})
}

func TestServiceSwitchedOff(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(true)
		r.both(1, is(a1, client.Serving), is(a2, client.Serving))
		c.has(t, "none")
		r.off(false)
		c.has(t, a1+" "+a2)
		r.off(true)
		c.has(t, "none") // at once: nothing has to be waited for
		r.say("a", 2, is(a3, client.Serving))
		c.has(t, "none")
		r.off(false)
		c.has(t, a1+" "+a2+" "+a3)
	})
}

func TestAllInstancesSwitchedOff(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(1, is(a1, client.Serving), is(a2, client.Serving))
		r.say("a", 2, overridden(a1, client.NotServing, nil), overridden(a2, client.NotServing, nil))
		c.has(t, "none")
	})
}

// TestNothingKnown: a node that was stopped and goes on may know nothing for a moment.
func TestNothingKnown(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(1)
		c.has(t, "waits")
		time.Sleep(emptyGrace - time.Millisecond)
		c.has(t, "waits")
		r.say("a", 2, is(a1, client.Serving))
		c.has(t, a1)
		r.gone("a", 3, "checkout/"+a1)
		c.has(t, a1)
		time.Sleep(emptyGrace - time.Millisecond)
		c.has(t, a1)
		r.say("a", 4, is(a2, client.Serving))
		c.has(t, a2)
		r.gone("a", 5, "checkout/"+a2)
		time.Sleep(time.Second)
		c.has(t, a2)
		r.off(true) // an operator's word needs no grace
		c.has(t, "none")
		r.off(false)
		c.has(t, "none")
		time.Sleep(emptyGrace)
		c.has(t, "none")
		r.say("a", 6, is(a3, client.Serving))
		c.has(t, a3)
		r.gone("a", 7, "checkout/"+a3)
		time.Sleep(emptyGrace)
		c.has(t, "none")
	})
}

func TestSilentRegistry(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(1, is(a1, client.Serving), is(a2, client.NotServing))
		for range 3 {
			for _, half := range []string{"a", "b"} {
				r.connect(half, false)
				r.fail(half, errors.New("connection refused"))
			}
			time.Sleep(24 * time.Hour)
			c.has(t, a1)
		}
		if c.updates != 1 || c.errors != 0 {
			t.Errorf("%d updates, %d errors", c.updates, c.errors)
		}
		r.both(2, is(a2, client.Serving))
		c.has(t, a2)
	})
}

// TestHungHalf: whichever half hears it, a change is given.
func TestHungHalf(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(1, is(a1, client.Serving), is(a2, client.Serving))
		r.say("b", 5, is(a1, client.NotServing))
		c.has(t, a2)
		r.say("a", 3, is(a2, client.NotServing)) // an older word
		c.has(t, a2)
		r.say("a", 6, is(a1, client.NotServing), is(a2, client.NotServing), is(a3, client.Serving))
		c.has(t, a3)
		r.say("b", 6, is(a2, client.NotServing), is(a3, client.Serving)) // the same
		c.has(t, a3)
		if c.updates != 3 {
			t.Errorf("%d updates", c.updates)
		}
	})
}

// TestUnfinishedState: what a stream has sent so far is not the registry yet.
func TestUnfinishedState(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.connect("a", true)
		r.send("a", item{update: &client.ServicesUpdate{Services: records(is(a1, client.Serving)), Revision: 1, Cluster: "X"}})
		c.has(t, "waits")
		r.send("a", item{update: &client.ServicesUpdate{Services: records(is(a2, client.Serving)), Revision: 1, Cluster: "X", Synced: true}})
		c.has(t, a1+" "+a2)
	})
}

// TestStreamBeginsAnew: a new watch gives the whole state, without what was deleted before.
func TestStreamBeginsAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(1, is(a1, client.Serving), is(a2, client.Serving))
		r.fail("a", errors.New("refused"))
		time.Sleep(time.Second)
		r.connect("a", true)
		r.say("a", 2, is(a2, client.Serving))
		c.has(t, a2)
	})
}

func TestRegistryNotReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		c := r.channel()
		defer c.resolver.Close()
		r.fail("a", errors.New("connection refused"))
		c.has(t, "waits") // the other half may answer
		r.fail("b", errors.New("connection refused"))
		c.has(t, "fails")
		if !strings.Contains(c.err.Error(), "connection refused") || !strings.Contains(c.err.Error(), "checkout") {
			t.Error(c.err)
		}
		began, opened := time.Now(), r.opened.Load()
		for time.Since(began) < time.Hour {
			for _, half := range []string{"a", "b"} {
				r.feeds[half] <- item{err: errors.New("connection refused")}
			}
		}
		// Pauses of 5 s at most, 2.5 s in the mean.
		if tries := r.opened.Load() - opened; tries > 2*2000 {
			t.Errorf("%d watches in an hour", tries)
		}
		c.has(t, "fails")
		if c.errors != 1 {
			t.Errorf("%d errors", c.errors)
		}
		later := r.channel() // another channel is told at once
		later.has(t, "fails")
		later.resolver.Close()

		r.off(false)
		time.Sleep(longPause)
		r.both(1, is(a1, client.Serving))
		c.has(t, a1)
	})
}

func TestRegistrySaysNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		time.Sleep(silentAfter - time.Millisecond)
		c.has(t, "waits")
		time.Sleep(time.Millisecond)
		c.has(t, "fails")
		r.off(false)
		r.both(1, is(a1, client.Serving))
		c.has(t, a1)
	})
}

func TestClosedClient(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.fail("a", client.ErrClosed)
		r.fail("b", client.ErrClosed)
		c.has(t, "fails")
		opened := r.opened.Load()
		time.Sleep(time.Hour)
		if r.opened.Load() != opened {
			t.Error("a closed client is asked again and again")
		}
	})
}

func TestOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, "only")
		c := r.channel()
		defer c.resolver.Close()
		r.off(false)
		r.connect("only", true)
		r.say("only", 1, is(a1, client.Serving))
		c.has(t, a1)
		if r.open.Load() != 1 {
			t.Errorf("%d watches", r.open.Load())
		}
	})
}

func TestHalvesAreDisjoint(t *testing.T) {
	for _, endpoints := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c", "d"}, {"a", "b", "c", "d", "e"}} {
		halves := halves.Of(endpoints)
		if got := slices.Concat(halves...); !slices.Equal(got, endpoints) {
			t.Errorf("%q became %q", endpoints, halves)
		}
		if want := min(2, len(endpoints)); len(halves) != want || len(halves[0]) == 0 {
			t.Errorf("%q became %q", endpoints, halves)
		}
	}
}
