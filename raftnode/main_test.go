package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCluster is some nodes on one network, with their data in real files.
type testCluster struct {
	t       testing.TB
	root    string
	network *memnet.Network
	members []Member
	nodes   map[string]*testNode
	started time.Time
}

type testNode struct {
	*Node
	fold     *testFold
	dir      *store.Directory
	log      *raftlog.Log
	failures chan error // capacity 1
}

func newTestCluster(t testing.TB, names ...string) *testCluster {
	c := &testCluster{t: t, root: t.TempDir(), network: memnet.New(), nodes: map[string]*testNode{}, started: time.Now()}
	for i, name := range names {
		c.members = append(c.members, Member{
			Name:        name,
			PeerAddress: fmt.Sprintf("127.0.0.1:76%d1", i),
			APIAddress:  fmt.Sprintf("127.0.0.1:76%d0", i),
		})
	}
	return c
}

// testLog writes to t with the time since the test began.
func (c *testCluster) testLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Duration("at", time.Since(c.started))
			}
			return a
		},
	}))
}

func (c *testCluster) path(name string) string { return filepath.Join(c.root, name) }

// testOptions change how a node is opened.
type testOptions struct {
	config    func(*Config)
	intercept func([]*raft.Log) error
	before    func(*store.Directory, *raftlog.Log) // with the stores open
	path      string
	logTime   int64 // what the fold holds from before the start
	maxLevel  uint32
	level     uint32 // the cluster's from the start; 0: the base level
}

func (c *testCluster) open(name string, opt ...testOptions) *testNode {
	c.t.Helper()
	n, err := c.tryOpen(name, opt...)
	if err != nil {
		c.t.Fatalf("open %s: %v", name, err)
	}
	return n
}

func (c *testCluster) tryOpen(name string, opts ...testOptions) (*testNode, error) {
	c.t.Helper()
	opt := testOptions{path: c.path(name)}
	for _, o := range opts {
		if o.config != nil {
			opt.config = o.config
		}
		if o.intercept != nil {
			opt.intercept = o.intercept
		}
		if o.before != nil {
			opt.before = o.before
		}
		if o.path != "" {
			opt.path = o.path
		}
		if o.maxLevel != 0 {
			opt.maxLevel = o.maxLevel
		}
		if o.logTime != 0 {
			opt.logTime = o.logTime
		}
		opt.level = max(opt.level, o.level)
	}
	n := &testNode{fold: newTestFold(), failures: make(chan error, 1)}
	n.fold.logTime, n.fold.maxLevel, n.fold.level = opt.logTime, opt.maxLevel, opt.level
	var err error
	if n.dir, err = store.OpenDirectory(opt.path, name); err != nil {
		c.t.Fatal(err)
	}
	if n.log, err = store.OpenLog(n.dir, raftlog.Options{Kind: raftlog.Kind(os.Getenv("ROLLCALL_LOG_STORE")), Intercept: opt.intercept}); err != nil {
		c.t.Fatal(err)
	}
	if opt.before != nil {
		opt.before(n.dir, n.log)
	}
	cfg := DefaultConfig()
	cfg.Node = name
	cfg.Members = c.members
	cfg.Directory, cfg.Log, cfg.Snapshots = n.dir, n.log, raft.NewInmemSnapshotStore()
	cfg.FSM, cfg.State = n.fold, n.fold
	cfg.Network = c.network.Host(name)
	cfg.Logger = c.testLog()
	cfg.OnFailure = func(err error) { n.failures <- err }
	if opt.config != nil {
		opt.config(&cfg)
	}
	if n.Node, err = Open(c.t.Context(), cfg); err != nil {
		n.closeStores(c.t)
		return nil, err
	}
	c.nodes[name] = n
	return n, nil
}

func (n *testNode) closeStores(t testing.TB) {
	t.Helper()
	if err := errors.Join(n.log.Close(), n.dir.Close()); err != nil {
		t.Error(err)
	}
}

// close ends a node; what it holds on disk stays.
func (c *testCluster) close(name string) {
	c.t.Helper()
	n := c.nodes[name]
	if n == nil {
		return
	}
	delete(c.nodes, name)
	if err := n.Node.Close(); err != nil {
		c.t.Errorf("close %s: %v", name, err)
	}
	n.closeStores(c.t)
}

func (c *testCluster) closeAll() {
	c.t.Helper()
	for name := range c.nodes {
		c.close(name)
	}
}

// await waits until what is true of a node, for a minute at most.
func (n *testNode) await(t testing.TB, what string, is func(Status) bool) Status {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		changed := n.Changed()
		s := n.Status()
		if is(s) {
			return s
		}
		select {
		case <-changed:
		case err := <-n.failures:
			t.Fatalf("%s: waiting until %s: %v", n.cfg.Node, what, err)
		case <-timeout.C:
			t.Fatalf("%s: not within a minute: %s; %+v", n.cfg.Node, what, s)
		}
	}
}

// leader waits until one of the open nodes leads and all of them know it.
func (c *testCluster) leader(names ...string) *testNode {
	c.t.Helper()
	if len(names) == 0 {
		for name := range c.nodes {
			names = append(names, name)
		}
	}
	for {
		leader := c.nodes[names[0]].await(c.t, "there is a leader", func(s Status) bool { return s.Leader != "" }).Leader
		n := c.nodes[leader]
		if n == nil {
			c.nodes[names[0]].await(c.t, "there is another leader", func(s Status) bool { return s.Leader != leader })
			continue
		}
		n.await(c.t, "leading or not", func(s Status) bool { return s.Leading || s.Role != RoleLeader })
		agreed := n.Status().Leading
		for _, name := range names {
			agreed = agreed && c.nodes[name].await(c.t, "there is a leader", func(s Status) bool { return s.Leader != "" }).Leader == leader
		}
		if agreed {
			return n
		}
		time.Sleep(10 * time.Millisecond) // in a bubble
	}
}

// writeAnywhere writes on whoever leads, again on the next one if leadership moves. The id that was
// written begins with id.
func (c *testCluster) writeAnywhere(id string) testResult {
	c.t.Helper()
	for try := range 100 {
		got, err := c.leader().Propose(c.t.Context(), command(fmt.Sprintf("%s.%d", id, try)))
		if err == nil {
			return got.(testResult)
		}
		time.Sleep(10 * time.Millisecond) // in a bubble
	}
	c.t.Fatalf("%s cannot be written", id)
	return testResult{}
}

func command(id string) *logv1.Command {
	return &logv1.Command{RequestId: id, Kind: &logv1.Command_Write{Write: &logv1.Write{
		Changes: []*logv1.Change{{Service: "team/" + id, Status: logv1.Status_STATUS_SERVING}},
	}}}
}

func (n *testNode) write(t testing.TB, id string) testResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got, err := n.Propose(ctx, command(id))
	if err != nil {
		t.Fatalf("write %s on %s: %v", id, n.cfg.Node, err)
	}
	if r := got.(testResult); r.ID != id {
		t.Fatalf("write %s was answered with %+v", id, r)
	}
	return got.(testResult)
}

// logBuffer is a slog target that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func announced(name, directory string) *logv1.Member {
	return &logv1.Member{Name: name, DirectoryId: directory}
}
