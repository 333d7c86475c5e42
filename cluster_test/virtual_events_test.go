package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// eventWriters write through all nodes: single changes, deletions and batches.
type eventWriters struct {
	mu   sync.Mutex
	acks []eventAck
}

func (w *eventWriters) run(ctx context.Context, cl *client.Client, id int, rng *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		a := eventAck{reason: fmt.Sprintf("write %d of %d", n, id)}
		size := 1
		if rng.IntN(3) == 0 {
			size = 2 + rng.IntN(10)
		}
		first := rng.IntN(40)
		for i := range size {
			name := fmt.Sprintf("%s/%d", []string{"shop", "bank"}[(first+i)%2], (first+i)%40)
			a.services = append(a.services, name)
			a.statuses = append(a.statuses, []client.Status{serving, notServing, serving, notServing, noService}[rng.IntN(5)])
		}
		attempt, done := context.WithTimeout(context.Background(), 3*time.Second)
		var changes []client.Change
		for i, name := range a.services {
			changes = append(changes, client.Change{Service: name, Status: a.statuses[i]})
		}
		resp, err := cl.SetBatch(attempt, changes, client.WriteOptions{Reason: a.reason})
		done()
		if err == nil && resp.GetChangedCount() > 0 {
			a.revision = resp.GetRevision()
			if int(resp.GetChangedCount()) < size { // deletions of what was not there: no events
				a.services, a.statuses = nil, nil
				for i, name := range changes {
					if s := resp.GetServices()[i]; s.GetReport() != nil {
						a.services, a.statuses = append(a.services, name.Service), append(a.statuses, name.Status)
					}
				}
			}
			if len(a.services) == int(resp.GetChangedCount()) { // else it is not known which deletions were
				w.mu.Lock()
				w.acks = append(w.acks, a)
				w.mu.Unlock()
			}
		}
		time.Sleep(time.Duration(rng.IntN(int(250 * time.Millisecond))))
	}
}

// followRaw follows as any gRPC client can: on one node for a while, then on another from where it was.
func (c *virtual) followRaw(ctx context.Context, f *eventFollower, rng *rand.Rand, at *atomic.Int64) {
	for ctx.Err() == nil {
		n := c.nodes[rng.IntN(len(c.nodes))]
		stay, done := context.WithTimeout(ctx, time.Duration(rng.IntN(int(3*time.Second))))
		req := &rollcallv1.WatchEventsRequest{FromRevision: f.at + 1}
		if f.prefix != "" {
			req.Prefixes = []string{f.prefix}
		}
		stream, err := rollcallv1.NewRegistryClient(n.conn).WatchEvents(stay, req)
		for err == nil {
			var m *rollcallv1.WatchEventsResponse
			if m, err = stream.Recv(); err != nil {
				break
			}
			if err := f.take(m.GetEvents(), m.GetRevision()); err != nil {
				c.t.Errorf("a follower on %s: %v", n.cfg.Name, err)
				done()
				return
			}
			at.Store(f.at)
			if rng.IntN(20) == 0 {
				time.Sleep(time.Duration(rng.IntN(int(time.Second)))) // a slow one
			}
		}
		done()
		time.Sleep(10 * time.Millisecond)
	}
}

// followClient follows as the Go client does.
func (c *virtual) followClient(ctx context.Context, cl *client.Client, f *eventFollower, at *atomic.Int64, nodes map[string]bool) {
	o := client.WatchEventsOptions{From: f.at + 1}
	if f.prefix != "" {
		o.Prefixes = []string{f.prefix}
	}
	for b, err := range cl.WatchEvents(ctx, o) {
		if err == nil {
			err = f.take(b.Events, b.Revision)
		}
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("the client's follower: %v", err)
			}
			return
		}
		nodes[b.Endpoint] = true
		at.Store(f.at)
	}
}

// cut is the state that a watch of services had when it was synced.
type cut struct {
	revision int64
	state    map[string]string
}

