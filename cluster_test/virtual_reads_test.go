package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// acknowledgements are the writes that were acknowledged, and when.
type acknowledgements struct {
	mu  sync.Mutex
	all []acknowledgement // by time
}

type acknowledgement struct {
	at       time.Time
	revision int64
}

func (a *acknowledgements) add(revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, acknowledgement{time.Now(), revision})
}

// before is the newest revision that was acknowledged before t.
func (a *acknowledgements) before(t time.Time) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var newest int64
	for _, x := range a.all {
		if x.at.Before(t) {
			newest = max(newest, x.revision)
		}
	}
	return newest
}

// soFar is the newest one, those of this very moment included.
func (a *acknowledgements) soFar() int64 { return a.before(time.Now().Add(1)) }

// write sets payments through any node, over and over, until ctx ends.
func (a *acknowledgements) write(ctx context.Context, t *testing.T, cl *client.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		s := serving
		if i%2 == 1 {
			s = notServing
		}
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		resp, err := cl.Set(attempt, "payments", s, client.WriteOptions{Reason: fmt.Sprint(i)})
		done()
		if err == nil {
			a.add(resp.GetRevision())
		}
		time.Sleep(53 * time.Millisecond)
	}
}

// read is GetService of payments on one node, as a stock client asks for it. A node that does not tell
// its age is as old as can be.
func (n *virtualNode) read(kv ...string) (revision int64, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), kv...), time.Second)
	defer cancel()
	var header metadata.MD
	resp, err := rollcallv1.NewRegistryClient(n.dial()).GetService(ctx, &rollcallv1.GetServiceRequest{Service: "payments"}, grpc.Header(&header))
	age = time.Since(time.Time{})
	if v := header.Get("rollcall-age-ms"); len(v) == 1 {
		ms, err := strconv.Atoi(v[0])
		if err != nil {
			return 0, 0, err
		}
		age = time.Duration(ms) * time.Millisecond
	}
	return resp.GetRevision(), age, err
}

// TestVirtualP4HonestReads reads on every node while the leader is cut off again and again and writes go
// on. A linearizable read never misses a write acknowledged before it began; one with a staleness never
// misses an older one; a local one may, and says how old it may be.
func TestVirtualP4HonestReads(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var (
			wg    sync.WaitGroup
			acks  acknowledgements
			reads [3]struct{ done, refused, missed atomic.Int64 } // linearizable, bounded, local
		)
		for range 2 {
			cl := c.client()
			defer cl.Close()
			wg.Go(func() { acks.write(ctx, t, cl) })
		}
		c.until("a first write", func() bool { return acks.soFar() > 0 })
		time.Sleep(time.Second) // it is everywhere
		const staleness = 300 * time.Millisecond
		for _, n := range c.nodes {
			n.dial()
			for kind, kv := range [][]string{
				{"rollcall-consistency", "linearizable"},
				{"rollcall-max-staleness", staleness.String()},
				{"rollcall-consistency", "local"},
			} {
				wg.Go(func() {
					for ctx.Err() == nil {
						want := acks.soFar()
						if kind == 1 {
							want = acks.before(time.Now().Add(-staleness))
						}
						got, age, err := n.read(kv...)
						switch {
						case err != nil:
							reads[kind].refused.Add(1)
							if code := status.Code(err); code != codes.Unavailable || reason(err) != "NOT_FRESH" {
								t.Errorf("%v on %s: %v", kv, n.cfg.Name, err)
							}
						case got < want:
							reads[kind].missed.Add(1)
							fallthrough
						default:
							reads[kind].done.Add(1)
							if told := acks.before(time.Now().Add(-age)); got < told {
								t.Errorf("%v on %s: revision %d is said to be %s old; %d was acknowledged before", kv, n.cfg.Name, got, age, told)
							}
						}
						time.Sleep(31 * time.Millisecond)
					}
				})
			}
		}
		for i := range 4 {
			time.Sleep(time.Second)
			how := memnet.Stall
			if i%2 == 1 {
				how = memnet.Reset
			}
			cut := c.leader()
			if i == 3 {
				cut = c.others(cut)[0]
			}
			c.net.Isolate(how, cut.cfg.Name)
			time.Sleep(4 * time.Second)
			if _, age, err := cut.read("rollcall-consistency", "local"); err != nil || age < 3*time.Second {
				t.Errorf("%s, cut off for 4s, says %s old, %v", cut.cfg.Name, age, err)
			}
			c.net.Heal()
		}
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		for kind, name := range []string{"linearizable", "bounded", "local"} {
			r := &reads[kind]
			t.Logf("%s: %d reads, %d refused, %d missed an acknowledged write", name, r.done.Load(), r.refused.Load(), r.missed.Load())
			if r.done.Load() < 500 {
				t.Errorf("only %d %s reads", r.done.Load(), name)
			}
			switch missed := r.missed.Load(); {
			case kind < 2 && missed > 0:
				t.Errorf("%d %s reads missed a write acknowledged before", missed, name)
			case kind == 2 && missed == 0:
				t.Error("no local read missed anything, so this test shows little of the others")
			}
			if refused := r.refused.Load(); kind < 2 && refused == 0 || kind == 2 && refused > 0 {
				t.Errorf("%d %s reads were refused", refused, name)
			}
		}
		if len(acks.all) < 100 {
			t.Errorf("only %d writes were acknowledged", len(acks.all))
		}
	})
}

