package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checking, as stock clients switch it on
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// balancedConfig is the service config of docs/guarantees.md. bareConfig is the same without
// retries.
const balancedConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": %q},
  "methodConfig": [{
    "name": [{"service": "grpc.health.v1.Health", "method": "Check"}],
    "timeout": "5s",
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

const bareConfig = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": %q}}`

// balanced is a stock grpc-go client that balances over all nodes on one of the node's own names.
func (c *processes) balanced(config, name string) *grpc.ClientConn {
	c.t.Helper()
	r := manual.NewBuilderWithScheme("rollcall-test")
	var state resolver.State
	for _, p := range c.nodes {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: p.api}}})
	}
	r.InitialState(state)
	conn, err := grpc.NewClient(r.Scheme()+":///rollcall", grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(reconnect), grpc.WithDefaultServiceConfig(fmt.Sprintf(config, name)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// reconnect has clients back soon: this operator waits for nodes, not for their clients.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 5 * time.Second,
}

// reader calls Check without end and wants an answer every time.
type reader struct {
	what   string
	done   atomic.Int64
	failed atomic.Int64
}

func (r *reader) run(ctx context.Context, t *testing.T, conn *grpc.ClientConn) {
	health := healthpb.NewHealthClient(conn)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{Service: "payments"})
		if err != nil || resp.GetStatus() != serving {
			if r.failed.Add(1) <= 5 {
				t.Errorf("%s, read %d: %v %v", r.what, r.done.Load(), resp, err)
			}
		}
		r.done.Add(1)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// pauses notes the longest time between two acknowledged writes.
type pauses struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (p *pauses) run(ctx context.Context, cl *client.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		to := serving
		if i%2 == 1 {
			to = notServing
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := cl.Set(attempt, "pauses", to, client.WriteOptions{})
		cancel()
		if err != nil {
			continue
		}
		now := time.Now()
		p.mu.Lock()
		if !p.last.IsZero() {
			p.longest = max(p.longest, now.Sub(p.last))
		}
		p.last = now
		p.mu.Unlock()
	}
}

// take returns the longest pause since the last take.
func (p *pauses) take() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := max(p.longest, time.Since(p.last))
	p.longest = 0
	return longest
}

// TestProcessDrainStockClients restarts all nodes in turn, under a load of writes, while stock clients
// read: not one read may fail.
func TestProcessDrainStockClients(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	for _, p := range c.nodes {
		p.waitStatus("payments", serving)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	stop := func() {
		cancel()
		wg.Wait()
	}
	defer stop()
	var readers []*reader
	for _, b := range []struct{ what, config, name string }{
		{"balancing on rollcall.reads", balancedConfig, rollcallv1.OwnReads},
		{`balancing on ""`, balancedConfig, rollcallv1.OwnReady},
		{"balancing on rollcall.reads without retries", bareConfig, rollcallv1.OwnReads},
	} {
		r := &reader{what: b.what}
		conn := c.balanced(b.config, b.name)
		readers = append(readers, r)
		wg.Go(func() { r.run(ctx, t, conn) })
	}
	progress := func(n int64) {
		t.Helper()
		for _, r := range readers {
			want := r.done.Load() + n
			eventually(t, "reads", func(context.Context) bool { return r.done.Load() >= want })
		}
	}
	w := &pauses{}
	cl := c.client()
	wg.Go(func() { w.run(ctx, cl) })
	l := startLoad(t, cl, 2)
	l.wait(20)
	w.take()
	for _, p := range c.nodes {
		led := p.check(ctx, rollcallv1.OwnLeader) == serving
		progress(100)
		start := time.Now()
		p.stop()
		stopped := time.Since(start)
		progress(100)
		p.start()
		p.waitStatus("", serving)
		l.wait(20)
		t.Logf("%s (led: %v) stopped in %s; longest pause of writes %s", p.name, led, stopped.Round(time.Millisecond), w.take().Round(time.Millisecond))
	}
	progress(100)
	l.stop()
	stop()
	for _, r := range readers {
		t.Logf("%s: %d reads, %d failed", r.what, r.done.Load(), r.failed.Load())
	}
}
