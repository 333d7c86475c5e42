package resolver

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

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
