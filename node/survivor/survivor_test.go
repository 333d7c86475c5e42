package survivor

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

func eachKind(t *testing.T, f func(t *testing.T, kind raftlog.Kind)) {
	for _, kind := range raftlog.Kinds() {
		t.Run(string(kind), func(t *testing.T) { f(t, kind) })
	}
}

// TestKnownCommitted: what the log says of what was committed, and nothing more, is known.
func TestKnownCommitted(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		make                  func(n *testNode)
		held, committed, last uint64
	}{
		{"all is in the registry file", func(n *testNode) { n.report(10); n.apply() }, 12, 12, 12},
		{"entries that nothing is said of", func(n *testNode) { n.report(3); n.apply(); n.report(4) }, 5, 5, 9},
		{"a later entry says that the leader had applied it", func(n *testNode) {
			n.report(3)
			n.leaderApplied(4)
			n.report(1)
			n.leaderApplied(5)
			n.report(2)
		}, 2, 5, 8},
		{"a newer term says nothing", func(n *testNode) { n.report(3); n.term = 4; n.report(2) }, 2, 2, 7},
		{"an entry says nothing of itself or later ones", func(n *testNode) { n.report(1); n.leaderApplied(99); n.report(1) }, 2, 3, 4},
		{"the only voter", func(n *testNode) { n.configure("n1"); n.report(3) }, 2, 6, 6},
		{"the only voter is another", func(n *testNode) { n.configure("n2"); n.report(3) }, 2, 2, 6},
		{"a snapshot at a later entry, raft's own", func(n *testNode) {
			n.report(2)
			n.apply()
			n.configure("n1", "n2", "n3")
			n.snapshot()
			n.report(2)
		}, 5, 5, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind raftlog.Kind) {
				n := newTestNode(t, kind)
				tt.make(n)
				n.close()
				before := tree(t, n.path)
				s := n.read()
				if s.chain().held != tt.held || s.Committed.Index != tt.committed || s.Last.Index != tt.last {
					t.Errorf("held %d, committed %d, last %d; want %d, %d, %d", s.chain().held, s.Committed.Index, s.Last.Index, tt.held, tt.committed, tt.last)
				}
				if v := s.Voters(); len(v) == 0 || s.Voter() != (v[0] == "n1") {
					t.Errorf("voters %v", v)
				}
				if s.Last.Term != n.term || s.ClusterID != testCluster || s.Node != "n1" || len(s.Missing)+len(s.Notes) > 0 {
					t.Errorf("%+v", s)
				}
				for _, committedOnly := range []bool{false, true} {
					file := filepath.Join(t.TempDir(), "backup")
					b, err := s.Save(context.Background(), file, false, committedOnly)
					if err != nil {
						t.Fatal(err)
					}
					want := s.Last
					if committedOnly {
						want = s.Committed
					}
					if b.Meta.GetRevision() != want.Revision || b.Meta.GetIndex() > want.Index || b.Meta.GetTerm() > want.Term {
						t.Errorf("committed only %t: saved %v, want %+v", committedOnly, b.Meta, want)
					}
					_, r, err := registry.ExtractBackup(file, t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := fsm.Inspect(r, fsm.DefaultKinds()); err != nil {
						t.Error(err)
					}
					r.Close()
					if names, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(names) > 0 {
						t.Errorf("left over: %v", names)
					}
				}
				if after := tree(t, n.path); !maps.Equal(before, after) {
					t.Error("the directory was changed")
				}
			})
		})
	}
}

// leaderApplied has the entries that follow say that their proposer had applied entry index. Its hash is of another
// version, so that it is compared with nothing.
func (n *testNode) leaderApplied(index uint64) {
	n.hash.Index, n.hash.Version = index, 1000
}

func (s *Survivor) chain() *chain { return &s.base.chain }

// TestRevisions: the revisions of the three points are those that a node would have there.
func TestRevisions(t *testing.T) {
	eachKind(t, func(t *testing.T, kind raftlog.Kind) {
		n := newTestNode(t, kind)
		n.report(700) // more than one batch
		n.apply()
		n.report(300)
		n.leaderApplied(n.index)
		n.report(500)
		n.close()
		s := n.read()
		if s.Held.Revision != 700 || s.Committed.Revision != 1000 || s.Last.Revision != 1500 || s.After() != 800 || s.Uncertain() != 500 {
			t.Errorf("%+v", s)
		}
		if at := s.Last.Time.UnixNano(); at != 1502*1e9 {
			t.Errorf("the last entry is of %v", s.Last.Time)
		}
	})
}

func TestNothing(t *testing.T) {
	n := &testNode{t: t, path: filepath.Join(t.TempDir(), "data")}
	n.open(raftlog.WAL)
	if _, err := Read(n.path, fsm.DefaultKinds()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("of a node that runs: %v", err)
	}
	n.close()
	if _, err := Read(n.path, fsm.DefaultKinds()); err == nil || !strings.Contains(err.Error(), "belongs to no cluster yet") {
		t.Errorf("of a node without a cluster: %v", err)
	}
	if _, err := Read(t.TempDir(), fsm.DefaultKinds()); err == nil || !strings.Contains(err.Error(), "not the data directory of a node") {
		t.Errorf("of nothing: %v", err)
	}
}
