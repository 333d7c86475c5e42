package survivor

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// of makes a survivor of a cluster whose voters are n1, n2 and n3, of which n3 was replaced.
func of(node, directory string, term, index uint64) *Survivor {
	return &Survivor{
		Path: "/" + node, Node: node, ClusterID: testCluster, Directory: directory, Last: Point{Index: index, Term: term},
		Identity: store.Identity{Node: node, Founding: &store.Founding{ClusterID: testCluster}},
		Configuration: raft.Configuration{Servers: []raft.Server{
			{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}, {ID: "n3", Address: "n3/new"}, {ID: "n4", Address: "n4/d4", Suffrage: raft.Nonvoter},
		}},
	}
}

func TestChoose(t *testing.T) {
	damaged := of("n1", "d1", 3, 50)
	damaged.Missing = []string{"something"}
	other := of("n9", "d9", 9, 9)
	other.ClusterID = "4444"
	removing := of("n1", "d1", 3, 50)
	removing.Removed = map[string]bool{"d2": true}
	for _, tt := range []struct {
		name     string
		all      []*Survivor
		best     string // paths
		why      string
		majority string
	}{
		{"one", []*Survivor{of("n1", "d1", 3, 50)}, "/n1", "ends at entry 50 of term 3, and there is no other of its cluster", ""},
		{"the higher term", []*Survivor{of("n1", "d1", 3, 50), of("n4", "d4", 4, 40)}, "/n4", "entry 40 of term 4, n1 at 50 of term 3", ""},
		{"the higher index", []*Survivor{of("n1", "d1", 3, 50), of("n4", "d4", 3, 51)}, "/n4", "", ""},
		{"equal, one damaged", []*Survivor{damaged, of("n4", "d4", 3, 50)}, "/n4", "n1 at the same", ""},
		{"a majority", []*Survivor{of("n1", "d1", 3, 50), of("n2", "d2", 3, 51)}, "/n2", "", "n1, n2 are a majority of the 3 members that vote (n1, n2, n3)"},
		{"a damaged one makes no majority", []*Survivor{damaged, of("n2", "d2", 3, 51)}, "/n2", "", ""},
		{"a replica makes no majority", []*Survivor{of("n1", "d1", 3, 50), of("n4", "d4", 3, 51)}, "/n4", "", ""},
		{"two copies make no majority", []*Survivor{of("n1", "d1", 3, 50), of("n1", "d1", 3, 50)}, "/n1", "", ""},
		{"a replaced directory makes no majority", []*Survivor{of("n1", "d1", 3, 50), of("n3", "old", 3, 40)}, "/n1", "", ""},
		{"the directory in its place does", []*Survivor{of("n1", "d1", 3, 50), of("n3", "new", 3, 40)}, "/n1", "", "n1, n3 are a majority"},
		{"a removed one is left out", []*Survivor{of("n2", "d2", 3, 60), removing}, "/n1", "n2 is a member no more", ""},
		{"two clusters", []*Survivor{other, of("n1", "d1", 3, 50)}, "/n9 /n1", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var best []string
			choices := Choose(tt.all)
			for _, c := range choices {
				best = append(best, c.Best.Path)
			}
			if got := strings.Join(best, " "); got != tt.best {
				t.Errorf("chose %s, want %s", got, tt.best)
			}
			if c := choices[0]; !strings.Contains(c.Why, tt.why) || !strings.Contains(c.Majority, tt.majority) || (c.Majority == "") != (tt.majority == "") {
				t.Errorf("%q, %q", c.Why, c.Majority)
			}
		})
	}
}

// TestJoinedAndRemoved: the directory of a node that joined, of a replica, and of one that was removed.
func TestJoinedAndRemoved(t *testing.T) {
	eachKind(t, func(t *testing.T, kind raftlog.Kind) {
		for _, tt := range []struct {
			name      string
			servers   func(directory string) []raft.Server
			removed   bool
			votes     bool
			committed uint64
		}{
			{"joined", func(d string) []raft.Server {
				return []raft.Server{{ID: "n1", Address: raft.ServerAddress("n1/" + d)}, {ID: "n2", Address: "n2"}}
			}, false, true, 2},
			{"joined, and alone", func(d string) []raft.Server {
				return []raft.Server{{ID: "n1", Address: raft.ServerAddress("n1/" + d)}}
			}, false, true, 6},
			{"replaced, and the other is alone", func(string) []raft.Server {
				return []raft.Server{{ID: "n1", Address: "n1/another"}}
			}, false, false, 2},
			{"a replica", func(d string) []raft.Server {
				return []raft.Server{{ID: "n2", Address: "n2"}, {ID: "n1", Address: raft.ServerAddress("n1/" + d), Suffrage: raft.Nonvoter}}
			}, false, false, 2},
			{"removed", func(string) []raft.Server { return []raft.Server{{ID: "n2", Address: "n2"}, {ID: "n3", Address: "n3"}} }, true, false, 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				n := newTestNode(t, kind)
				n.check(n.log.StoreLog(n.append(raft.LogConfiguration, raft.EncodeConfiguration(raft.Configuration{Servers: tt.servers(n.dir.Identity().DirectoryID)}))))
				n.report(3)
				roster := store.Roster{Revision: 3, Members: []store.RosterMember{{Name: "n1", PeerAddress: "10.0.0.9:7601", DirectoryID: n.dir.Identity().DirectoryID}}}
				n.check(n.dir.SetRoster(roster))
				if tt.removed {
					n.check(n.dir.SetRemoved(store.Removal{Revision: 4, Time: time.Unix(1, 0).UTC()}))
				}
				n.close()
				s := n.read()
				if s.Voter() != tt.votes || s.Committed.Index != tt.committed || s.Last.Index != 6 || len(s.Missing) > 0 || s.Removed[s.Directory] != tt.removed || strings.Contains(said(s), "was removed") != tt.removed {
					t.Errorf("votes %t, committed %d, last %d, %q", s.Voter(), s.Committed.Index, s.Last.Index, said(s))
				}
			})
		}
	})
}
