package survivor

import (
	"regexp"
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

// TestChooseAfterRecovery: what a recovery has kept is no survivor, and what is left of its cluster is not advised to
// be started or recovered as if nothing had happened.
func TestChooseAfterRecovery(t *testing.T) {
	renew := func() *Survivor {
		s := of("n1", "new", 4, 60)
		s.Path, s.ClusterID = "/new", "4444"
		s.Identity.Founding.ClusterID = "4444"
		s.Configuration.Servers = []raft.Server{{ID: "n1", Address: "n1"}}
		s.Recovered = &store.Recovered{ClusterID: testCluster, DirectoryID: "d1", Index: 50, Term: 3, Time: time.Unix(0, 0)}
		return s
	}
	between := renew() // and recovered once more
	between.Path, between.KeptFor = "/between", "/new"
	last := renew()
	last.Directory, last.ClusterID = "newest", "5555"
	last.Recovered = &store.Recovered{ClusterID: "4444", DirectoryID: "new", Index: 60, Term: 4, Time: time.Unix(0, 0)}
	named := of("n1", "d1", 3, 50)
	named.KeptFor = "/new"
	for _, tt := range []struct {
		name      string
		all       []*Survivor
		kept      string // its path
		best      string // paths
		recovered string // of the last choice
	}{
		{"by its name", []*Survivor{named}, "/n1", "", ""},
		{"by its name, with another of the cluster", []*Survivor{named, of("n2", "d2", 3, 49)}, "/n1", "/n2", ""},
		{"by the note of the new one", []*Survivor{of("n1", "d1", 3, 50), renew()}, "/n1", "/new", ""},
		{"another that has no more", []*Survivor{renew(), of("n1", "d1", 3, 50), of("n2", "d2", 3, 50)}, "/n1", "/new /n2", "into /new, with its log up to entry 50 of term 3: go on with that one$"},
		{"another that has more", []*Survivor{renew(), of("n2", "d2", 3, 51), of("n3", "new3", 2, 99)}, "", "/new /n2", "go on with that one; but it has not all that was left: n2 ends at entry 51 of term 3$"},
		{"recovered twice", []*Survivor{last, between, of("n2", "d2", 3, 50)}, "/between", "/new /n2", "into /new, with its log up to entry 50 of term 3: go on with that one$"},
		{"a majority after all", []*Survivor{renew(), of("n3", "new", 3, 40), of("n2", "d2", 3, 50)}, "", "/new /n2", "go on with that one$"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var kept, best []string
			for s, in := range Kept(tt.all) {
				if kept = append(kept, s.Path); in != "/new" {
					t.Errorf("kept for %s", in)
				}
			}
			last := Choice{}
			for _, last = range Choose(tt.all) {
				best = append(best, last.Best.Path)
			}
			if got := strings.Join(kept, " "); got != tt.kept {
				t.Errorf("kept: %q, want %q", got, tt.kept)
			}
			if got := strings.Join(best, " "); got != tt.best {
				t.Errorf("chose %q, want %q", got, tt.best)
			}
			if !regexp.MustCompile(tt.recovered).MatchString(last.Recovered) || (tt.recovered == "") != (last.Recovered == "") {
				t.Errorf("recovered: %q, want %q", last.Recovered, tt.recovered)
			}
		})
	}
}

// TestAlone: a node that can go on by itself has not to be recovered.
func TestAlone(t *testing.T) {
	alone := func(change func(*Survivor)) *Survivor {
		s := of("n1", "d1", 3, 50)
		s.Configuration.Servers = []raft.Server{{ID: "n1", Address: "n1"}, {ID: "n4", Address: "n4/d4", Suffrage: raft.Nonvoter}}
		change(s)
		return s
	}
	for _, tt := range []struct {
		name string
		s    *Survivor
		want bool
	}{
		{"the only voter, with a replica", alone(func(*Survivor) {}), true},
		{"one of three", of("n1", "d1", 3, 50), false},
		{"the only voter, but something is missing", alone(func(s *Survivor) { s.Missing = []string{"entries"} }), false},
		{"the only voter, but its identity is lost", alone(func(s *Survivor) { s.Identity = store.Identity{} }), false},
		{"the only voter is another", alone(func(s *Survivor) { s.Node = "n2" }), false},
		{"it was removed", alone(func(s *Survivor) { s.Removed = map[string]bool{"d1": true} }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.s.Alone(); got != tt.want {
				t.Errorf("alone: %t", got)
			}
		})
	}
}
