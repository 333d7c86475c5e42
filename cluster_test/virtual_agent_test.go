package cluster_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/rollcallhq/rollcall/agent"
	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// virtualAgent is an agent that watches services of a real registry, and a stock client that asks it.
type virtualAgent struct {
	*agent.Agent
	c    *virtual
	conn *grpc.ClientConn
	end  context.CancelFunc
	ran  chan error
}

// agentCheck is a check that fails while a test wants.
func agentCheck(failing *atomic.Bool) config.Check {
	return config.Check{
		Name: "c", Kind: "func", Spec: "func",
		New: func() checks.Check {
			return checks.Func("c", func(context.Context) error {
				if failing.Load() {
					return errors.New("no")
				}
				return nil
			})
		},
		Options: []checks.CheckOption{checks.Interval(time.Second), checks.Fall(1)},
	}
}

// agentFile is the configuration of an agent. Its services have the address of shopCart, unless they say another.
func (c *virtual) agentFile(services ...config.Service) *config.Config {
	cfg := &config.Config{TTL: 4 * time.Second, ForgetAfter: time.Hour, GRPC: "agent:7610", Services: services}
	for _, n := range c.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.api)
	}
	for i := range services {
		services[i].Instance = shopCartAddress
	}
	return cfg
}

// agent starts an agent.
func (c *virtual) agent(cfg *config.Config) *virtualAgent {
	c.t.Helper()
	l := bufconn.Listen(64 << 10)
	a, err := agent.New(cfg, agent.Options{
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(c.dialer)},
		Listen:      func(string) (net.Listener, error) { return l, nil },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &virtualAgent{Agent: a, c: c, conn: conn, end: cancel, ran: make(chan error, 1)}
	go func() { v.ran <- a.Run(ctx) }()
	return v
}

// stop stops the agent in order.
func (v *virtualAgent) stop() {
	v.c.t.Helper()
	begun := time.Now()
	v.end()
	if err := <-v.ran; err != nil {
		v.c.t.Errorf("Run returns %v", err)
	}
	if took := time.Since(begun); took > agent.StopTimeout {
		v.c.t.Errorf("the end took %v", took)
	}
	v.conn.Close()
}

// shows is what a local client is told of a service.
func (v *virtualAgent) shows(name string) client.Status {
	v.c.t.Helper()
	resp, err := healthpb.NewHealthClient(v.conn).Check(context.Background(), &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
	if err != nil {
		v.c.t.Fatal(err)
	}
	return resp.GetStatus()
}

// within waits until the agent shows want of shopCart, at most d.
func (v *virtualAgent) within(d time.Duration, what string, want client.Status) {
	v.c.t.Helper()
	if took := v.c.until(what, func() bool { return v.shows(shopCart) == want }); took > d {
		v.c.t.Errorf("%s: %v shows after %v", what, want, took)
	}
}

// TestVirtualAgentFollowsTheRegistry as a process with client/healthserver does, and reports its services by their
// on_stop under one lease each.
func TestVirtualAgentFollowsTheRegistry(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		cl := c.client()
		defer cl.Close()
		var failing, no atomic.Bool
		a := c.agent(c.agentFile(
			config.Service{Name: "bank", OnStop: client.StopNotServing, Checks: []config.Check{agentCheck(&no)}},
			config.Service{Name: "mail", OnStop: client.StopLeave, Checks: []config.Check{agentCheck(&no)}},
			config.Service{Name: shopCart, OnStop: client.StopWithdraw, Checks: []config.Check{agentCheck(&failing)}},
		))
		a.within(time.Second, "the start", serving)
		reported := func(name string) client.Status { return c.nodes[0].check(name + "/" + shopCartAddress) }
		for _, name := range []string{"bank", "mail", shopCart} {
			c.until("the report of "+name, func() bool { return reported(name) == serving })
		}
		if who := c.nodes[0].services()["bank/"+shopCartAddress].GetReport().GetActor().GetName(); !strings.HasPrefix(who, "agent") {
			t.Errorf("the reports are by %q", who)
		}
		c.set(cl, shopCart, notServing)
		a.within(time.Second, "SERVICE off", notServing)
		if got := reported(shopCart); got != serving {
			t.Errorf("while it is switched off the agent reports %v", got)
		}
		c.set(cl, shopCart, serving)
		a.within(time.Second, "SERVICE on", serving)
		for _, pattern := range []string{shopCart, shopCartInstance, shopCart + "/*", "shop/*", "*"} {
			c.override(cl, pattern, notServing, client.WriteOptions{})
			a.within(time.Second, "override "+pattern, notServing)
			if got, want := a.shows("bank"), map[bool]client.Status{true: notServing, false: serving}[pattern == "*"]; got != want {
				t.Errorf("override %s: bank shows %v", pattern, got)
			}
			c.clearOverride(cl, pattern)
			a.within(time.Second, "cleared "+pattern, serving)
		}
		failing.Store(true) // its own word is no opinion, and comes back as none
		c.until("NOT_SERVING reported", func() bool { return reported(shopCart) == notServing })
		failing.Store(false)
		a.within(2*time.Second, "the check passes", serving)
		c.until("SERVING reported", func() bool { return reported(shopCart) == serving })
		time.Sleep(10 * time.Second)
		a.stop()
		c.caughtUp()
		time.Sleep(time.Minute)
		for name, want := range map[string]client.Status{"bank": notServing, "mail": serving} {
			if got := reported(name); got != want {
				t.Errorf("after the end %s is %v, want %v", name, got, want)
			}
		}
		if got := reported(shopCart); got == serving || got == notServing {
			t.Errorf("after the end %s is %v", shopCart, got)
		}
	})
}

