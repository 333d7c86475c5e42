package cluster_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/resolver"
	"github.com/rollcallhq/rollcall/client/view"
	"github.com/rollcallhq/rollcall/internal/grpctest"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// resolved is a channel to instances that report themselves to a cluster, under load.
type resolved struct {
	*virtual
	app       *client.Client // that the channel uses; its host is "app"
	operator  *client.Client
	backends  map[string]*grpctest.Backend
	reporters map[string]*virtualKeeper // each instance is a process of its own
	conn      *grpc.ClientConn
	load      *grpctest.Load
}

// usually is how long a call takes.
const usually = 50 * time.Millisecond

var instances = []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}

func resolve(t *testing.T, c *virtual, opts ...aware.Option) *resolved {
	t.Helper()
	net := grpctest.NewNetwork(t)
	r := &resolved{virtual: c, operator: c.client(), backends: map[string]*grpctest.Backend{}, reporters: map[string]*virtualKeeper{}}
	cfg := client.DefaultConfig()
	cfg.Endpoints = nil
	for _, n := range c.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.api)
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(c.net.Host("app").Dial)}
	var err error
	r.app, err = client.New(cfg)
	must(t, err)
	for _, i := range instances {
		r.backends[i] = net.Start(i)
		r.backends[i].Set(usually, nil)
		r.reporters[i] = c.keep(client.StopLeave)
		r.reporters[i].report("checkout/"+i, serving)
	}
	found, err := resolver.New(r.app)
	must(t, err)
	r.conn, err = aware.Dial("rollcall:///checkout", "", append(opts, aware.WithResolver(found), aware.WithDialOptions(net.DialOption()))...)
	must(t, err)
	r.load = grpctest.StartLoad(r.conn, 6, 10*time.Second)
	for _, i := range instances {
		c.until("calls to "+i, func() bool { return r.backends[i].Calls() > 0 })
	}
	return r
}

// calm ends the load, and fails the test if a call failed.
func (r *resolved) calm() {
	r.t.Helper()
	if r.load == nil {
		return
	}
	calls, failures := r.load.Stop()
	r.load = nil
	r.t.Logf("%d calls", calls)
	if len(failures) > 0 {
		r.t.Errorf("%d of %d calls failed, the first with: %v", len(failures), calls, failures[0])
	}
}

func (r *resolved) close() {
	r.t.Helper()
	r.calm()
	r.conn.Close()
	r.app.Close()
	r.operator.Close()
	for _, k := range r.reporters {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_ = k.Close(ctx)
		cancel()
		k.client.Close()
	}
}

// leaves waits until no more calls go to an instance, and returns when the last one came, counted from now.
func (r *resolved) leaves(i string) time.Duration {
	r.t.Helper()
	began, last := time.Now(), time.Now()
	for calls := r.backends[i].Calls(); time.Since(last) < time.Second; time.Sleep(time.Millisecond) {
		if now := r.backends[i].Calls(); now != calls {
			calls, last = now, time.Now()
		}
		if time.Since(began) > virtualPatience {
			r.t.Fatalf("calls still go to %s", i)
		}
	}
	return last.Sub(began)
}

// slowly is how long the calls of a slow load take.
const slowly = time.Second

// idle lets some time pass under a slow load, and then a moment under the usual one.
func (r *resolved) idle(long time.Duration) {
	r.t.Helper()
	for _, b := range r.backends {
		b.Set(slowly, nil)
	}
	time.Sleep(long)
	for _, b := range r.backends {
		b.Set(usually, nil)
	}
	time.Sleep(slowly + usually) // the slow calls are over
}

// stays fails the test if a call goes to an instance within some time.
func (r *resolved) stays(when, i string, long time.Duration) {
	r.t.Helper()
	calls := r.backends[i].Calls()
	r.idle(long)
	if more := r.backends[i].Calls() - calls; more > 0 {
		r.t.Errorf("%s: %d calls went to %s", when, more, i)
	}
}

