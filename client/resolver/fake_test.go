package resolver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/resolver"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/internal/halves"
	"github.com/rollcallhq/rollcall/client/view"
)

// registry gives watches what a test says, each half its own.
type registry struct {
	t       *testing.T
	builder *builder
	feeds   map[string]chan item // by the first endpoint of a half
	open    atomic.Int64         // watches
	opened  atomic.Int64         // since the beginning
	ends    chan struct{}        // Run waits for it before it ends; nil: not

	mu      sync.Mutex // guards what follows
	opinion view.Opinion
	changed chan struct{}
	counts  []string // what the observer was told
	log     strings.Builder
}

// item is one thing that a watch meets. connected and err are as the client tells them.
type item struct {
	update    *client.ServicesUpdate
	connected *bool
	err       error
}

// newRegistry has endpoints of two halves, "a" and "b", unless others are given.
func newRegistry(t *testing.T, endpoints ...string) *registry {
	if len(endpoints) == 0 {
		endpoints = []string{"a", "b"}
	}
	r := &registry{t: t, feeds: map[string]chan item{}, changed: make(chan struct{})}
	for _, half := range halves.Of(endpoints) {
		r.feeds[half[0]] = make(chan item)
	}
	r.builder = &builder{
		logger: slog.New(slog.NewTextHandler(r, nil)), services: map[string]*service{}, endpoints: endpoints, observer: r,
		source: r.source, opinions: func(string) (opinions, error) { return r, nil },
	}
	return r
}

func (r *registry) source(ctx context.Context, endpoints []string, prefix string, connected func(bool)) iter.Seq2[client.ServicesUpdate, error] {
	return func(yield func(client.ServicesUpdate, error) bool) {
		r.opened.Add(1)
		r.open.Add(1)
		defer r.open.Add(-1)
		if prefix != "checkout/" {
			r.t.Errorf("the watch is of %q", prefix)
		}
		for {
			select {
			case i := <-r.feeds[endpoints[0]]:
				switch {
				case i.err != nil:
					yield(client.ServicesUpdate{}, i.err)
					return
				case i.connected != nil:
					connected(*i.connected)
				case !yield(*i.update, nil):
					return
				}
			case <-ctx.Done():
				yield(client.ServicesUpdate{}, ctx.Err())
				return
			}
		}
	}
}

func (r *registry) Run(ctx context.Context) error {
	<-ctx.Done()
	if r.ends != nil {
		<-r.ends
	}
	return ctx.Err()
}

func (r *registry) Get(string) view.Opinion {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opinion
}

func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *registry) Endpoints(service string, serving, skipped, panicked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = append(r.counts, fmt.Sprintf("%s %d %d %d", service, serving, skipped, panicked))
}

func (r *registry) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

func (r *registry) logged(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.log.String(), text)
}

// off says whether SERVICE itself is switched off.
func (r *registry) off(is bool) {
	r.opine(view.Opinion{Heard: true, Off: is, Cluster: "X", Status: client.ServiceUnknown})
}

func (r *registry) opine(o view.Opinion) {
	r.mu.Lock()
	r.opinion = o
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	synctest.Wait()
}

func (r *registry) send(half string, i item) {
	r.t.Helper()
	r.feeds[half] <- i
	synctest.Wait()
}

func (r *registry) connect(half string, is bool) { r.send(half, item{connected: &is}) }

func (r *registry) fail(half string, err error) { r.send(half, item{err: err}) }

// say sends an update of the cluster X, or another that "Y:" before the revision names.
func (r *registry) say(half string, revision int64, records ...*rollcallv1.ServiceRecord) {
	r.sayOf("X", half, revision, records...)
}

func (r *registry) sayOf(cluster, half string, revision int64, records ...*rollcallv1.ServiceRecord) {
	r.t.Helper()
	r.send(half, item{update: &client.ServicesUpdate{Services: records, Revision: revision, Cluster: cluster, Synced: true}})
}

// begin is a whole first state of another cluster.
func (r *registry) begin(cluster, half string, revision int64, records ...*rollcallv1.ServiceRecord) {
	r.t.Helper()
	r.connect(half, true)
	r.send(half, item{update: &client.ServicesUpdate{Reset: true, Services: records, Revision: revision, Cluster: cluster, Synced: true}})
}

func (r *registry) gone(half string, revision int64, names ...string) {
	r.t.Helper()
	r.send(half, item{update: &client.ServicesUpdate{Deleted: names, Revision: revision, Cluster: "X", Synced: true}})
}

// both connects both halves and has them say the same.
func (r *registry) both(revision int64, records ...*rollcallv1.ServiceRecord) {
	r.t.Helper()
	for _, half := range []string{"a", "b"} {
		r.connect(half, true)
		r.say(half, revision, records...)
	}
}

// is is a record of an instance that reports itself under a lease.
func is(address string, status client.Status) *rollcallv1.ServiceRecord {
	return &rollcallv1.ServiceRecord{Service: "checkout/" + address, Status: status, Report: &rollcallv1.Report{Status: status, LeaseId: "l"}}
}

// overridden is a record that an operator decides over.
func overridden(address string, status client.Status, until *timestamppb.Timestamp) *rollcallv1.ServiceRecord {
	r := is(address, client.Serving)
	r.Status = status
	r.Override = &rollcallv1.Override{Pattern: r.Service, Status: status, ExpireTime: until}
	return r
}

// conn is a channel.
type conn struct {
	resolver.ClientConn
	resolver resolver.Resolver
	busy     chan struct{} // UpdateState waits until it is closed; nil: not

	mu      sync.Mutex // guards what follows
	state   *resolver.State
	err     error
	updates int
	errors  int
}

func (c *conn) UpdateState(s resolver.State) error {
	if c.busy != nil {
		<-c.busy
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.err = &s, nil
	c.updates++
	if len(s.Endpoints) == 0 {
		return errors.New("bad resolver state") // as policies answer
	}
	return nil
}

func (c *conn) ReportError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.errors++
}

// channel makes a channel, which the test closes.
func (r *registry) channel() *conn {
	r.t.Helper()
	return r.channelOf(&conn{})
}

func (r *registry) channelOf(c *conn) *conn {
	r.t.Helper()
	built, err := r.builder.Build(targetOf(r.t, "rollcall:///checkout"), c, resolver.BuildOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	c.resolver = built
	synctest.Wait()
	return c
}

// has fails the test if the channel does not have this list: "waits", "fails", or addresses, "none" for an empty list.
func (c *conn) has(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := "waits"
	switch {
	case c.err != nil:
		got = "fails"
	case c.state != nil && len(c.state.Endpoints) == 0:
		got = "none"
	case c.state != nil:
		var list []string
		for _, e := range c.state.Endpoints {
			list = append(list, e.Addresses[0].Addr)
		}
		got = strings.Join(list, " ")
	}
	if got != want {
		t.Errorf("the channel %s; want %s", got, want)
	}
}
