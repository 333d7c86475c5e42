package resolver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
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

// TestWipedRegistry: it has another id and knows nothing.
func TestWipedRegistry(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(900, is(a1, client.Serving), is(a2, client.Serving), overridden(a3, client.NotServing, nil))
		c.has(t, a1+" "+a2)
		r.connect("a", false)
		r.connect("b", false)
		r.begin("Y", "a", 1)
		r.begin("Y", "b", 1)
		time.Sleep(24 * time.Hour)
		c.has(t, a1+" "+a2) // for as long as it takes
		if !r.logged("another cluster answers") {
			t.Error("nobody was told")
		}
		// They report again, one after the other; what an operator switched off stays so.
		r.sayOf("Y", "a", 2, is(a3, client.Serving))
		c.has(t, a1+" "+a2)
		r.sayOf("Y", "a", 3, is(a1, client.NotServing))
		c.has(t, a2)
		r.sayOf("Y", "a", 4, is(a1, client.Serving), is("10.0.0.4:80", client.Serving))
		c.has(t, a1+" "+a2+" 10.0.0.4:80")
		time.Sleep(heldFor)
		c.has(t, a1+" 10.0.0.4:80") // a2 is dead
		// An operator speaks.
		r.sayOf("Y", "a", 5, overridden(a3, client.Serving, nil))
		c.has(t, a1+" "+a3+" 10.0.0.4:80")
		r.sayOf("Y", "a", 6, is(a3, client.Serving))
		c.has(t, a1+" "+a3+" 10.0.0.4:80")
	})
}

func TestWipedRegistryHoldsUntilTheOverrideWouldHaveEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		end := timestamppb.New(time.Now().Add(time.Hour))
		r.both(900, is(a1, client.Serving), overridden(a2, client.NotServing, end))
		r.connect("a", false)
		r.connect("b", false)
		r.begin("Y", "a", 1, is(a1, client.Serving), is(a2, client.Serving))
		c.has(t, a1)
		time.Sleep(time.Hour - time.Second)
		c.has(t, a1)
		time.Sleep(time.Second)
		c.has(t, a1+" "+a2)
	})
}

// TestReportOfAnOperatorEndsTheHold: one without a lease is nobody's own.
func TestReportOfAnOperatorEndsTheHold(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(900, is(a1, client.Serving), overridden(a2, client.NotServing, nil))
		r.connect("a", false)
		r.connect("b", false)
		set := is(a2, client.Serving)
		set.Report.LeaseId = ""
		r.begin("Y", "a", 1, is(a1, client.Serving), set)
		c.has(t, a1+" "+a2)
	})
}

// TestTwoClusters: while one half hears the old cluster, the other one's does not count.
func TestTwoClusters(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(900, is(a1, client.Serving))
		r.begin("Y", "b", 5000, is(a1, client.NotServing), is(a2, client.Serving))
		c.has(t, a1)
		r.say("a", 901, is(a3, client.Serving))
		c.has(t, a1+" "+a3)
		r.connect("a", false)
		c.has(t, a2+" "+a3) // a3 is held
		r.begin("Y", "a", 5001, is(a1, client.NotServing), is(a2, client.Serving), is(a3, client.NotServing))
		c.has(t, a2)
	})
}