// TestVirtualAgentStartsOff: an agent that is restarted while its service is switched off shows nothing else for a
// moment, also when its earlier report is gone.
func TestVirtualAgentStartsOff(t *testing.T) {
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
				var no atomic.Bool
				cfg := c.agentFile(config.Service{Name: shopCart, OnStop: client.StopWithdraw, Checks: []config.Check{agentCheck(&no)}})
				for range 2 {
					a := c.agent(cfg)
					for range 1000 {
						time.Sleep(5 * time.Millisecond)
						if got := a.shows(shopCart); got == serving {
							t.Fatalf("it shows %v", got)
						}
					}
					a.stop()
				}
				c.clearOverride(cl, pattern)
				a := c.agent(cfg)
				a.within(time.Second, "a start while on", serving)
				a.stop()
			})
		})
	}
}

// TestVirtualAgentIsFailStatic: nothing that happens to the registry changes what an agent shows. An agent that starts
// without it decides alone, until the registry is back.
func TestVirtualAgentIsFailStatic(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		var no atomic.Bool
		cfg := c.agentFile(config.Service{Name: shopCart, OnStop: client.StopWithdraw, Checks: []config.Check{agentCheck(&no)}})
		a := c.agent(cfg)
		a.within(time.Second, "the start", serving)
		for _, now := range []client.Status{notServing, serving, notServing} {
			cl := c.client()
			c.set(cl, shopCart, now)
			a.within(10*time.Second, "a flip", now)
			cl.Close()
			for _, n := range c.nodes {
				n.stop()
			}
			for range 30 {
				time.Sleep(10 * time.Second)
				if got := a.shows(shopCart); got != now {
					t.Fatalf("all nodes are away and it shows %v, not %v", got, now)
				}
				if err := a.Alive(t.Context()); err != nil {
					t.Fatalf("all nodes are away: %v", err)
				}
			}
			if now == notServing {
				for _, n := range c.nodes {
					n.start()
				}
				c.waitReady()
				continue
			}
			a.stop()
			a = c.agent(cfg)
			a.within(time.Second, "a start without the registry", serving)
			for _, n := range c.nodes {
				n.start()
			}
			c.waitReady()
			c.until("the report", func() bool { return c.nodes[0].check(shopCartInstance) == serving })
		}
		a.stop()
	})
}

// TestVirtualAgentInAnotherCluster: a registry that lost everything switches nobody on, and gets all reports anew.
func TestVirtualAgentInAnotherCluster(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		cl := c.client()
		c.override(cl, shopCart+"/*", notServing, client.WriteOptions{TTL: client.Forever})
		cl.Close()
		var no atomic.Bool
		shop := config.Service{Name: shopCart, OnStop: client.StopWithdraw, Checks: []config.Check{agentCheck(&no)}}
		a := c.agent(c.agentFile(shop, config.Service{Name: "bank", Checks: []config.Check{agentCheck(&no)}}))
		defer a.stop()
		c.until("the report", func() bool { return c.nodes[0].check(shopCartInstance) == notServing })
		a.within(time.Second, "the start", notServing)
		c.replace("")
		c.awaitLevel(2)
		c.until("the report in the other cluster", func() bool { return c.nodes[0].check(shopCartInstance) == serving })
		c.until("the other report", func() bool { return c.nodes[0].check("bank/"+shopCartAddress) == serving })
		for i := range 60 {
			time.Sleep(time.Second)
			if got := a.shows(shopCart); got != notServing {
				t.Fatalf("another cluster, and it shows %v", got)
			}
			if i == 30 { // new views do not forget it
				if err := a.Reload(c.agentFile(shop)); err != nil {
					t.Fatal(err)
				}
			}
		}
		cl = c.client()
		defer cl.Close()
		c.override(cl, shopCartInstance, serving, client.WriteOptions{})
		a.within(10*time.Second, "a word of an operator", serving)
		c.override(cl, shopCartInstance, notServing, client.WriteOptions{})
		a.within(time.Second, "the next flip", notServing)
	})
}