// A linearizable watch begins with what is true; one that requires a leader ends on a node that lost it.
func TestVirtualP4Watches(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, nil, func(t *testing.T, c *virtual) {
		cl := c.client()
		defer cl.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		watch := func(n *virtualNode, kv ...string) (healthpb.Health_WatchClient, client.Status) {
			t.Helper()
			stream, err := healthpb.NewHealthClient(n.dial()).Watch(metadata.AppendToOutgoingContext(ctx, kv...), &healthpb.HealthCheckRequest{Service: "payments"})
			if err != nil {
				t.Fatal(err)
			}
			first, err := stream.Recv()
			if err != nil {
				t.Fatalf("watch on %s: %v", n.cfg.Name, err)
			}
			return stream, first.GetStatus()
		}
		for i := range 50 {
			want := serving
			if i%2 == 1 {
				want = notServing
			}
			if _, err := cl.Set(ctx, "payments", want, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.nodes {
				if _, got := watch(n, "rollcall-consistency", "linearizable"); got != want {
					t.Fatalf("a linearizable watch on %s begins with %s, %s was acknowledged", n.cfg.Name, got, want)
				}
			}
		}

		away := c.others(c.leader())[0]
		type end struct {
			of  string
			at  time.Time
			err error
		}
		ends := make(chan end, len(c.nodes))
		for _, n := range c.nodes {
			stream, _ := watch(n, "rollcall-require-leader", "true")
			go func() {
				for {
					if _, err := stream.Recv(); err != nil {
						ends <- end{n.cfg.Name, time.Now(), err}
						return
					}
				}
			}()
		}
		plain, _ := watch(away)
		cut := time.Now()
		c.net.Isolate(memnet.Stall, away.cfg.Name)
		var first end
		select {
		case first = <-ends:
		case <-time.After(virtualPatience):
			t.Fatalf("no watch ended within %s", virtualPatience)
		}
		if took := first.at.Sub(cut); first.of != away.cfg.Name || reason(first.err) != "NO_LEADER" || took < 3*time.Second || took > 5*time.Second {
			t.Errorf("the watch on %s ended after %s: %v; %s is cut off", first.of, took, first.err, away.cfg.Name)
		}
		if _, _, err := away.read("rollcall-require-leader", "true"); reason(err) != "NO_LEADER" {
			t.Errorf("a read that requires a leader: %v", err)
		}
		if got := away.check("payments"); got != notServing {
			t.Errorf("a plain check: %s", got)
		}
		c.net.Heal()
		if _, err := cl.Set(ctx, "payments", serving, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if m, err := plain.Recv(); err != nil || m.GetStatus() != serving {
			t.Errorf("the plain watch on the node that was cut off: %v, %v", m, err)
		}
		time.Sleep(10 * time.Second)
		select {
		case e := <-ends:
			t.Errorf("the watch on %s ended too: %v", e.of, e.err)
		default:
		}
		cancel()
		for range len(c.nodes) - 1 {
			if e := <-ends; errors.Is(e.err, io.EOF) {
				t.Errorf("%s: %v", e.of, e.err)
			}
		}
	})
}