func TestPanic(t *testing.T) {
	for name, test := range map[string]struct {
		percent int
		records []*rollcallv1.ServiceRecord
		off     bool
		want    string
		count   string
	}{
		"off":                     {0, records(is(a1, client.Serving), is(a2, client.NotServing), is(a3, client.NotServing)), false, a1, "checkout 1 0 0"},
		"off, all are ill":        {0, records(is(a1, client.NotServing)), false, "none", "checkout 0 0 0"},
		"half is enough for 50 %": {50, records(is(a1, client.Serving), is(a2, client.NotServing)), false, a1, "checkout 1 0 0"},
		"a third is not":          {50, records(is(a1, client.Serving), is(a2, client.NotServing), is(a3, client.Unknown)), false, a1 + " " + a2 + " " + a3, "checkout 1 0 2"},
		"none is not":             {50, records(is(a1, client.NotServing), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 0 0 2"},
		"1 %, none":               {1, records(is(a1, client.NotServing), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 0 0 2"},
		"100 %":                   {100, records(is(a1, client.Serving), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 1 0 1"},
		"100 %, all are well":     {100, records(is(a1, client.Serving), is(a2, client.Serving)), false, a1 + " " + a2, "checkout 2 0 0"},
		"an operator's do not count": {50, records(is(a1, client.Serving), overridden(a2, client.NotServing, nil), overridden(a3, client.Unknown, nil)),
			false, a1, "checkout 1 0 0"},
		"an operator's are not given": {50, records(is(a1, client.NotServing), overridden(a2, client.NotServing, nil)), false, a1, "checkout 0 0 1"},
		"all are an operator's":       {50, records(overridden(a1, client.NotServing, nil)), false, "none", "checkout 0 0 0"},
		"SERVICE is off":              {50, records(is(a1, client.NotServing), is(a2, client.Serving)), true, "none", "checkout 0 0 0"},
		"the skipped do not count":    {50, records(is(a1, client.Serving), is(a2, client.NotServing), is("x", client.NotServing), is("y", client.NotServing)), false, a1, "checkout 1 2 0"},
		"what is skipped":             {50, records(is(a1, client.NotServing), is("x", client.Serving), is("y", client.NotServing)), false, a1, "checkout 0 2 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry(t)
				if err := WithPanic(test.percent)(r.builder); err != nil {
					t.Fatal(err)
				}
				c := r.channel()
				defer c.resolver.Close()
				r.off(test.off)
				r.both(1, test.records...)
				c.has(t, test.want)
				if got := r.counts[len(r.counts)-1]; got != test.count {
					t.Errorf("counted %q; want %q", got, test.count)
				}
				if told := r.logged("too few instances"); told != !strings.HasSuffix(test.count, " 0") {
					t.Errorf("told: %v", told)
				}
			})
		})
	}
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

// TestChannelsShareAWatch: 1,000 channels cost the registry what one does.
func TestChannelsShareAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		var channels []*conn
		for range 1000 {
			channels = append(channels, r.channel())
		}
		r.off(false)
		r.both(1, is(a1, client.Serving))
		if r.open.Load() != 2 {
			t.Errorf("%d watches", r.open.Load())
		}
		for _, c := range channels {
			c.has(t, a1)
		}
		late := r.channel()
		late.has(t, a1)
		late.resolver.Close()
		for i, c := range channels {
			if r.open.Load() != 2 {
				t.Fatalf("%d watches while %d channels are left", r.open.Load(), len(channels)-i)
			}
			c.resolver.Close()
		}
		if r.open.Load() != 0 { // not even for a moment: Close has waited
			t.Errorf("%d watches without a channel", r.open.Load())
		}
		if last := r.counts[len(r.counts)-1]; last != "checkout 0 0 0" {
			t.Errorf("counted %q", last)
		}
	})
}

// TestSlowChannelDelaysNoOther: a policy may take its time.
func TestSlowChannelDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		busy := make(chan struct{})
		slow, c := r.channelOf(&conn{busy: busy}), r.channel()
		defer c.resolver.Close()
		r.off(false)
		r.both(1, is(a1, client.Serving))
		c.has(t, a1)
		slow.has(t, "waits")
		close(busy)
		slow.has(t, a1)
		slow.resolver.Close()
	})
}

func TestCloseWaitsForTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		busy := make(chan struct{})
		c, other := r.channelOf(&conn{busy: busy}), r.channel()
		defer other.resolver.Close()
		r.off(false)
		r.both(1, is(a1, client.Serving))
		closed := make(chan struct{})
		go func() {
			c.resolver.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close came back while UpdateState was called")
		default:
		}
		close(busy)
		<-closed
	})
}

// TestChannelWhileTheLastOneCloses: the two share what is known, one after the other.
func TestChannelWhileTheLastOneCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.ends = make(chan struct{})
		c := r.channel()
		r.off(false)
		r.both(1, is(a1, client.Serving))
		closed := make(chan struct{})
		go func() {
			c.resolver.Close()
			close(closed)
		}()
		synctest.Wait()
		next := r.channel()
		if r.opened.Load() != 2 {
			t.Errorf("%d watches were opened before the first two had ended", r.opened.Load())
		}
		close(r.ends)
		<-closed
		r.both(2, is(a2, client.Serving))
		next.has(t, a2)
		next.resolver.Close()
	})
}

// TestIdleChannel: gRPC closes the resolver of a channel that is not used, and builds one when it is used again.
func TestIdleChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		c := r.channel()
		r.off(false)
		r.both(900, is(a1, client.Serving), overridden(a2, client.NotServing, nil))
		c.has(t, a1)
		c.resolver.Close()
		time.Sleep(time.Hour)

		// The registry fell silent meanwhile: the list stays.
		c = r.channel()
		c.has(t, "waits")
		time.Sleep(rememberedAfter)
		c.has(t, a1)
		r.fail("a", errors.New("refused"))
		r.fail("b", errors.New("refused"))
		c.has(t, a1)
		c.resolver.Close()

		// It refuses connections: the list comes at once.
		c = r.channel()
		r.fail("a", errors.New("refused"))
		r.fail("b", errors.New("refused"))
		c.has(t, a1)
		c.resolver.Close()

		// It was wiped: what was so is held.
		c = r.channel()
		r.begin("Y", "a", 1, is(a2, client.Serving), is(a3, client.Serving))
		c.has(t, a1+" "+a3)
		c.resolver.Close()

		// It answers: what it says counts, and nothing that it said before.
		c = r.channel()
		r.begin("Y", "a", 2, is(a1, client.NotServing), is(a3, client.Serving))
		c.has(t, a3)
		c.resolver.Close()
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
		halves := halvesOf(endpoints)
		if got := slices.Concat(halves...); !slices.Equal(got, endpoints) {
			t.Errorf("%q became %q", endpoints, halves)
		}
		if want := min(2, len(endpoints)); len(halves) != want || len(halves[0]) == 0 {
			t.Errorf("%q became %q", endpoints, halves)
		}
	}
}
