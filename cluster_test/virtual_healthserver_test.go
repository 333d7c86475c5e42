package cluster_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

const (
	shopCart         = "shop/cart"
	shopCartAddress  = "10.0.0.7:8080"
	shopCartInstance = shopCart + "/" + shopCartAddress
)

// virtualInstance is a process with the drop-in health server.
type virtualInstance struct {
	*healthserver.Server
	c      *virtual
	client *client.Client
	ran    chan error
}

// instance starts a process; opts come after those that every process has.
func (c *virtual) instance(opts ...healthserver.Option) *virtualInstance {
	c.t.Helper()
	cl := c.client()
	s, err := healthserver.New(shopCart, append([]healthserver.Option{healthserver.WithClient(cl), healthserver.WithInstance(shopCartAddress)}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	i := &virtualInstance{Server: s, c: c, client: cl, ran: make(chan error, 1)}
	go func() { i.ran <- s.Run(context.Background()) }()
	return i
}

// stop stops the process in order.
func (i *virtualInstance) stop() {
	i.c.t.Helper()
	i.Stop(i.c.patiently(), nil)
	if err := <-i.ran; err != nil {
		i.c.t.Errorf("Run returns %v", err)
	}
	i.client.Close()
}

// shows is what the process answers.
func (i *virtualInstance) shows() client.Status {
	resp, err := i.Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil {
		i.c.t.Fatal(err)
	}
	return resp.GetStatus()
}

// within waits until the process shows want, at most d.
func (i *virtualInstance) within(d time.Duration, what string, want client.Status) {
	i.c.t.Helper()
	if took := i.c.until(what, func() bool { return i.shows() == want }); took > d {
		i.c.t.Errorf("%s: %v shows after %v", what, want, took)
	}
}

// TestVirtualHealthServerFollowsTheRegistry: what operators do is seen, by a report of SERVICE, by overrides of either
// name and by a shutdown, and undone.
func TestVirtualHealthServerFollowsTheRegistry(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		cl := c.client()
		defer cl.Close()
		i := c.instance(healthserver.WithPublish(healthserver.Publish{OnStop: client.StopWithdraw}))
		i.within(time.Second, "the start", serving)
		c.until("the report", func() bool { return c.nodes[0].check(shopCartInstance) == serving })

		c.set(cl, shopCart, notServing)
		i.within(time.Second, "SERVICE off", notServing)
		if got := c.nodes[0].check(shopCartInstance); got != serving {
			t.Errorf("while it is switched off the process reports %v", got)
		}
		c.set(cl, shopCart, serving)
		i.within(time.Second, "SERVICE on", serving)
		for _, pattern := range []string{shopCart, shopCartInstance, shopCart + "/*", "shop/*", "*"} {
			c.override(cl, pattern, notServing, client.WriteOptions{})
			i.within(time.Second, "override "+pattern, notServing)
			c.clearOverride(cl, pattern)
			i.within(time.Second, "cleared "+pattern, serving)
		}
		if _, err := cl.Shutdown(c.patiently(), client.WriteOptions{TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		i.within(time.Second, "shutdown", notServing)
		i.within(2*time.Minute, "the end of the shutdown", serving)

		i.SetServingStatus("", notServing) // its own word is no opinion, and comes back as none
		c.until("NOT_SERVING reported", func() bool { return c.nodes[0].check(shopCartInstance) == notServing })
		i.SetServingStatus("", serving)
		if got := i.shows(); got != serving {
			t.Errorf("it shows %v at once", got)
		}
		c.until("SERVING reported", func() bool { return c.nodes[0].check(shopCartInstance) == serving })
		i.stop()
		c.caughtUp()
		if got := c.nodes[0].check(shopCartInstance); got == serving || got == notServing {
			t.Errorf("it stopped and its report is %v", got)
		}
	})
}

// TestVirtualHealthServerIsFailStatic: nothing that happens to the registry changes what a process shows, and the next
// flip is seen.
func TestVirtualHealthServerIsFailStatic(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		i := c.instance()
		defer i.stop()
		i.within(time.Second, "the start", serving)
		for _, now := range []client.Status{notServing, serving} {
			cl := c.client()
			c.set(cl, shopCart, now)
			i.within(10*time.Second, "a flip", now) // after a long silence watches pause up to 5 s
			cl.Close()
			for _, n := range c.nodes {
				n.stop()
			}
			for range 60 {
				time.Sleep(10 * time.Second)
				if got := i.shows(); got != now {
					t.Fatalf("all nodes are away and it shows %v, not %v", got, now)
				}
			}
			for _, n := range c.nodes {
				n.start()
			}
			c.waitReady()
		}
	})
}

