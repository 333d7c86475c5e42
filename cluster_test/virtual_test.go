package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// virtualPatience bounds every wait on the virtual clock, where it costs nothing.
const virtualPatience = 5 * time.Minute

// virtualCommitTimeout is ten times raftnode's: most virtual time is idle, and what an idle leader sends to tell of
// commits was most of what these tests cost. Followers lag more than they do in production.
const virtualCommitTimeout = 100 * time.Millisecond

// likeInProduction lets followers lag no more than in production, for tests of how soon something is seen.
func likeInProduction(cfg *node.Config) { cfg.Faults.CommitTimeout = 0 }

// virtual is a cluster of real nodes, on real files, on a virtual clock.
type virtual struct {
	t     *testing.T
	net   *memnet.Network
	nodes []*virtualNode
	creds credentials.TransportCredentials // of clients
	// ctx ends, and wg is waited for, before the nodes are closed: a bubble must end empty.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type virtualNode struct {
	c    *virtual
	cfg  node.Config
	api  string
	node *node.Node
	conn *grpc.ClientConn
	// storeDelay and flushDelay are added to each append and each flush, in nanoseconds.
	storeDelay, flushDelay atomic.Int64
	// storeError fails each append.
	storeError atomic.Pointer[error]
	failed     chan error // capacity 1: why the node ended itself
}

// inVirtualTime runs test with a cluster of three that is ready.
func inVirtualTime(t *testing.T, configure func(*node.Config), test func(t *testing.T, c *virtual)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 3, configure)
		defer c.close()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady()
		test(t, c)
	})
}

func newVirtual(t *testing.T, size int, configure func(*node.Config)) *virtual {
	t.Helper()
	c := &virtual{t: t, net: memnet.New(), creds: insecure.NewCredentials()}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var members []node.Member
	for i := range size {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		members = append(members, node.Member{Name: fmt.Sprintf("n%d", i+1), APIAddress: host + ":7600", PeerAddress: host + ":7601"})
	}
	for _, m := range members {
		n := c.newNode(m)
		n.cfg.Members = members
		if configure != nil {
			configure(&n.cfg)
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// newNode returns a node with an empty data directory that is not among c.nodes and not started.
func (c *virtual) newNode(m node.Member) *virtualNode {
	c.t.Helper()
	n := &virtualNode{c: c, api: m.APIAddress, failed: make(chan error, 1)}
	n.cfg = node.DefaultConfig()
	n.cfg.Name = m.Name
	n.cfg.DataDir = filepath.Join(dataDir(c.t), m.Name)
	n.cfg.LogStore = *logStore
	n.cfg.Network = c.net.Host(m.Name)
	n.cfg.Logger = slog.New(slog.NewTextHandler(testWriter{c.t}, &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", m.Name)
	n.cfg.Faults = node.Faults{
		StoreLogs: func([]*raft.Log) error {
			time.Sleep(time.Duration(n.storeDelay.Load()))
			if err := n.storeError.Load(); err != nil {
				return *err
			}
			return nil
		},
		FlushRegistry: func() error {
			time.Sleep(time.Duration(n.flushDelay.Load()))
			return nil
		},
		CommitTimeout: virtualCommitTimeout,
	}
	return n
}

// joining returns a node that waits to be made a member, with the number i of its addresses, 127.0.0.i, and an empty data
// directory; the name may be a member's that it shall replace. Its seeds are the nodes of c, which it does not belong to
// until the test appends it to c.nodes. The test starts it.
func (c *virtual) joining(name string, i int) *virtualNode {
	c.t.Helper()
	host := fmt.Sprintf("127.0.0.%d", i)
	n := c.newNode(node.Member{Name: name, APIAddress: host + ":7600", PeerAddress: host + ":7601"})
	n.cfg.AdvertiseAPI, n.cfg.AdvertisePeer = host+":7600", host+":7601"
	for _, m := range c.nodes {
		if address := m.peerAddress(); address != n.cfg.AdvertisePeer {
			n.cfg.Join = append(n.cfg.Join, address)
		}
	}
	return n
}

func (n *virtualNode) peerAddress() string {
	for _, m := range n.cfg.Members {
		if m.Name == n.cfg.Name {
			return m.PeerAddress
		}
	}
	return n.cfg.AdvertisePeer
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p[:len(p)-1])
	return len(p), nil
}

func (c *virtual) close() {
	c.cancel()
	c.wg.Wait()
	c.net.Heal()
	for _, n := range c.nodes {
		n.stop()
		if n.conn != nil {
			n.conn.Close()
		}
	}
}

func (n *virtualNode) start() {
	n.c.t.Helper()
	opened, err := node.Open(context.Background(), n.cfg)
	if err != nil {
		n.c.t.Fatalf("open %s: %v", n.cfg.Name, err)
	}
	n.node = opened
}

func (n *virtualNode) stop() {
	n.c.t.Helper()
	if n.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.node.Close(ctx); err != nil {
		n.c.t.Errorf("close %s: %v", n.cfg.Name, err)
	}
	n.node = nil
}

func (c *virtual) dialer(ctx context.Context, address string) (net.Conn, error) {
	return c.net.Dial(ctx, address)
}

func (c *virtual) client(nodes ...*virtualNode) *client.Client {
	c.t.Helper()
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder = nil, true
	for _, n := range nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.api)
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(c.dialer), grpc.WithTransportCredentials(c.creds)}
	cl, err := client.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return cl
}

// dial returns a plain connection to this node alone: a stock client.
func (n *virtualNode) dial() *grpc.ClientConn {
	n.c.t.Helper()
	if n.conn == nil {
		conn, err := grpc.NewClient(n.api, grpc.WithTransportCredentials(n.c.creds), grpc.WithContextDialer(n.c.dialer))
		if err != nil {
			n.c.t.Fatal(err)
		}
		n.conn = conn
	}
	return n.conn
}

// check answers UNKNOWN for any error.
func (n *virtualNode) check(service string) healthpb.HealthCheckResponse_ServingStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	resp, err := healthpb.NewHealthClient(n.dial()).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		return healthpb.HealthCheckResponse_UNKNOWN
	}
	return resp.GetStatus()
}