// comesBack waits until calls go to an instance, and returns how long that took.
func (r *resolved) comesBack(when, i string) time.Duration {
	r.t.Helper()
	calls := r.backends[i].Calls()
	return r.until("calls to "+i+", "+when, func() bool { return r.backends[i].Calls() > calls })
}

// TestVirtualResolverFlips switches instances off and on, by report, by override and by pattern, also while any one
// node hangs or is cut off, and while the whole cluster is away.
func TestVirtualResolverFlips(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, likeInProduction, func(t *testing.T, c *virtual) {
		r := resolve(t, c)
		defer r.close()
		flip := func(when, i string) {
			r.override(r.operator, "checkout/"+i, notServing, client.WriteOptions{Reason: when})
			if last := r.leaves(i); last > 100*time.Millisecond {
				t.Errorf("%s: the last call came %v after the acknowledgement", when, last)
			}
			r.clearOverride(r.operator, "checkout/"+i)
			if took := r.comesBack(when, i); took > 200*time.Millisecond {
				t.Errorf("%s: the first call came %v after the acknowledgement", when, took)
			}
		}
		for _, i := range instances {
			r.reporters[i].report("checkout/"+i, notServing)
			if last := r.leaves(i); last > 100*time.Millisecond {
				t.Errorf("a report: the last call came after %v", last)
			}
			r.reporters[i].report("checkout/"+i, serving)
			r.comesBack("a report", i)
			flip("an override", i)
		}
		for _, n := range c.nodes {
			c.net.Partition(memnet.Stall, n.cfg.Name, "app")
			flip(n.cfg.Name+" hangs", instances[0])
			r.idle(20 * time.Second) // gRPC notices
			flip(n.cfg.Name+" has hung", instances[1])
			c.net.Heal()
			r.idle(20 * time.Second)
		}
		for _, n := range c.nodes {
			n.stop()
			c.leader()
			flip(n.cfg.Name+" is down", instances[2])
			n.start()
			c.waitReady()
		}
		r.override(r.operator, "checkout/"+instances[0], notServing, client.WriteOptions{TTL: client.Forever, Reason: "it stays off"})
		r.leaves(instances[0])
		for _, n := range c.nodes {
			n.stop()
		}
		r.stays("no node runs", instances[0], 10*time.Minute)
		for _, i := range instances[1:] {
			r.comesBack("no node runs", i)
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		r.stays("the nodes are back", instances[0], time.Minute)
		r.clearOverride(r.operator, "checkout/"+instances[0])
		if took := r.comesBack("it is cleared", instances[0]); took > time.Second {
			t.Errorf("the first call came after %v", took)
		}
		flip("the nodes were away", instances[1])
	})
}

// TestVirtualResolverAnotherCluster: the registry is founded anew on its addresses, and then restored from a backup.
func TestVirtualResolverAnotherCluster(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		r := resolve(t, c)
		defer r.close()
		off := instances[0]
		backup := c.backup(r.operator)
		r.override(r.operator, "checkout/"+off, notServing, client.WriteOptions{TTL: client.Forever, Reason: "it stays off"})
		r.leaves(off)

		c.replace("")
		c.until("all instances to have reported again", func() bool { return len(c.nodes[0].services()) == len(instances) })
		r.stays("the registry is empty", off, 10*time.Minute)
		for _, i := range instances[1:] {
			r.comesBack("the registry is empty", i)
		}
		// Later changes are seen, and the operator's word ends what is held.
		r.override(r.operator, "checkout/"+instances[1], notServing, client.WriteOptions{})
		if last := r.leaves(instances[1]); last > 2*virtualCommitTimeout+100*time.Millisecond {
			t.Errorf("the last call came after %v", last)
		}
		r.override(r.operator, "checkout/"+off, serving, client.WriteOptions{})
		r.comesBack("an operator said so", off)
		r.clearOverride(r.operator, "checkout/"+off)
		r.clearOverride(r.operator, "checkout/"+instances[1])
		r.comesBack("the override is cleared", instances[1])

		c.replace(backup)
		time.Sleep(time.Minute)
		for _, i := range instances {
			r.comesBack("the registry is restored", i)
		}
		r.calm()
		r.override(r.operator, "checkout/*", notServing, client.WriteOptions{})
		time.Sleep(time.Second)
		if _, err := testpb.NewTestServiceClient(r.conn).EmptyCall(c.ctx, &testpb.Empty{}); status.Code(err) != codes.Unavailable {
			t.Errorf("all are switched off: %v", err)
		}
		r.clearOverride(r.operator, "checkout/*")
		time.Sleep(time.Second)
		if _, err := testpb.NewTestServiceClient(r.conn).EmptyCall(c.ctx, &testpb.Empty{}); err != nil {
			t.Errorf("all are switched on again: %v", err)
		}
	})
}