func (c *virtual) followState(ctx context.Context, cl *client.Client, cuts *[]cut, at *atomic.Int64) {
	state := map[string]string{}
	revision := int64(0)
	for u, err := range cl.WatchServices(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("the watch of services ended: %v", err)
			}
			return
		}
		if u.Revision < revision {
			c.t.Errorf("the watch of services goes back from %d to %d", revision, u.Revision)
		}
		revision = u.Revision
		for _, r := range u.Services {
			state[r.GetService()] = stateOf(r)
		}
		for _, name := range u.Deleted {
			delete(state, name)
		}
		if u.Synced {
			*cuts = append(*cuts, cut{u.Revision, maps.Clone(state)})
			at.Store(u.Revision)
		}
	}
}

// trouble cuts nodes off, restarts them, and slows their disks.
func (c *virtual) trouble(rng *rand.Rand, times int) {
	upTo := func(d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }
	for range times {
		upTo(time.Second)
		n := c.nodes[rng.IntN(len(c.nodes))]
		if rng.IntN(2) == 0 {
			n = c.leader()
		}
		how := memnet.Stall
		if rng.IntN(2) == 0 {
			how = memnet.Reset
		}
		switch rng.IntN(5) {
		case 0:
			c.net.Isolate(how, n.cfg.Name)
			upTo(6 * time.Second) // with a log this short it comes back by a snapshot
		case 1:
			c.net.Partition(how, n.cfg.Name, c.others(n)[rng.IntN(2)].cfg.Name)
			upTo(3 * time.Second)
		case 2:
			n.stop()
			upTo(5 * time.Second)
			n.start()
		case 3:
			for _, n := range c.nodes {
				n.stop()
			}
			for _, n := range c.nodes {
				n.start()
			}
		case 4:
			n.storeDelay.Store(rng.Int64N(int64(500 * time.Millisecond)))
			n.flushDelay.Store(rng.Int64N(int64(200 * time.Millisecond)))
			upTo(2 * time.Second)
			n.storeDelay.Store(0)
			n.flushDelay.Store(0)
		}
		c.net.Heal()
	}
}

// TestVirtualP6EventsAreALog follows the events on all nodes, moving between them, while writers write
// through all of them and nodes are cut off, restarted, slowed and overtaken by snapshots. Everybody
// gets every revision once, in order, no write split, the same as everybody else, and as acknowledged.
// Then each node's list of events is that log too, and each moment of the past is its fold.
func TestVirtualP6EventsAreALog(t *testing.T) {
	beside(t, ofVirtualTime)
	eachHistory(t, 1, func(t *testing.T, seed uint64) {
		small := func(cfg *node.Config) {
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 2*time.Second, 20, 5
		}
		inVirtualTime(t, small, func(t *testing.T, c *virtual) { virtualEvents(t, c, seed) })
	})
}

