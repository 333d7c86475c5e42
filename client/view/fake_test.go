package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// fakeCluster is a history of states of the registry: states[r] is that of revision r.
type fakeCluster struct {
	id     string
	states []map[string]*rollcallv1.ServiceRecord
}

// fakeRegistry has nodes, each of which serves a cluster as far as it has followed it.
type fakeRegistry struct {
	mu      sync.Mutex // guards all of it
	changed chan struct{}
	nodes   []*fakeNode
	home    *fakeCluster // that writes go to
}

type fakeNode struct {
	rollcallv1.UnimplementedRegistryServer
	r       *fakeRegistry
	name    string
	cluster *fakeCluster
	applied int
	lags    bool  // it follows no more
	hung    bool  // its process is stopped
	unsure  bool  // it says nothing is synced
	refusal error // of all calls
	calls   int   // of WatchServices
	server  *grpc.Server
	l       *bufconn.Listener
}

func newFakeRegistry(t testing.TB, nodes int) *fakeRegistry {
	r := &fakeRegistry{changed: make(chan struct{}), home: newFakeCluster("c1")}
	for i := range nodes {
		n := &fakeNode{r: r, name: fmt.Sprintf("n%d", i+1), cluster: r.home}
		r.nodes = append(r.nodes, n)
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.kill()
		}
	})
	return r
}

func newFakeCluster(id string) *fakeCluster {
	return &fakeCluster{id: id, states: []map[string]*rollcallv1.ServiceRecord{{}}}
}

// do changes the registry.
func (r *fakeRegistry) do(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	for _, n := range r.nodes {
		if !n.lags {
			n.applied = len(n.cluster.states) - 1
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// change makes one revision of the home cluster.
func (r *fakeRegistry) change(edit func(state map[string]*rollcallv1.ServiceRecord, revision int64)) int64 {
	var revision int64
	r.do(func() { revision = r.home.change(edit) })
	return revision
}

func (c *fakeCluster) change(edit func(state map[string]*rollcallv1.ServiceRecord, revision int64)) int64 {
	revision := int64(len(c.states))
	next := maps.Clone(c.states[revision-1])
	edit(next, revision)
	c.states = append(c.states, next)
	return revision
}

func (c *fakeCluster) set(name string, s client.Status) int64 {
	return c.change(func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
		state[name] = reported(name, s, revision)
	})
}

// set reports a status; ServiceUnknown deletes.
func (r *fakeRegistry) set(name string, s client.Status) int64 {
	return r.change(func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
		if s == client.ServiceUnknown {
			delete(state, name)
			return
		}
		state[name] = reported(name, s, revision)
	})
}

func reported(name string, s client.Status, revision int64) *rollcallv1.ServiceRecord {
	return &rollcallv1.ServiceRecord{Service: name, Status: s, Report: &rollcallv1.Report{Status: s, Revision: revision}}
}

// found makes the nodes members of another cluster, as if they had lost their disks.
func (r *fakeRegistry) found(c *fakeCluster, nodes ...*fakeNode) {
	for _, n := range nodes {
		n.kill()
	}
	r.do(func() {
		for _, n := range nodes {
			n.cluster = c
		}
	})
	for _, n := range nodes {
		n.start()
	}
}

func (n *fakeNode) start() {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	// As a node enforces it.
	enforced := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second})
	n.l, n.server = bufconn.Listen(64<<10), grpc.NewServer(enforced)
	rollcallv1.RegisterRegistryServer(n.server, n)
	go n.server.Serve(n.l) //nolint:errcheck // it ends with the server
}

func (n *fakeNode) kill() {
	n.r.mu.Lock()
	server := n.server
	n.server, n.l = nil, nil
	n.r.mu.Unlock()
	if server != nil {
		server.Stop()
	}
}

func (r *fakeRegistry) config() client.Config {
	cfg := client.Config{KeepOrder: true}
	for _, n := range r.nodes {
		cfg.Endpoints = append(cfg.Endpoints, "passthrough:///"+n.name)
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(r.dial)}
	return cfg
}

func (r *fakeRegistry) node(name string) *fakeNode {
	return r.nodes[slices.IndexFunc(r.nodes, func(n *fakeNode) bool { return n.name == name })]
}

