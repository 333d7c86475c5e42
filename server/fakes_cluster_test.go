package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// peerFunc is Peers.
type peerFunc func(ctx context.Context, name string) (net.Conn, error)

func (f peerFunc) DialPeer(ctx context.Context, name string) (net.Conn, error) { return f(ctx, name) }

// testNode is a served Server on fakes.
type testNode struct {
	*Server
	name      string
	now       time.Time    // by the cluster's clock
	later     atomic.Int64 // nanoseconds that it has gone on since
	registry  *fakeRegistry
	agreement *fakeAgreement
	leases    fakeLeases
	access    fakeAccess
	lessor    fakeLessor
	replica   fakeReplica
	exporter  fakeExporter
	members   fakeMembers
	conn      *grpc.ClientConn // of a client
	peerLis   *bufconn.Listener
	apiLis    *bufconn.Listener
}

// testCluster is nodes n1, n2, … that reach each other by name.
type testCluster struct {
	t     testing.TB
	nodes map[string]*testNode
	names []string
	stale string // a node that is never fresh, where a test says so

	mu     sync.Mutex
	refuse map[string]error                     // DialPeer's answer for a name
	wrap   func(to string, c net.Conn) net.Conn // if set, stands in every peer connection
	open   map[string][]net.Conn                // peer connections, by the name that was dialed
}

func newTestCluster(t testing.TB, n int, change ...func(*Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, nodes: map[string]*testNode{}, refuse: map[string]error{}, open: map[string][]net.Conn{}}
	for i := range n {
		c.names = append(c.names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range c.names {
		c.nodes[name] = c.start(name, change...)
	}
	return c
}

func (c *testCluster) start(name string, change ...func(*Config)) *testNode {
	c.t.Helper()
	node := &testNode{name: name, now: time.Unix(100_000, 0).UTC(), registry: newFakeRegistry(), peerLis: bufconn.Listen(bufSize)}
	node.agreement = newFakeAgreement(node.registry)
	node.lessor.agreement = node.agreement
	for _, m := range c.names {
		node.agreement.status.Members = append(node.agreement.status.Members, &rollcallv1.Member{
			Name: m, ApiAddress: m + ":7600", PeerAddress: m + ":7601", Voter: true,
		})
	}
	cfg := DefaultConfig()
	cfg.Node, cfg.Version, cfg.StartTime = name, "v0.1.0", time.Now()
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, ch := range change {
		ch(&cfg)
	}
	var err error
	node.Server, err = New(cfg, Deps{
		Statuses: node.registry, Registry: node.registry, Layers: node.registry, Leases: &node.leases, Access: &node.access, Lessor: &node.lessor, Followers: node.registry, History: node.registry, Agreement: node.agreement, Node: node.agreement,
		Members: &node.members, Peers: peerFunc(c.dial), Replica: &node.replica, Exporter: &node.exporter,
		LogClock: func() int64 { return node.now.UnixNano() + node.later.Load() },
		Storage:  func() (*rollcallv1.Storage, error) { return &rollcallv1.Storage{LogBytes: 7}, nil },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	api := bufconn.Listen(bufSize)
	node.apiLis = api
	served := make(chan error, 1)
	go func() { served <- node.Serve(api, node.peerLis) }()
	node.conn, err = grpc.NewClient("passthrough:///"+name,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return api.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		node.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := node.Stop(ctx); err != nil {
			c.t.Errorf("stop %s: %v", name, err)
		}
		if err := <-served; err != nil {
			c.t.Errorf("serve %s: %v", name, err)
		}
	})
	return node
}

func (c *testCluster) dial(ctx context.Context, name string) (net.Conn, error) {
	c.mu.Lock()
	err, wrap := c.refuse[name], c.wrap
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	node := c.nodes[name]
	if node == nil {
		return nil, errors.New("unknown member " + name)
	}
	conn, err := node.peerLis.DialContext(ctx)
	if err == nil && wrap != nil {
		conn = wrap(name, conn)
	}
	if err == nil {
		c.mu.Lock()
		c.open[name] = append(c.open[name], conn)
		c.mu.Unlock()
	}
	return conn, err
}

// cutConnections ends the connections to a node.
func (c *testCluster) cutConnections(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open[name] {
		conn.Close()
	}
}

func (c *testCluster) refuseDials(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse[name] = err
}

// setFresh makes a node as fresh as at.
func (n *testNode) setFresh(at time.Time) {
	n.freshness.Assume(at)
	n.Refresh()
}

// elect makes a node the leader, and all know it and are fresh now. Only nodes that KeepFresh stay so.
// The leader knows first, as it is from it that the others hear; and what the nodes say of themselves
// is so when elect returns.
func (c *testCluster) elect(leader string) {
	elected := func(n *testNode) {
		n.setFresh(time.Now())
		n.agreement.change(func(st *NodeStatus) {
			st.Leader, st.Leading = leader, n.name == leader
			st.Term++
			st.Role = rollcallv1.Role_ROLE_FOLLOWER
			if st.Leading {
				st.Role = rollcallv1.Role_ROLE_LEADER
			}
		})
		n.Refresh()
	}
	elected(c.nodes[leader])
	for name, n := range c.nodes {
		if name != leader {
			elected(n)
		}
	}
}

func (n *testNode) admin() rollcallv1.AdminClient { return rollcallv1.NewAdminClient(n.conn) }

func (n *testNode) reads() rollcallv1.RegistryClient { return rollcallv1.NewRegistryClient(n.conn) }

func (n *testNode) cluster() rollcallv1.ClusterClient { return rollcallv1.NewClusterClient(n.conn) }

func (n *testNode) health() healthpb.HealthClient { return healthpb.NewHealthClient(n.conn) }

func single(t *testing.T, change ...func(*Config)) *testNode {
	t.Helper()
	c := newTestCluster(t, 1, change...)
	c.elect("n1")
	return c.nodes["n1"]
}

// bubble runs a subtest in virtual time.
func bubble(t *testing.T, name string, do func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, do) })
}

// patient is for calls in real time that take as long as they take: it only ends one that hangs.
func patient(t testing.TB) context.Context {
	t.Helper()
	return timeout(t, 2*time.Minute)
}

func timeout(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func setRequest(name string, s Status) *rollcallv1.SetServingStatusRequest {
	return &rollcallv1.SetServingStatusRequest{Service: name, Status: s.Enum()}
}
