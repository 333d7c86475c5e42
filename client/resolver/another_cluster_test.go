package resolver

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

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
		if !r.logged("they stay off") {
			t.Error("nobody was told that an instance stays off")
		}
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

// TestExpiredLeaseEndsNoHold: what it leaves has no lease, and is no operator's word.
func TestExpiredLeaseEndsNoHold(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(900, is(a1, client.Serving), overridden(a2, client.NotServing, nil))
		r.connect("a", false)
		r.connect("b", false)
		r.begin("Y", "a", 1, is(a1, client.Serving), is(a2, client.Serving))
		expired := is(a2, client.NotServing)
		expired.Report.LeaseId = ""
		r.sayOf("Y", "a", 2, expired)
		r.sayOf("Y", "a", 3, is(a2, client.Serving)) // it starts again
		c.has(t, a1)
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

// TestIdleWhileTheClusterChanged: SERVICE was switched off, and the new cluster has not spoken of it.
func TestIdleWhileTheClusterChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		c := r.channel()
		r.off(true)
		r.both(900, is(a1, client.Serving))
		c.has(t, "none")
		c.resolver.Close()
		r.opine(view.Opinion{})
		time.Sleep(time.Hour)

		c = r.channel()
		defer c.resolver.Close()
		r.begin("Y", "a", 1, is(a1, client.Serving))
		r.opine(view.Opinion{Heard: true, Cluster: "Y", Status: client.ServiceUnknown})
		c.has(t, "none")
		r.opine(view.Opinion{Heard: true, Cluster: "Y", Status: client.Serving})
		c.has(t, a1)
		r.opine(view.Opinion{Heard: true, Cluster: "Y", Status: client.NotServing, Off: true})
		c.has(t, "none")
		r.opine(view.Opinion{Heard: true, Cluster: "Y", Status: client.ServiceUnknown}) // deleted
		c.has(t, a1)
	})
}
