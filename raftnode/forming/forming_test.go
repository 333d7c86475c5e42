package forming

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.uber.org/goleak"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var threeMembers = []peerport.Member{
	{Name: "n1", PeerAddress: "h1:7601"},
	{Name: "n2", PeerAddress: "h2:7601"},
	{Name: "n3", PeerAddress: "h3:7601"},
}

func emptyView(node string, members []peerport.Member) peerport.View {
	return peerport.View{Node: node, DirectoryID: "dir-" + node, Members: members, Known: map[string]string{}}
}

// empty is the answer of a member that has no cluster.
func empty(m peerport.Member, members []peerport.Member) Answer {
	return Answer{Member: m, Address: m.PeerAddress, Hello: emptyView(m.Name, members).Hello(peerv1.Hello_PURPOSE_PROBE, "")}
}

func silent(m peerport.Member) Answer { return Answer{Member: m, Err: syscall.ECONNREFUSED} }

// formed is the answer of a member of a cluster to a node of which it knows the directory known.
func formed(m peerport.Member, cluster string, known string, first ...store.FoundingMember) Answer {
	f := &store.Founding{ClusterID: cluster, Members: first}
	v := emptyView(m.Name, threeMembers)
	v.Founding = f
	h := v.Hello(peerv1.Hello_PURPOSE_PROBE, "")
	h.YourDirectoryId = known
	return Answer{Member: m, Address: m.PeerAddress, Hello: h}
}

func TestDecide(t *testing.T) {
	m := threeMembers
	other := slices.Clone(m)
	other[2].PeerAddress = "h9:7601"
	mine := store.FoundingMember{Name: "n2", DirectoryID: "dir-n2"}
	lost := store.FoundingMember{Name: "n2", DirectoryID: "dir-lost"}
	unknown := store.FoundingMember{Name: "n2"}
	tests := []struct {
		name    string
		node    string
		members []peerport.Member
		force   bool
		answers []Answer
		adopt   string // cluster id
		found   string // directories, by name
		fatal   string
		waiting string
	}{
		{name: "founder, all empty", node: "n1", answers: []Answer{empty(m[1], m), empty(m[2], m)}, found: "dir-n1 dir-n2 dir-n3"},
		{name: "founder, one silent", node: "n1", answers: []Answer{empty(m[1], m), silent(m[2])},
			waiting: "waiting for n3 to form the cluster: n3: connection refused"},
		{name: "founder, all silent", node: "n1", answers: []Answer{silent(m[1]), silent(m[2])},
			waiting: "waiting for n2, n3 to form the cluster: n2: connection refused; n3: connection refused"},
		{name: "not the founder, all empty", node: "n2", answers: []Answer{empty(m[0], m), empty(m[2], m)},
			waiting: "waiting for n1 to form the cluster"},
		{name: "not the founder, one silent", node: "n2", answers: []Answer{empty(m[0], m), silent(m[2])},
			waiting: "waiting for n1, n3 to form the cluster: n3: connection refused"},
		{name: "not the founder, founder silent", node: "n2", answers: []Answer{silent(m[0]), empty(m[2], m)},
			waiting: "waiting for n1 to form the cluster: n1: connection refused"},
		{name: "one member", node: "n1", members: m[:1], found: "dir-n1"},
		{name: "forced, silent ones have no directory", node: "n2", force: true, answers: []Answer{silent(m[0]), empty(m[2], m)},
			found: " dir-n2 dir-n3"},
		{name: "forced, somebody has a cluster without it", node: "n2", force: true,
			answers: []Answer{formed(m[0], "3f9a0000", ""), silent(m[2])},
			waiting: `n2 is not a member of cluster 3f9a, to which n1 (h1:7601) belongs; to make it one, run "rollcall member add n2 --peer h0:7601"`},
		{name: "listed with this directory", node: "n2", answers: []Answer{formed(m[0], "3f9a0000", "dir-n2", mine), silent(m[2])}, adopt: "3f9a0000"},
		{name: "listed in the founding alone", node: "n2", answers: []Answer{silent(m[0]), formed(m[2], "3f9a0000", "", mine)}, adopt: "3f9a0000"},
		{name: "replaced since the founding", node: "n2", answers: []Answer{formed(m[0], "3f9a0000", "dir-n2", lost), silent(m[2])}, adopt: "3f9a0000"},
		{name: "one fold is behind the other", node: "n2",
			answers: []Answer{formed(m[0], "3f9a0000", "dir-lost", lost), formed(m[2], "3f9a0000", "dir-n2", lost)}, adopt: "3f9a0000"},
		{name: "formed by force without it", node: "n2", answers: []Answer{formed(m[0], "3f9a0000", "", unknown), empty(m[2], m)}, adopt: "3f9a0000"},
		{name: "listed with another directory", node: "n2", answers: []Answer{formed(m[0], "3f9a0000", "dir-lost", lost), silent(m[2])},
			waiting: `cluster 3f9a knows n2 by another data directory than /data, which is empty; start n2 with that one; if it is lost, run "rollcall member replace n2"`},
		{name: "listed with another directory, others empty", node: "n1", answers: []Answer{empty(m[1], m),
			formed(m[2], "3f9a0000", "dir-lost", store.FoundingMember{Name: "n1", DirectoryID: "dir-lost"})},
			waiting: `cluster 3f9a knows n1 by another data directory than /data, which is empty; start n1 with that one; if it is lost, run "rollcall member replace n1"`},
		{name: "two clusters", node: "n2", answers: []Answer{formed(m[0], "3f9a0000", "dir-n2", mine), formed(m[2], "77b20000", "", mine)},
			fatal: "n1 (h1:7601) belongs to cluster 3f9a, but n3 (h3:7601) belongs to cluster 77b2"},
		{name: "other addresses", node: "n1", answers: []Answer{empty(m[1], m), empty(m[2], other)},
			fatal: "n1 and n3 were given different members; n1: n1=h1:7601, n2=h2:7601, n3=h3:7601; n3: n1=h1:7601, n2=h2:7601, n3=h9:7601"},
		{name: "fewer members", node: "n1", answers: []Answer{empty(m[1], m[:2]), silent(m[2])},
			fatal: "n1 and n2 were given different members; n1: n1=h1:7601, n2=h2:7601, n3=h3:7601; n2: n1=h1:7601, n2=h2:7601"},
		{name: "forced, other members", node: "n1", force: true, answers: []Answer{empty(m[1], m[:2]), silent(m[2])},
			fatal: "n1 and n2 were given different members; n1: n1=h1:7601, n2=h2:7601, n3=h3:7601; n2: n1=h1:7601, n2=h2:7601"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.members == nil {
				test.members = m
			}
			d := Decide(Node{View: emptyView(test.node, test.members), PeerAddress: "h0:7601", Directory: "/data", Force: test.force}, test.answers)
			if d.Waiting != test.waiting {
				t.Errorf("waiting %q\nwant    %q", d.Waiting, test.waiting)
			}
			if got := fmt.Sprint(d.Fatal); got != test.fatal && (test.fatal != "" || d.Fatal != nil) {
				t.Errorf("fatal %s\nwant  %s", got, test.fatal)
			}
			if test.fatal != "" && !errors.As(d.Fatal, new(*Error)) {
				t.Errorf("fatal is a %T", d.Fatal)
			}
			adopt, found := "", []string(nil)
			if d.Adopt != nil {
				adopt = d.Adopt.ClusterID
			}
			if d.Found != nil {
				for _, m := range d.Found.Members {
					found = append(found, m.DirectoryID)
				}
			}
			if adopt != test.adopt || strings.Join(found, " ") != test.found {
				t.Errorf("adopts %q, founds %q; want %q, %q", adopt, found, test.adopt, test.found)
			}
		})
	}
}

