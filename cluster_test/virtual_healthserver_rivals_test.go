package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// TestVirtualHealthServerRestartsWithAnOverlap: the next process of an instance publishes before the one before it has
// stopped, as with SO_REUSEPORT. The end of the older one leaves the report of the living one alone.
func TestVirtualHealthServerRestartsWithAnOverlap(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, onStop := range []client.OnStop{client.StopNotServing, client.StopWithdraw, client.StopLeave} {
		t.Run(onStop.String(), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				c.awaitLevel(2)
				publish := healthserver.WithPublish(healthserver.Publish{OnStop: onStop})
				reported := func() client.Status { return c.nodes[0].check(shopCartInstance) }
				older := c.instance(publish)
				c.until("the report", func() bool { return reported() == serving })
				newer := c.instance(publish)
				defer newer.stop()
				time.Sleep(5 * time.Second)
				older.stop()
				time.Sleep(time.Minute)
				c.caughtUp()
				if got := slices.Compact(c.had(shopCartInstance)); !slices.Equal(got, []client.Status{serving}) {
					t.Errorf("the report was %v", got)
				}
			})
		})
	}
}

// TestVirtualHealthServerOutlivesARival: another process takes the instance over, says NOT_SERVING and ends, in order
// or by its TTL. The living one publishes again.
func TestVirtualHealthServerOutlivesARival(t *testing.T) {
	beside(t, ofVirtualTime)
	const ttl = 4 * time.Second
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies %v", dies), func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				c.awaitLevel(2)
				publish := healthserver.WithPublish(healthserver.Publish{TTL: ttl, OnStop: client.StopWithdraw})
				reported := func() client.Status { return c.nodes[0].check(shopCartInstance) }
				living := c.instance(publish)
				defer living.stop()
				c.until("the report", func() bool { return reported() == serving })
				rival := c.instance(publish)
				c.until("the rival's report", func() bool { return len(c.had(shopCartInstance)) == 2 })
				rival.SetServingStatus("", notServing)
				c.until("the rival's word", func() bool { return reported() == notServing })
				time.Sleep(time.Minute)
				if got := reported(); got != notServing {
					t.Errorf("the rival lives, and the report is %v", got)
				}
				if dies {
					rival.client.Close()
				} else {
					rival.stop()
				}
				if took := c.until("the report of the living one", func() bool { return reported() == serving }); took > ttl+2*time.Second {
					t.Errorf("SERVING after %v", took)
				}
				events := len(c.had(shopCartInstance))
				time.Sleep(time.Minute)
				if got := reported(); got != serving || len(c.had(shopCartInstance)) != events {
					t.Errorf("a minute later it is %v, after %v", got, c.had(shopCartInstance))
				}
				if dies {
					rival.stop()
				}
			})
		})
	}
}