func (r *fakeRegistry) dial(ctx context.Context, name string) (net.Conn, error) {
	n := r.node(name)
	r.mu.Lock()
	l := n.l
	r.mu.Unlock()
	if l == nil {
		return nil, errors.New("connect: connection refused")
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return &frozenConn{Conn: conn, n: n, closed: make(chan struct{})}, nil
}

// frozenConn delivers nothing while its node hangs.
type frozenConn struct {
	net.Conn
	n      *fakeNode
	once   sync.Once
	closed chan struct{}
}

func (c *frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for {
		c.n.r.mu.Lock()
		hung, changed := c.n.hung, c.n.r.changed
		c.n.r.mu.Unlock()
		if !hung || err != nil {
			return n, err
		}
		select {
		case <-changed:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
}

func (c *frozenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func refused(code codes.Code, reason string, meta map[string]string) error {
	st, err := status.New(code, "fake").WithDetails(&errdetails.ErrorInfo{Domain: "rollcall", Reason: reason, Metadata: meta})
	if err != nil {
		return err
	}
	return st.Err()
}

// enter refuses a call for another cluster, and waits until the node has the revision that the caller has seen.
func (n *fakeNode) enter(ctx context.Context) error {
	n.r.mu.Lock()
	refusal, cluster := n.refusal, n.cluster
	n.r.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	if asked := metadata.ValueFromIncomingContext(ctx, "rollcall-cluster"); len(asked) > 0 && asked[0] != cluster.id {
		return refused(codes.FailedPrecondition, "CLUSTER_CHANGED", map[string]string{"cluster_id": cluster.id, "written": "no"})
	}
	least := 0
	if asked := metadata.ValueFromIncomingContext(ctx, "rollcall-min-revision"); len(asked) > 0 {
		least, _ = strconv.Atoi(asked[0])
	}
	for {
		n.r.mu.Lock()
		applied, changed := n.applied, n.r.changed
		n.r.mu.Unlock()
		if applied >= least {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return refused(codes.Unavailable, "REVISION_NOT_REACHED", nil)
		}
	}
}

func (n *fakeNode) WatchServices(req *rollcallv1.WatchServicesRequest, stream grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error {
	n.r.do(func() { n.calls++ })
	if err := n.enter(stream.Context()); err != nil {
		return err
	}
	var sent map[string]*rollcallv1.ServiceRecord
	for at := -1; ; {
		n.r.mu.Lock()
		cluster, applied, unsure, changed, refusal := n.cluster, n.applied, n.unsure, n.r.changed, n.refusal
		state := cluster.states[min(applied, len(cluster.states)-1)]
		n.r.mu.Unlock()
		if refusal != nil {
			return refusal
		}
		if applied > at && !(at >= 0 && unsure) {
			m := &rollcallv1.WatchServicesResponse{Revision: int64(applied), Synced: !unsure}
			if at < 0 {
				m.ClusterId = cluster.id
			}
			for _, name := range req.GetServices() {
				switch {
				case state[name] == nil && (at < 0 || sent[name] != nil):
					if !unsure {
						m.Deleted = append(m.Deleted, name)
					}
				case state[name] != sent[name]:
					m.Services = append(m.Services, state[name])
				}
			}
			first := at < 0
			at, sent = applied, state
			if first || len(m.Services)+len(m.Deleted) > 0 {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
			continue
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (n *fakeNode) ListServices(ctx context.Context, _ *rollcallv1.ListServicesRequest) (*rollcallv1.ListServicesResponse, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	return &rollcallv1.ListServicesResponse{Revision: int64(n.applied), ClusterId: n.cluster.id}, nil
}

// running is a View that runs against a fake registry.
type running struct {
	*View
	t    *testing.T
	r    *fakeRegistry
	logs *logs
}

// inBubble runs a test in virtual time, with nodes and a View of these names that runs.
func inBubble(t *testing.T, nodes int, prepare func(*fakeRegistry), names []string, opts []Option, test func(v *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRegistry(t, nodes)
		if prepare != nil {
			prepare(r)
		}
		c, err := client.New(r.config())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var kept logs
		v, err := New(c, names, append(opts, WithLogger(slog.New(&kept)))...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- v.Run(ctx) }()
		synctest.Wait()
		test(&running{View: v, t: t, r: r, logs: &kept})
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// after lets time pass.
func (v *running) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// is checks an opinion, now.
func (v *running) is(name, want string) {
	v.t.Helper()
	synctest.Wait()
	if got := text(v.Get(name)); got != want {
		v.t.Errorf("%s is %q, want %q", name, got, want)
	}
}

// text is an opinion as tests write it.
func text(o Opinion) string {
	if !o.Heard {
		return "not heard"
	}
	s := o.Status.String() + " in " + o.Cluster
	if o.Off {
		s += ", off"
	}
	if o.Held {
		s += ", held"
	}
	return s
}

// logs keeps what is logged.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// count returns how many lines hold a text.
func (l *logs) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