// TestVirtualResolverDeadInstance: its lease ends, and it gets no more calls.
func TestVirtualResolverDeadInstance(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		r := resolve(t, c)
		defer r.close()
		dead := instances[2]
		r.reporters[dead].client.Close() // no word more
		if last := r.leaves(dead); last > keeperTTL+2*time.Second {
			t.Errorf("the last call came after %v; its TTL is %v", last, keeperTTL)
		}
	})
}

// TestVirtualAware: calls are refused at once while an operator switched the target off, who and why are told, and
// nothing else refuses them.
func TestVirtualAware(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		net, cl := grpctest.NewNetwork(t), c.client()
		defer cl.Close()
		net.Start("10.0.0.1:80")
		v, err := view.New(cl, []string{"checkout", "payments"})
		must(t, err)
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		c.wg.Go(func() { _ = v.Run(ctx) })
		conn, err := aware.Dial("passthrough:///10.0.0.1:80", "", aware.WithDialOptions(net.DialOption()),
			aware.WithView(v, aware.Mapping{"/grpc.testing.TestService/UnaryCall": "payments", "": "checkout"}))
		must(t, err)
		defer conn.Close()
		stub := testpb.NewTestServiceClient(conn)
		call := func() error { _, err := stub.EmptyCall(ctx, &testpb.Empty{}); return err }
		pay := func() error { _, err := stub.UnaryCall(ctx, &testpb.SimpleRequest{}); return err }

		must(t, call()) // neither name exists
		for _, s := range []client.Status{serving, unknown} {
			c.set(cl, "checkout", s)
			time.Sleep(time.Second)
			must(t, call())
		}
		_, err = cl.Set(c.patiently(), "checkout", notServing, client.WriteOptions{Reason: "a fire in cell a", Actor: "ann@laptop"})
		must(t, err)
		time.Sleep(time.Second)
		err = call()
		var info *errdetails.ErrorInfo
		for _, d := range status.Convert(err).Details() {
			info, _ = d.(*errdetails.ErrorInfo)
		}
		if status.Code(err) != codes.Unavailable || info.GetReason() != aware.ReasonTargetNotServing || info.GetDomain() != "rollcall" ||
			info.GetMetadata()["who"] != "ann@laptop" || info.GetMetadata()["why"] != "a fire in cell a" || info.GetMetadata()["service"] != "checkout" {
			t.Errorf("got %v with %v", err, info)
		}
		must(t, pay()) // another target
		if stream, err := stub.FullDuplexCall(ctx); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream was opened: %v, %v", stream, err)
		}
		for _, n := range c.nodes {
			n.stop()
		}
		time.Sleep(10 * time.Minute)
		if err := call(); status.Code(err) != codes.Unavailable {
			t.Errorf("the registry is away: %v", err)
		}
		must(t, pay())
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		c.set(cl, "checkout", serving)
		time.Sleep(6 * time.Second) // pauses between tries, after so long
		must(t, call())
	})
}
