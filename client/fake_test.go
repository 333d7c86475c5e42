package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	missing    = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

// event is one change; missing deletes.
type event struct {
	service string
	status  client.Status
	reason  string
}

// fakeCluster is the log that its nodes follow, each as far as it has come, and the network to them.
type fakeCluster struct {
	mu      sync.Mutex // guards the cluster and its nodes
	id      string
	events  []event  // the one at i has revision i+1
	lagging bool     // nodes follow only when told to
	oldest  int64    // revision that is retained; 0: 1
	whole   [2]int64 // the revisions of one atomic write, first and last; all others are single changes
	changed chan struct{}
	nodes   []*fakeNode
	answers map[string]answer // first ones, by request id
	layers  layers
	leases  leases
	access  access
}

type answer struct {
	revision int64
	err      error
}

func newCluster(names ...string) *fakeCluster {
	f := &fakeCluster{id: "3f9a", changed: make(chan struct{}), answers: map[string]answer{}}
	for _, name := range names {
		f.nodes = append(f.nodes, &fakeNode{cluster: f, name: name, own: map[string]client.Status{"": serving}})
	}
	return f
}

// startBuffered starts nodes n1 … in memory; fit for a synctest bubble.
func startBuffered(t *testing.T, count int) *fakeCluster {
	t.Helper()
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	f := newCluster(names...)
	for _, n := range f.nodes {
		n.start()
	}
	t.Cleanup(f.stop)
	return f
}

// startLoopback starts nodes on free ports; a node's name is its address.
func startLoopback(count int) (*fakeCluster, error) {
	f := newCluster()
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.stop()
			return nil, err
		}
		n := &fakeNode{cluster: f, name: l.Addr().String(), own: map[string]client.Status{"": serving}}
		f.nodes = append(f.nodes, n)
		n.serve(l)
	}
	return f, nil
}

func (f *fakeCluster) stop() {
	f.leases.stop(f)
	for _, n := range f.nodes {
		n.kill()
	}
}

// config reaches the nodes of a cluster in memory.
func (f *fakeCluster) config() client.Config {
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = nil, true
	for _, n := range f.nodes {
		cfg.Endpoints = append(cfg.Endpoints, "passthrough:///"+n.name)
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(f.dial)}
	return cfg
}

func (f *fakeCluster) client(t *testing.T) *client.Client {
	t.Helper()
	return newClient(t, f.config())
}

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func (f *fakeCluster) dial(ctx context.Context, name string) (net.Conn, error) {
	f.mu.Lock()
	var l *bufconn.Listener
	hung := false
	for _, n := range f.nodes {
		if n.name == name && n.server != nil {
			l, _ = n.listener.(*bufconn.Listener)
			hung = n.hung
		}
	}
	f.mu.Unlock()
	if l == nil {
		return nil, errors.New("connect: connection refused")
	}
	if hung {
		a, b := net.Pipe() // accepted by the kernel, by nobody else
		go func() {
			for buf := make([]byte, 1024); ; {
				if _, err := b.Read(buf); err != nil {
					b.Close()
					return
				}
			}
		}()
		return a, nil
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return f.freezable(name, conn), nil
}

// freezable is a connection that delivers nothing while its node is hung.
func (f *fakeCluster) freezable(name string, conn net.Conn) net.Conn {
	return &frozenConn{Conn: conn, f: f, name: name, closed: make(chan struct{})}
}

type frozenConn struct {
	net.Conn
	f      *fakeCluster
	name   string
	once   sync.Once
	closed chan struct{}
}

func (c *frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for {
		c.f.mu.Lock()
		hung, changed := c.f.node(c.name).hung, c.f.changed
		c.f.mu.Unlock()
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

// RemoteAddr is an address of this machine, as a node's would be that runs here.
func (c *frozenConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7600}
}

func (c *frozenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// restore makes another cluster of f, with other events, on the same addresses.
func (f *fakeCluster) restore(id string, events ...event) {
	for _, n := range f.nodes {
		n.kill()
	}
	f.do(func() {
		f.id, f.events, f.answers = id, events, map[string]answer{}
		for _, n := range f.nodes {
			n.applied = int64(len(events))
		}
	})
	for _, n := range f.nodes {
		n.start()
	}
}

// node finds one by name; f.mu is held.
func (f *fakeCluster) node(name string) *fakeNode {
	for _, n := range f.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// wake tells all that wait; f.mu is held.
func (f *fakeCluster) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// do changes the cluster or its nodes.
func (f *fakeCluster) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.wake()
}

func (f *fakeCluster) write(events ...event) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append(events...)
}

// append is write with f.mu held.
func (f *fakeCluster) append(events ...event) int64 {
	f.events = append(f.events, events...)
	if !f.lagging {
		for _, n := range f.nodes {
			n.applied = int64(len(f.events))
		}
	}
	f.wake()
	return int64(len(f.events))
}

// record is the service's at a revision; nil if it does not exist then. f.mu is held.
func (f *fakeCluster) record(service string, revision int64) *rollcallv1.ServiceRecord {
	for i := revision - 1; i >= 0; i-- {
		if e := f.events[i]; e.service == service {
			if e.status == missing {
				return nil
			}
			return f.layers.show(&rollcallv1.ServiceRecord{
				Service: service,
				Status:  e.status,
				Report:  &rollcallv1.Report{Status: e.status, Reason: e.reason, Revision: i + 1},
				// As an event's time.
				StatusTime: &timestamppb.Timestamp{Seconds: max(i+1, f.layers.since(service, revision, f.oldest))},
			}, revision)
		}
	}
	return nil
}

// fakeNode serves what it has applied of its cluster's log. Its fields are guarded by cluster.mu.
type fakeNode struct {
	healthpb.UnimplementedHealthServer
	rollcallv1.UnimplementedAdminServer
	rollcallv1.UnimplementedRegistryServer
	rollcallv1.UnimplementedClusterServer
	rollcallv1.UnimplementedAccessServer

	cluster *fakeCluster
	name    string

	applied      int64
	own          map[string]client.Status
	hung         bool
	draining     bool
	deaf         bool          // to min-revision
	stuck        bool          // within the atomic write of cluster.whole
	stray        string        // another cluster that it belongs to; "": none
	mute         bool          // it takes renewals, and does nothing with them
	late         time.Duration // between a renewal and its answer
	stuckStreams int           // so many KeepAlive streams, from now on, are never answered
	streams      error         // why it takes no stream of writes
	server       *grpc.Server
	listener     net.Listener
	conns        []net.Conn

	calls    []call
	readLag  time.Duration // before GetService reads
	watchLag time.Duration // between a change and Watch's look at it
	// onRead and onWrite may refuse a call. The change is made only if they do not; n counts calls from 1.
	onRead  func(ctx context.Context, method string) error
	onWrite func(ctx context.Context, n int) error
	// onAnswer may refuse, or keep back, the answer to a write that was done.
	onAnswer     func(ctx context.Context, n int) error
	ignoresNames bool   // a watch of services gives all, as of a node that knows no watch by names
	hasty        bool   // a watch of services says at first that none of its names exist
	ignoresFrom  bool   // a watch of services always begins anew, as of a node that knows no from_revision
	parts        bool   // a watch of services that goes on says that it is synced in a message of its own
	sentServices int    // messages of watches of services
	stalled      bool   // a watch of services sends nothing after its first message
	hidden       string // what a name begins with that the caller may not read here; "": it may read all
	rights       int64  // revision since which callers may read what they may read now
}

type call struct {
	method      string
	requestID   string
	actor       string
	minRevision int64
	clusterID   string
	request     any
	at          time.Time
}

func (n *fakeNode) start() { n.serve(bufconn.Listen(64 << 10)) }

func (n *fakeNode) serve(l net.Listener) {
	// As a node enforces it.
	s := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.UnaryInterceptor(n.authenticateCall), grpc.StreamInterceptor(n.authenticateStream))
	healthpb.RegisterHealthServer(s, n)
	rollcallv1.RegisterAdminServer(s, n)
	rollcallv1.RegisterRegistryServer(s, n)
	rollcallv1.RegisterClusterServer(s, n)
	rollcallv1.RegisterAccessServer(s, n)
	n.cluster.do(func() { n.server, n.listener, n.draining = s, l, false })
	go s.Serve(&keepingListener{Listener: l, n: n})
}

// keepingListener remembers connections, so that breakConnections can.
type keepingListener struct {
	net.Listener
	n *fakeNode
}

func (l *keepingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.n.cluster.do(func() { l.n.conns = append(l.n.conns, conn) })
	}
	return conn, err
}

