package survivor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = "3f9a3f9a3f9a3f9a"

// testNode is a node without raft: the test decides what is stored, and what is applied.
type testNode struct {
	t     *testing.T
	path  string
	dir   *store.Directory
	log   *raftlog.Log
	snaps *snapshot.Store
	file  *registry.File
	fsm   *fsm.FSM

	index, term uint64
	hash        *logv1.StateHash // of the leader, in the entries that follow
	unapplied   []*raft.Log
}

func newTestNode(t *testing.T, kind raftlog.Kind) *testNode {
	t.Helper()
	n := &testNode{t: t, path: filepath.Join(t.TempDir(), "data"), term: 1}
	n.open(kind)
	members := []store.FoundingMember{}
	for i := 1; i <= 3; i++ {
		members = append(members, store.FoundingMember{Name: fmt.Sprintf("n%d", i), PeerAddress: fmt.Sprintf("10.0.0.%d:7601", i), DirectoryID: n.dir.Identity().DirectoryID})
	}
	n.check(n.dir.SetFounding(store.Founding{ClusterID: testCluster, Members: members}))
	n.configure("n1", "n2", "n3")
	n.store(&logv1.Command{Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{Term: 1, Leader: "n1", ClusterId: testCluster}}})
	n.apply()
	return n
}

func (n *testNode) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) open(kind raftlog.Kind) {
	n.t.Helper()
	var err error
	n.dir, err = store.OpenDirectory(n.path, "n1")
	n.check(err)
	n.log, err = store.OpenLog(n.dir, raftlog.Options{Kind: kind, SegmentSize: 4 << 10})
	n.check(err)
	n.snaps, err = store.OpenSnapshots(n.dir, nil)
	n.check(err)
	n.file, err = store.OpenRegistry(n.dir, n.log, n.snaps, registry.Options{})
	n.check(err)
	n.fsm, err = fsm.New(fsm.Config{RegistryFile: n.file})
	n.check(err)
	n.hash = n.fsm.StateHash()
}

// close flushes what was applied.
func (n *testNode) close() {
	n.t.Helper()
	n.check(n.fsm.Close())
	n.check(n.file.Close())
	n.check(n.log.Close())
	n.check(n.dir.Close())
}

func (n *testNode) append(kind raft.LogType, data []byte) *raft.Log {
	n.index++
	e := &raft.Log{Index: n.index, Term: n.term, Type: kind, Data: data}
	n.unapplied = append(n.unapplied, e)
	return e
}

func (n *testNode) command(c *logv1.Command) *raft.Log {
	n.t.Helper()
	data, err := logv1.Seal(&logv1.Entry{Time: int64(n.index+1) * 1e9, StateHash: n.hash, Commands: []*logv1.Command{c}})
	n.check(err)
	return n.append(raft.LogCommand, data)
}

// store stores an entry; it is not applied.
func (n *testNode) store(c *logv1.Command) {
	n.t.Helper()
	n.check(n.log.StoreLog(n.command(c)))
}

func (n *testNode) configure(voters ...string) {
	n.t.Helper()
	var c raft.Configuration
	for _, name := range voters {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
	}
	n.check(n.log.StoreLog(n.append(raft.LogConfiguration, raft.EncodeConfiguration(c))))
}

// report stores count entries, each with one change, five at once.
func (n *testNode) report(count int) {
	n.t.Helper()
	var batch []*raft.Log
	for i := range count {
		batch = append(batch, n.command(&logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{
			{Service: fmt.Sprintf("shop/%d", n.index+1), Status: logv1.Status_STATUS_SERVING}}}}}))
		if len(batch) == 5 || i == count-1 {
			n.check(n.log.StoreLogs(batch))
			batch = nil
		}
	}
}

// apply has all that was stored be committed and applied. What follows says so.
func (n *testNode) apply() {
	n.t.Helper()
	n.fsm.ApplyBatch(n.unapplied)
	n.check(n.fsm.Halted())
	n.unapplied = nil
	n.hash = n.fsm.StateHash()
}

// snapshot takes one of what was applied.
func (n *testNode) snapshot() {
	n.t.Helper()
	s, err := n.fsm.Snapshot()
	n.check(err)
	defer s.Release()
	c := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}, {ID: "n3", Address: "n3"}}}
	_, codec := raft.NewInmemTransport("") // only encodes the addresses
	defer codec.Close()
	sink, err := n.snaps.Create(1, n.index, n.term, c, 1, codec)
	n.check(err)
	n.check(s.Persist(sink))
}

func (n *testNode) read() *Survivor {
	n.t.Helper()
	s, err := Read(n.path, fsm.DefaultKinds())
	n.check(err)
	n.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return s
}

// tree is what stands in a directory, by path.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var data []byte
		if info.Mode().IsRegular() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		files[path] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), string(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