// withRoster is an answer with who belongs to the cluster.
func withRoster(a Answer, revision int64, names ...string) Answer {
	a.Hello.Roster = &peerv1.Roster{Revision: revision}
	for _, name := range names {
		a.Hello.Roster.Members = append(a.Hello.Roster.Members, &peerv1.RosterMember{Name: name})
	}
	return a
}

// TestDecideToJoin: what a node does that waits to be made a member, or has lost its data.
func TestDecideToJoin(t *testing.T) {
	m := threeMembers
	founder := store.FoundingMember{Name: "n4", DirectoryID: "dir-lost"}
	twin := Answer{Member: peerport.Member{PeerAddress: "h9:7601"}, Address: "h9:7601", Err: errors.New("n4 was called by another node named n4")}
	tests := []struct {
		name    string
		members []peerport.Member // nil: it was told whom to join
		answers []Answer
		adopt   string
		joined  bool
		roster  int64
		waiting string
	}{
		{name: "nobody answers", answers: []Answer{{Member: peerport.Member{PeerAddress: "h1:7601"}, Err: syscall.ECONNREFUSED}, twin},
			waiting: "waiting for a member of a cluster at h1:7601, h9:7601: h1:7601: connection refused; h9:7601: n4 was called by another node named n4"},
		{name: "its own address", waiting: "waiting for a member of a cluster: each address of --join is this node's own"},
		{name: "no cluster yet", answers: []Answer{empty(m[0], m)},
			waiting: "waiting for a member of a cluster at h1:7601: n1 (h1:7601) belongs to no cluster yet"},
		{name: "not known", answers: []Answer{empty(m[0], m), formed(m[1], "3f9a0000", "")},
			waiting: `n4 is not a member of cluster 3f9a, to which n2 (h2:7601) belongs; to make it one, run "rollcall member add n4 --peer h4:7601"`},
		{name: "known by another directory", answers: []Answer{formed(m[1], "3f9a0000", peerport.AnotherDirectory)},
			waiting: `cluster 3f9a knows n4 by another data directory than /data, which is empty; start n4 with that one; if it is lost, run "rollcall member replace n4 --peer h4:7601"`},
		{name: "added", answers: []Answer{formed(m[0], "3f9a0000", ""), withRoster(formed(m[1], "3f9a0000", "dir-n4"), 9, "n2", "n4")},
			adopt: "3f9a0000", joined: true, roster: 9},
		{name: "another one was told more", answers: []Answer{withRoster(formed(m[0], "3f9a0000", "dir-n4"), 9, "n1"), withRoster(formed(m[1], "3f9a0000", ""), 12, "n2")},
			adopt: "3f9a0000", joined: true, roster: 12},
		{name: "a roster that nobody could tell", answers: []Answer{withRoster(formed(m[0], "3f9a0000", "dir-n4"), 9, "n2", "n1")},
			adopt: "3f9a0000", joined: true},
		{name: "a founder that was replaced", members: m, answers: []Answer{withRoster(formed(m[1], "3f9a0000", "dir-n4", founder), 9, "n4")},
			adopt: "3f9a0000", joined: true, roster: 9},
		{name: "a founder that was silent then", members: m, answers: []Answer{formed(m[1], "3f9a0000", "", store.FoundingMember{Name: "n4"})},
			adopt: "3f9a0000"},
		{name: "a founder that was silent then, and was replaced", members: m, answers: []Answer{formed(m[1], "3f9a0000", "dir-n4", store.FoundingMember{Name: "n4"})},
			adopt: "3f9a0000", joined: true},
		{name: "a listed one joins another cluster", members: append(slices.Clone(m), peerport.Member{Name: "n4", PeerAddress: "h4:7601"}),
			answers: []Answer{empty(m[0], nil)},
			waiting: "waiting for n1 to form the cluster: it was started with --join, and waits to be made a member of another one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := Node{View: emptyView("n4", test.members), PeerAddress: "h4:7601", Directory: "/data", Joins: test.members == nil}
			d := Decide(n, test.answers)
			if d.Waiting != test.waiting || d.Fatal != nil || d.Found != nil {
				t.Errorf("%+v\nwant waiting %q", d, test.waiting)
			}
			adopt, revision := "", int64(0)
			if d.Adopt != nil {
				adopt = d.Adopt.ClusterID
			}
			if d.Roster != nil {
				revision = d.Roster.Revision
			}
			if adopt != test.adopt || d.Joined != test.joined || revision != test.roster {
				t.Errorf("adopts %q, joined %v, roster of revision %d", adopt, d.Joined, revision)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	m := threeMembers
	v := emptyView("n2", m)
	v.Founding = &store.Founding{ClusterID: "3f9a0000"}
	tests := []struct {
		name    string
		answers []Answer
		want    string
	}{
		{"all silent", []Answer{silent(m[0]), silent(m[2])}, ""},
		{"others are empty", []Answer{empty(m[0], m), empty(m[2], m)}, ""},
		{"known", []Answer{formed(m[0], "3f9a0000", "dir-n2"), silent(m[2])}, ""},
		{"not known at all", []Answer{formed(m[0], "3f9a0000", ""), silent(m[2])}, ""},
		{"known to one, a fold is behind", []Answer{formed(m[0], "3f9a0000", "dir-lost"), formed(m[2], "3f9a0000", "dir-n2")}, ""},
		{"known by another directory", []Answer{silent(m[0]), formed(m[2], "3f9a0000", "dir-new")},
			`/data is not the data directory by which n3 (h3:7601) knows n2; start n2 with that directory; if it is lost, run "rollcall member replace n2"`},
		{"known to one, another cluster at an address of old", []Answer{formed(m[0], "77b20000", ""), formed(m[2], "3f9a0000", "dir-n2")}, ""},
		{"another cluster", []Answer{formed(m[0], "77b20000", "dir-n2"), silent(m[2])},
			"/data belongs to cluster 3f9a, but n1 (h1:7601) belongs to cluster 77b2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Check(Node{View: v, Directory: "/data"}, test.answers)
			if got := fmt.Sprint(err); got != test.want && (test.want != "" || err != nil) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			// One that was made a member starts where others know its name by another directory: they may be behind.
			want := test.want
			if strings.Contains(want, "rollcall member replace") {
				want = ""
			}
			err = Check(Node{View: v, Directory: "/data", Joined: true}, test.answers)
			if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
				t.Errorf("that joined: got  %s\nwant %s", got, want)
			}
		})
	}
}

// Whatever a member answers: no panic, and nobody founds a cluster beside one that exists.
func FuzzDecide(f *testing.F) {
	for _, a := range []Answer{empty(threeMembers[1], threeMembers), formed(threeMembers[1], "3f9a0000", "dir-n1")} {
		b, err := proto.Marshal(a.Hello)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &peerv1.Hello{}
		if proto.Unmarshal(b, h) != nil {
			return
		}
		d := Decide(Node{View: emptyView("n1", threeMembers), Directory: "/data"}, []Answer{{Member: threeMembers[1], Hello: h}, silent(threeMembers[2])})
		if d.Found != nil {
			t.Errorf("founded although one is silent and another answered %v", h)
		}
	})
}