// kill makes the node refuse connections, and breaks those that stand.
func (n *fakeNode) kill() {
	var s *grpc.Server
	n.cluster.do(func() { s, n.server = n.server, nil })
	if s != nil {
		n.breakConnections()
		s.Stop()
	}
}

func (n *fakeNode) breakConnections() {
	var conns []net.Conn
	n.cluster.do(func() { conns, n.conns = n.conns, nil })
	for _, conn := range conns {
		conn.Close()
	}
}

// drain ends the streams that are open.
func (n *fakeNode) drain() {
	n.cluster.do(func() { n.draining = true })
	n.cluster.do(func() {})
}

func (n *fakeNode) seen(method string) []call {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	var found []call
	for _, c := range n.calls {
		if c.method == method {
			found = append(found, c)
		}
	}
	return found
}

// enter notes a call, waits for its min-revision, and answers with the node's revision.
func (n *fakeNode) enter(ctx context.Context, method string, request any) error {
	c := call{method: method, request: request, at: time.Now()}
	if r, ok := request.(interface {
		GetRequestId() string
		GetActor() string
	}); ok {
		c.requestID, c.actor = r.GetRequestId(), r.GetActor()
	}
	asked := metadata.ValueFromIncomingContext(ctx, "rollcall-min-revision")
	if len(asked) > 0 {
		c.minRevision, _ = strconv.ParseInt(asked[0], 10, 64)
	}
	cluster := metadata.ValueFromIncomingContext(ctx, "rollcall-cluster")
	if len(cluster) > 0 {
		c.clusterID = cluster[0]
	}
	n.cluster.mu.Lock()
	n.calls = append(n.calls, c)
	onRead, deaf, id := n.onRead, n.deaf, cmp.Or(n.stray, n.cluster.id)
	n.cluster.mu.Unlock()
	if c.clusterID != "" && c.clusterID != id {
		return refusal(codes.FailedPrecondition, "CLUSTER_CHANGED", map[string]string{"cluster_id": id, "written": "no"})
	}
	if onRead != nil {
		if err := onRead(ctx, method); err != nil {
			return err
		}
	}
	if deaf {
		return nil
	}
	return n.await(ctx, c.minRevision)
}

func (n *fakeNode) await(ctx context.Context, revision int64) error {
	for {
		n.cluster.mu.Lock()
		applied, changed := n.applied, n.cluster.changed
		n.cluster.mu.Unlock()
		if applied >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return refusal(codes.Unavailable, "REVISION_NOT_REACHED", nil)
		}
	}
}