func virtualEvents(t *testing.T, c *virtual, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	log := newEventLog()
	var followers []*eventFollower
	var reached []*atomic.Int64
	follow := func(prefix string, run func(f *eventFollower, at *atomic.Int64)) {
		f, at := &eventFollower{log: log, prefix: prefix}, &atomic.Int64{}
		followers, reached = append(followers, f), append(reached, at)
		c.wg.Go(func() { run(f, at) })
	}
	for _, n := range c.nodes {
		n.dial()
	}
	all := c.client()
	defer all.Close()
	nodes := []map[string]bool{{}, {}}
	for i := range 4 {
		rng := rand.New(rand.NewPCG(seed, 100+uint64(i)))
		follow([]string{"", "", "", "shop/"}[i], func(f *eventFollower, at *atomic.Int64) { c.followRaw(ctx, f, rng, at) })
	}
	for i, prefix := range []string{"", "bank/"} {
		cl := c.client() // which moves for itself
		defer cl.Close()
		follow(prefix, func(f *eventFollower, at *atomic.Int64) { c.followClient(ctx, cl, f, at, nodes[i]) })
	}
	var cuts []cut
	var cutAt atomic.Int64
	c.wg.Go(func() { c.followState(ctx, all, &cuts, &cutAt) })

	writing, stopWriting := context.WithCancel(ctx)
	writers := &eventWriters{}
	var wg sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(seed, 200+uint64(i)))
		cl := c.client(c.nodes[i%3], c.nodes[(i+1)%3])
		defer cl.Close()
		wg.Go(func() { writers.run(writing, cl, i, rng) })
	}
	c.trouble(rng, 8)
	late := rand.New(rand.NewPCG(seed, 300))
	follow("", func(f *eventFollower, at *atomic.Int64) { c.followRaw(ctx, f, late, at) }) // from the beginning
	for _, n := range c.nodes {                                                            // whoever stayed on it moves
		n.stop()
		n.start()
		c.waitReady()
	}
	stopWriting()
	wg.Wait()
	c.waitReady()
	if _, err := all.Set(ctx, "shop/last", serving, client.WriteOptions{Reason: "the last"}); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Set(ctx, "bank/last", serving, client.WriteOptions{Reason: "the very last"}); err != nil {
		t.Fatal(err)
	}
	revision := c.caughtUp()
	for i, at := range append(reached, &cutAt) {
		want := revision
		if i < len(followers) && followers[i].prefix == "shop/" {
			want-- // bank/last is the newest
		}
		c.until(fmt.Sprintf("follower %d to be at revision %d", i, want), func() bool { return at.Load() >= want })
	}
	cancel()
	c.wg.Wait()
	if err := errors.Join(log.complete(revision), log.acknowledged(writers.acks)); err != nil {
		t.Fatal(err)
	}
	for i, f := range followers {
		want := 0
		for r := int64(1); r <= f.at; r++ {
			if f.prefix == "" || strings.HasPrefix(log.events[r].GetService(), f.prefix) {
				want++
			}
		}
		if len(f.given) != want {
			t.Errorf("follower %d of %q was given %d events up to %d, want %d", i, f.prefix, len(f.given), f.at, want)
		}
	}
	for _, cut := range cuts {
		if want := log.state(cut.revision); log.visible(cut.revision) != cut.revision || !maps.Equal(cut.state, want) {
			t.Fatalf("at revision %d the watch of services had\n%v, want\n%v", cut.revision, cut.state, want)
		}
	}
	t.Logf("%d revisions, %d acknowledged writes, %d cuts, clients on %v", revision, len(writers.acks), len(cuts), nodes)
	if len(writers.acks) < 50 || len(cuts) < 30 || len(nodes[0]) < 2 {
		t.Error("too few to prove anything")
	}
	compareHistory(t, c, log, revision, rng)
}

// compareHistory reads each node's events, and a hundred moments of the past.
func compareHistory(t *testing.T, c *virtual, log *eventLog, revision int64, rng *rand.Rand) {
	ctx := context.Background()
	for _, n := range c.nodes {
		cl := c.client(n)
		defer cl.Close()
		f := &eventFollower{log: log}
		for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{PageSize: 1 + rng.IntN(500)}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.GetRevision() != f.at+1 || log.add(e) != nil {
				t.Fatalf("%s lists %v after revision %d; it was %v", n.cfg.Name, e, f.at, log.events[e.GetRevision()])
			}
			f.at++
		}
		if f.at != revision {
			t.Errorf("%s lists events to %d, want %d", n.cfg.Name, f.at, revision)
		}
	}
	cl := c.client()
	defer cl.Close()
	for i := range 100 {
		r := rng.Int64N(revision + 1)
		at, want := client.AtRevision(r), log.visible(r)
		if i%2 == 1 && r > 0 {
			when := log.events[r].GetTime().AsTime()
			for want = r; want < revision && !log.events[want+1].GetTime().AsTime().After(when); {
				want++
			}
			at = client.AtTime(when)
		}
		state := map[string]string{}
		for rec, err := range cl.List(ctx, client.ListOptions{At: at, PageSize: 1 + rng.IntN(20)}) {
			if err != nil {
				t.Fatal(err)
			}
			state[rec.GetService()] = stateOf(rec)
		}
		if model := log.state(want); !maps.Equal(state, model) {
			t.Fatalf("at %v the registry was\n%v, want at revision %d\n%v", at, state, want, model)
		}
		one := fmt.Sprintf("shop/%d", rng.IntN(40))
		resp, err := cl.GetAt(ctx, one, at)
		if got, exists := log.state(want)[one]; (err == nil) != exists || exists && (stateOf(resp.GetService()) != got || resp.GetRevision() != want) {
			t.Fatalf("at %v %s was %v, %v; want %q at revision %d", at, one, resp, err, got, want)
		}
	}
}