// until polls on the virtual clock and returns how much of it went by: at most 5 ms too much, or a twenty-fifth. More
// polls would be most of what the tests of virtual time take.
func (c *virtual) until(what string, holds func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !holds() {
		waited := time.Since(start)
		if waited > virtualPatience {
			c.t.Fatalf("waited %s of virtual time for %s", virtualPatience, what)
		}
		time.Sleep(min(max(5*time.Millisecond, waited/25), 250*time.Millisecond))
	}
	return time.Since(start)
}

func (c *virtual) waitReady() {
	c.t.Helper()
	for _, n := range c.nodes {
		c.until(n.cfg.Name+" to be ready", func() bool { return n.check(rollcallv1.OwnReady) == serving })
	}
}

// leader waits until one of the given nodes, or of all, leads.
func (c *virtual) leader(among ...*virtualNode) *virtualNode {
	c.t.Helper()
	if len(among) == 0 {
		among = c.nodes
	}
	var leader *virtualNode
	c.until("a leader", func() bool {
		for _, n := range among {
			if n.node != nil && n.check(rollcallv1.OwnLeader) == serving {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

func (c *virtual) others(n *virtualNode) []*virtualNode {
	var o []*virtualNode
	for _, m := range c.nodes {
		if m != n {
			o = append(o, m)
		}
	}
	return o
}

func (n *virtualNode) status() *rollcallv1.GetStatusResponse {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := rollcallv1.NewClusterClient(n.dial()).GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
	if err != nil {
		n.c.t.Fatalf("status of %s: %v", n.cfg.Name, err)
	}
	return resp
}

// caughtUp waits until all nodes show one revision, and returns it.
func (c *virtual) caughtUp() int64 {
	c.t.Helper()
	c.leader()
	var revision int64
	c.until("one revision everywhere", func() bool {
		seen := map[int64]bool{}
		for _, n := range c.nodes {
			revision = n.status().GetRevision()
			seen[revision] = true
		}
		return len(seen) == 1
	})
	return revision
}

// services returns everything a node holds.
func (n *virtualNode) services() map[string]*rollcallv1.ServiceRecord {
	n.c.t.Helper()
	cl := n.c.client(n)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all := map[string]*rollcallv1.ServiceRecord{}
	for rec, err := range cl.List(ctx, client.ListOptions{}) {
		if err != nil {
			n.c.t.Fatalf("list on %s: %v", n.cfg.Name, err)
		}
		all[rec.GetService()] = rec
	}
	return all
}
