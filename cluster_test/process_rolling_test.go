package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// writeWatch is what one watch of events was given.
type writeWatch struct {
	mu      sync.Mutex
	writes  map[string][]int // by service: the numbers of its writes, as they came
	reached int64            // revision
	failure error
}

// watch follows every event from the first on, until ctx ends.
func (e *writeWatch) watch(ctx context.Context, cl *client.Client) {
	for batch, err := range cl.WatchEvents(ctx, client.WatchEventsOptions{From: 1}) {
		e.mu.Lock()
		if err != nil {
			if ctx.Err() == nil {
				e.failure = err
			}
			e.mu.Unlock()
			return
		}
		for _, event := range batch.Events {
			if n, err := strconv.Atoi(event.GetReason()); err == nil && strings.HasPrefix(event.GetService(), "load/") {
				e.writes[event.GetService()] = append(e.writes[event.GetService()], n)
			}
		}
		e.reached = batch.Revision
		e.mu.Unlock()
	}
}

// verify checks that each acknowledged write of each writer came once, and in order. Nothing else was written.
func (e *writeWatch) verify(t *testing.T, what string, l *load) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure != nil {
		t.Errorf("%s ended: %v", what, e.failure)
	}
	for _, w := range l.writers {
		got := e.writes[w.service]
		if len(got) != w.next || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s was given %d events of the %d writes of %s", what, len(got), w.next, w.service)
		}
	}
}

// spread returns a client for each node, which asks that node first and the others if it does not answer.
func (c *processes) spread() (clients []*client.Client) {
	for i := range c.nodes {
		clients = append(clients, c.client(append(slices.Clone(c.nodes[i:]), c.nodes[:i]...)...))
	}
	return clients
}

// restart is what docs/operations.md says: SIGTERM, start, and wait until all is well, asked through that node.
func (p *process) restart() {
	p.t.Helper()
	p.stop()
	p.start()
	eventually(p.t, "rollcall status --wait of "+p.name, func(context.Context) bool {
		_, stderr, code := runBinary(p.t, "status", "--wait", "50s", "--endpoints", p.api)
		if code != 0 {
			p.t.Logf("%s: exit status %d: %s", p.name, code, stderr)
		}
		return code == 0
	})
}

// TestProcessRollingRestart restarts all nodes, one after the other, while clients write through all of them and others
// watch: no write fails, and no watch misses a change. It prints the slowest write of each restart; with
// -rolling-rounds=N it does so N times, in turn with and without handing leadership over first.
func TestProcessRollingRestart(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{3, 5} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			beside(t, ofProcesses)
			c := startProcesses(t, processOptions{nodes: nodes})
			rollingRestart(t, c, 400, *rollingRounds)
		})
	}
}

func rollingRestart(t *testing.T, c *processes, perSecond, rounds int) {
	t.Helper()
	clients := c.spread()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watches := make([]*writeWatch, len(clients))
	for i, cl := range clients {
		watches[i] = &writeWatch{writes: map[string][]int{}}
		watching.Go(func() { watches[i].watch(ctx, cl) })
	}
	l := startSpreadLoad(t, clients, perSecond)
	l.wait(int64(perSecond / 2))
	slowest := map[string][]time.Duration{}
	for round := range rounds {
		transfer := round%2 == 1
		leader := c.leader()
		order := append(c.others(leader), leader)
		for _, p := range order {
			led := p.check(ctx, rollcallv1.OwnLeader) == serving
			l.slowest.Store(0)
			if led && transfer {
				var e *client.Error
				if _, err := clients[0].TransferLeadership(ctx, ""); errors.As(err, &e) && e.Code == codes.Unimplemented {
					t.Skip("leadership cannot be handed over by a call yet")
				} else if err != nil {
					t.Logf("leadership was not handed over first: %v", err)
				}
			}
			p.restart()
			l.wait(int64(perSecond / 10))
			what := "of a follower"
			if led {
				what = "of the leader"
			}
			if led && transfer {
				what += ", after handing over"
			}
			slowest[what] = append(slowest[what], time.Duration(l.slowest.Load()).Round(time.Millisecond))
		}
	}
	l.stop()
	c.caughtUp()
	for what, d := range slowest {
		slices.Sort(d)
		t.Logf("slowest write in a restart %s: %v", what, d)
	}
	t.Logf("%d writes were acknowledged", l.acked.Load())
	if failed := l.failed.Load(); failed > 0 {
		t.Errorf("%d writes failed", failed)
	}
	for _, p := range c.nodes {
		l.verify(p)
		if log := p.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "DATA RACE") {
			t.Errorf("%s: %s", p.name, tail(log, 4000))
		}
	}
	last := statusNow(t, c.nodes[0]).GetRevision()
	for i, w := range watches {
		what := "the watch at " + c.nodes[i].name
		eventually(t, what+" to be given all", func(context.Context) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.reached >= last || w.failure != nil
		})
		w.verify(t, what, l)
	}
}