// TestVirtualAgentReloads: what is written of services is what reloads change, and nothing else.
func TestVirtualAgentReloads(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		var no, failing atomic.Bool
		s := func(name string, stop client.OnStop, failing *atomic.Bool) config.Service {
			return config.Service{Name: name, OnStop: stop, Checks: []config.Check{agentCheck(failing)}}
		}
		a := c.agent(c.agentFile(s("bank", client.StopNotServing, &no), s("mail", client.StopWithdraw, &no), s("post", client.StopNotServing, &no)))
		reported := func(name string) client.Status { return c.nodes[0].check(name + "/" + shopCartAddress) }
		for _, name := range []string{"bank", "mail", "post"} {
			c.until("the report of "+name, func() bool { return reported(name) == serving })
		}
		for range 3 { // post goes to the other lease and back; mail goes and comes back
			if err := a.Reload(c.agentFile(s("bank", client.StopNotServing, &no), s("post", client.StopWithdraw, &no))); err != nil {
				t.Fatal(err)
			}
			c.until("mail is gone", func() bool { return reported("mail") != serving })
			if err := a.Reload(c.agentFile(s("bank", client.StopNotServing, &no), s("mail", client.StopWithdraw, &no), s("post", client.StopNotServing, &no))); err != nil {
				t.Fatal(err)
			}
			c.until("mail is back", func() bool { return reported("mail") == serving })
		}
		failing.Store(true)
		time.Sleep(10 * time.Second)
		bad := c.agentFile(s("bank", client.StopNotServing, &failing))
		bad.TTL = time.Minute
		if err := a.Reload(bad); err == nil || !strings.Contains(err.Error(), "ttl") {
			t.Errorf("Reload returns %v", err)
		}
		time.Sleep(time.Minute) // longer than any lease
		for _, name := range []string{"bank", "mail", "post"} {
			if got := reported(name); got != serving {
				t.Errorf("%s is %v", name, got)
			}
		}
		for _, name := range []string{"bank", "post"} {
			if got := slices.Compact(c.had(name + "/" + shopCartAddress)); !slices.Equal(got, []client.Status{serving}) {
				t.Errorf("%s was %v", name, got)
			}
		}
		a.stop()
		c.caughtUp()
		if bank, mail, post := reported("bank"), reported("mail"), reported("post"); bank != notServing || mail == serving || post != notServing {
			t.Errorf("after the end bank is %v, mail is %v, post is %v", bank, mail, post)
		}
	})
}

// TestVirtualAgentAndHealthServerAgree: an agent, and a process with client/healthserver that publishes, show the same
// of a service, whatever operators do and whatever becomes of the registry.
func TestVirtualAgentAndHealthServerAgree(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		const other = "10.0.0.8:8080" // of the agent
		var failing atomic.Bool
		cfg := c.agentFile(config.Service{Name: shopCart, OnStop: client.StopWithdraw, Checks: []config.Check{agentCheck(&failing)}})
		cfg.Services[0].Instance = other
		a := c.agent(cfg)
		defer func() { a.stop() }()
		i := c.instance(healthserver.WithPublish(healthserver.Publish{TTL: cfg.TTL, OnStop: client.StopWithdraw}))
		defer i.stop()
		r := rand.New(rand.NewPCG(1, 2))
		seen := map[client.Status]int{}
		for step := range 120 {
			cl := c.client()
			pattern := []string{shopCart, shopCart + "/*", "*", "instance"}[r.IntN(4)]
			patterns := []string{pattern}
			if pattern == "instance" {
				patterns = []string{shopCartInstance, shopCart + "/" + other}
			}
			switch r.IntN(6) {
			case 0, 1, 2:
				s, ttl := []client.Status{serving, notServing}[r.IntN(2)], []time.Duration{time.Minute, client.Forever}[r.IntN(2)]
				for _, p := range patterns {
					c.override(cl, p, s, client.WriteOptions{TTL: ttl})
				}
			case 3:
				for _, p := range patterns {
					_, _ = cl.ClearOverride(c.patiently(), p, client.WriteOptions{}) // there may be none
				}
			case 4:
				c.set(cl, shopCart, []client.Status{serving, notServing, unknown}[r.IntN(3)])
			case 5:
				failing.Store(!failing.Load())
				i.SetServingStatus("", map[bool]client.Status{true: notServing, false: serving}[failing.Load()])
			}
			cl.Close()
			switch step {
			case 40, 80:
				c.replace("") // founded anew
				c.awaitLevel(2)
			case 60:
				for _, n := range c.nodes {
					n.stop()
				}
				time.Sleep(time.Minute)
				for _, n := range c.nodes {
					n.start()
				}
				c.waitReady()
			}
			time.Sleep(10 * time.Second)
			got, want := a.shows(shopCart), i.shows()
			if got != want {
				t.Fatalf("step %d, %s: the agent shows %v, the health server %v", step, pattern, got, want)
			}
			seen[got]++
		}
		if seen[serving] < 10 || seen[notServing] < 10 {
			t.Errorf("it was no test: shown was %v", seen)
		}
	})
}
