package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// leaseWatch watches services on every node with stock clients, and the events with the Go client. It goes on when
// nodes end and come back.
type leaseWatch struct {
	record *leaseRecord
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards the rest
	seen  []seenStatus
	added chan struct{} // closed and replaced when seen grows
}

type seenStatus struct {
	node, service string
	status        healthpb.HealthCheckResponse_ServingStatus
	at            time.Time
}

func (c *processes) watchLeases(record *leaseRecord, services ...string) *leaseWatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &leaseWatch{record: record, cancel: cancel, added: make(chan struct{})}
	for _, p := range c.nodes {
		conn, cl := p.dial(), c.client(p)
		for _, service := range services {
			w.wg.Go(func() {
				for ctx.Err() == nil {
					w.watch(ctx, healthpb.NewHealthClient(conn), p.name, service)
				}
			})
		}
		w.wg.Go(func() {
			// A client whose node was never there gives up.
			for err := record.follow(ctx, cl, 1); ctx.Err() == nil; err = record.follow(ctx, cl, 1) {
				if err != nil && !strings.Contains(err.Error(), "no endpoint answers") {
					c.t.Errorf("following events on %s: %v", p.name, err)
				}
				pause(ctx, 50*time.Millisecond)
			}
		})
	}
	c.t.Cleanup(w.stop)
	return w
}

func (w *leaseWatch) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *leaseWatch) watch(ctx context.Context, health healthpb.HealthClient, node, service string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	for err == nil {
		var res *healthpb.HealthCheckResponse
		if res, err = stream.Recv(); err == nil {
			w.mu.Lock()
			w.seen = append(w.seen, seenStatus{node, service, res.GetStatus(), time.Now()})
			close(w.added)
			w.added = make(chan struct{})
			w.mu.Unlock()
		}
	}
	pause(ctx, 20*time.Millisecond)
}

// pause waits where nothing can be waited for: another process that may come back.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// from returns what was seen of a service on a node from a time on.
func (w *leaseWatch) from(node, service string, from time.Time) []seenStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []seenStatus
	for _, s := range w.seen {
		if s.node == node && s.service == service && !s.at.Before(from) {
			all = append(all, s)
		}
	}
	return all
}

// until waits until a node has shown a status of a service since a time, and returns when it did first.
func (w *leaseWatch) until(t *testing.T, node, service string, status healthpb.HealthCheckResponse_ServingStatus, from time.Time) time.Time {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		added := w.added
		w.mu.Unlock()
		for _, s := range w.from(node, service, from) {
			if s.status == status {
				return s.at
			}
		}
		select {
		case <-added:
		case <-deadline.C:
			t.Fatalf("waited %s for %s to be %s on %s; seen since then: %v", patience, service, status, node, w.from(node, service, from))
		}
	}
}

// steady fails the test if anybody was shown NOT_SERVING since a time. A node that has just started may not know
// of the services yet.
func (w *leaseWatch) steady(t *testing.T, from time.Time) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s.status == notServing && !s.at.Before(from) {
			t.Errorf("%s was %s on %s, %s after it had been reported", s.service, s.status, s.node, s.at.Sub(from).Round(time.Millisecond))
		}
	}
}

// follow notes the events from a revision on, until ctx ends.
func (r *leaseRecord) follow(ctx context.Context, cl *client.Client, from int64) error {
	for b, err := range cl.WatchEvents(ctx, client.WatchEventsOptions{From: from}) {
		if err != nil {
			return err
		}
		now := time.Now()
		for _, e := range b.Events {
			r.saw(e, now)
		}
	}
	return nil
}

// stallMeter notes when this process was not run for a while, by a goroutine that wants to run all the time: what
// is late by less is the machine's doing.
type stallMeter struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex // guards stalls
	stalls []span
}

const stallTick = 5 * time.Millisecond

func startStallMeter(t *testing.T) *stallMeter {
	ctx, cancel := context.WithCancel(context.Background())
	m := &stallMeter{cancel: cancel}
	m.wg.Go(func() {
		tick := time.NewTicker(stallTick)
		defer tick.Stop()
		for last := time.Now(); ctx.Err() == nil; {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			now := time.Now()
			if now.Sub(last) > 2*stallTick {
				m.mu.Lock()
				m.stalls = append(m.stalls, span{last, now})
				m.mu.Unlock()
			}
			last = now
		}
	})
	t.Cleanup(func() {
		cancel()
		m.wg.Wait()
	})
	return m
}

// since is how long all stalls since a time took.
func (m *stallMeter) since(t time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum time.Duration
	for _, s := range m.stalls {
		if s.to.After(t) {
			sum += s.to.Sub(latest(s.from, t))
		}
	}
	return sum
}

func (s seenStatus) String() string {
	return fmt.Sprintf("%s %s on %s at %s", s.service, s.status, s.node, s.at.Format("15:04:05.000"))
}
