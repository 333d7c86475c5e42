package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// The contestants, as tables name them.
const (
	rollcallName = "Rollcall"
	etcdName     = "etcd"
	natsName     = "NATS"
	healthName   = "health.Server"
)

// cluster is a contestant that replicates.
type cluster interface {
	who() string
	members() []*member
	// ready waits until all members take part and there is a leader.
	ready(context.Context) error
	// leader is the index of the member that leads.
	leader(context.Context) (int, error)
	// writer returns a call that makes one change, durable on a majority when it returns, through a member.
	// Writers with different ids write different services, a few each.
	writer(member, id int) func(context.Context) error
	// disconnect closes clients.
	disconnect()
}

// member is a node of a cluster: its directory, log and ports, which outlive its processes.
type member struct {
	name     string
	binary   string
	args     []string
	data     string
	log      string
	profiles string // base URL of Go's profiles, "" if there are none
	keep     bool   // data, when the cluster is closed
	children *children
	process  *child
}

func (m *member) start() error {
	p, err := m.children.start(m.log, false, m.binary, m.args...)
	m.process = p
	return err
}

func (m *member) kill() { m.process.kill() }

// open starts all members of c and waits until it is ready; close ends it.
func open(ctx context.Context, c cluster) error {
	for _, m := range c.members() {
		if err := m.start(); err != nil {
			return err
		}
	}
	return c.ready(ctx)
}

// closeCluster kills c and removes its data, so that the next contestant has the machine for itself.
func closeCluster(c cluster) {
	c.disconnect()
	for _, m := range c.members() {
		if m.process != nil {
			m.kill()
		}
	}
	for _, m := range c.members() {
		if !m.keep {
			_ = os.RemoveAll(m.data) // the session removes what is left
		}
	}
}

// via names how clients enter a cluster, and says to which member the i-th client goes.
type via string

const (
	viaLeader   via = "the leader"
	viaFollower via = "a follower"
	viaAll      via = "all nodes"
)

func (v via) member(c cluster, leader, i int) int {
	n := len(c.members())
	switch v {
	case viaLeader:
		return leader
	case viaFollower:
		return (leader + 1) % n
	}
	return i % n
}

// dial connects to a server that may not be there yet. It tries again after a short pause, because how fast
// a client finds a server that came back is not measured.
func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(quickConnect))
}

var quickConnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond},
	MinConnectTimeout: time.Second,
}

// collect makes a process collect its garbage, so that its resident memory is what it needs.
func collect(ctx context.Context, profiles string) error {
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, profiles+"/debug/pprof/heap?gc=1", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", req.URL, res.Status)
		}
	}
	// The scavenger returns to the system what was collected, in the background.
	return pause(ctx, 2*time.Second)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// member makes the i-th member's directory and log.
func (s *session) member(kind string, i int) (*member, error) {
	name := fmt.Sprintf("n%d", i+1)
	data, err := s.dataDir(kind + "-" + name)
	if err != nil {
		return nil, err
	}
	return &member{name: name, binary: s.binary(kind), data: data, log: filepath.Join(data, "log"), keep: s.keep, children: s.children}, nil
}

// opened makes clusters and opens them, one after the other.
func opened(ctx context.Context, clusters ...cluster) error {
	for _, c := range clusters {
		if err := open(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.who(), err)
		}
	}
	return nil
}