// TestVirtualHealthServerStartsOff: a process that is restarted while it, or its pattern, is switched off shows nothing
// else for a moment, also when its earlier report is gone.
func TestVirtualHealthServerStartsOff(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, pattern := range []string{shopCart, shopCartInstance, shopCart + "/*"} {
		t.Run(pattern, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				c.awaitLevel(2)
				cl := c.client()
				defer cl.Close()
				if pattern == shopCart {
					c.set(cl, shopCart, serving)
				}
				c.override(cl, pattern, notServing, client.WriteOptions{})
				publish := healthserver.WithPublish(healthserver.Publish{OnStop: client.StopWithdraw})
				for range 2 {
					i := c.instance(publish)
					for range 2000 {
						time.Sleep(time.Millisecond)
						if got := i.shows(); got != notServing {
							t.Fatalf("it shows %v", got)
						}
					}
					i.stop()
				}
				c.clearOverride(cl, pattern)
				i := c.instance(publish)
				i.within(time.Second, "a start while on", serving)
				i.stop()
			})
		})
	}
}

// TestVirtualHealthServerThatDies: its report turns when the TTL has passed, and a process that was only cut off for
// longer reports itself anew.
func TestVirtualHealthServerThatDies(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		const ttl = 4 * time.Second
		i := c.instance(healthserver.WithPublish(healthserver.Publish{TTL: ttl}))
		reported := func() client.Status { return c.nodes[0].check(shopCartInstance) }
		c.until("the report", func() bool { return reported() == serving })
		i.client.Close() // as a process that is killed: nothing more is said
		if took := c.until("the end of the lease", func() bool { return reported() == notServing }); took > ttl+time.Second {
			t.Errorf("NOT_SERVING after %v", took)
		}
		if got := i.shows(); got != serving {
			t.Errorf("the process itself shows %v", got)
		}
		i.Stop(context.Background(), nil)
		<-i.ran

		again := c.instance(healthserver.WithPublish(healthserver.Publish{TTL: ttl}))
		c.until("the report of the next process", func() bool { return reported() == serving })
		again.within(time.Second, "its start", serving)
		again.stop()
		c.caughtUp()
		if got := slices.Compact(c.had(shopCartInstance)); !slices.Equal(got, []client.Status{serving, notServing, serving, notServing}) {
			t.Errorf("the report was %v", got)
		}
	})
}

// TestVirtualHealthServerInAnotherCluster: a registry that lost everything switches nobody on.
func TestVirtualHealthServerInAnotherCluster(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		cl := c.client()
		c.override(cl, shopCartInstance, notServing, client.WriteOptions{TTL: client.Forever})
		cl.Close()
		i := c.instance(healthserver.WithPublish(healthserver.Publish{}))
		defer i.stop()
		c.until("the report", func() bool { return c.nodes[0].check(shopCartInstance) == notServing })
		i.within(time.Second, "the start", notServing)
		c.replace("")
		c.awaitLevel(2)
		c.until("the report in the other cluster", func() bool { return c.nodes[0].check(shopCartInstance) == serving })
		for range 60 {
			time.Sleep(time.Second)
			if got := i.shows(); got != notServing {
				t.Fatalf("another cluster, and it shows %v", got)
			}
		}
		cl = c.client()
		defer cl.Close()
		c.override(cl, shopCartInstance, serving, client.WriteOptions{})
		i.within(10*time.Second, "a word of an operator", serving)
		c.override(cl, shopCartInstance, notServing, client.WriteOptions{})
		i.within(time.Second, "the next flip", notServing)
	})
}

// TestVirtualHealthServerRemembersOff: a process that is restarted while the registry is away stays off, until the
// registry says otherwise; another cluster that knows nothing says nothing.
func TestVirtualHealthServerRemembersOff(t *testing.T) {
	beside(t, ofVirtualTime)
	for _, by := range []string{shopCart, shopCartInstance} {
		t.Run(by, func(t *testing.T) {
			inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
				c.awaitLevel(2)
				opts := []healthserver.Option{
					healthserver.WithStateFile(filepath.Join(t.TempDir(), "off")),
					healthserver.WithPublish(healthserver.Publish{OnStop: client.StopWithdraw}),
				}
				cl := c.client()
				c.override(cl, by, notServing, client.WriteOptions{TTL: client.Forever})
				if by == shopCart {
					c.set(cl, shopCart, serving) // an override makes no service exist
				}
				cl.Close()
				i := c.instance(opts...)
				i.within(time.Second, "the start", notServing)
				c.until("the report", func() bool { return c.nodes[0].check(shopCartInstance) != unknown })
				i.within(time.Second, "the override", notServing)
				i.stop()
				for _, n := range c.nodes {
					n.stop()
				}

				i = c.instance(opts...)
				stays := func(what string) {
					t.Helper()
					for range 60 {
						time.Sleep(time.Second)
						if got := i.shows(); got != notServing {
							t.Fatalf("%s: it shows %v", what, got)
						}
					}
				}
				stays("the registry is away")
				for _, n := range c.nodes {
					n.start()
				}
				c.waitReady()
				stays("the registry is back")
				c.replace("")
				c.awaitLevel(2)
				stays("another cluster")
				cl = c.client()
				defer cl.Close()
				if by == shopCart {
					c.set(cl, shopCart, serving)
				} else {
					c.override(cl, by, serving, client.WriteOptions{})
				}
				i.within(10*time.Second, "a word of an operator", serving)
				i.stop()
			})
		})
	}
}
