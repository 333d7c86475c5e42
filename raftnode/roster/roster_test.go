package roster

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
)

// founding names n3 without a directory, as of a member that was silent when the cluster was formed by force.
var founding = &store.Founding{ClusterID: "3f9a", Members: []store.FoundingMember{
	{Name: "n1", PeerAddress: "h1:7601", DirectoryID: "d1"},
	{Name: "n2", PeerAddress: "h2:7601", DirectoryID: "d2"},
	{Name: "n3", PeerAddress: "h3:7601"},
}}

func member(name, directory, address string, joined bool) *logv1.Member {
	return &logv1.Member{Name: name, DirectoryId: directory, PeerAddress: address, Joined: joined}
}

func fold(revision, changed int64, members []*logv1.Member, removed ...*logv1.RemovedMember) Fold {
	f := Fold{Revision: revision, Changed: changed, Members: map[string]*logv1.Member{}, Removed: map[string]*logv1.RemovedMember{}}
	for _, m := range members {
		f.Members[m.GetName()] = m
	}
	for _, r := range removed {
		f.Removed[logv1.RemovedKey(r.GetName(), r.GetDirectoryId())] = r
	}
	return f
}

func gone(name, directory string, revision int64) *logv1.RemovedMember {
	return &logv1.RemovedMember{Name: name, DirectoryId: directory, Revision: revision}
}

func TestWhoBelongs(t *testing.T) {
	noted := &store.Roster{Revision: 50, Members: []store.RosterMember{
		{Name: "n1", PeerAddress: "h1:7601", DirectoryID: "d1"}, {Name: "n2", PeerAddress: "h9:7601", DirectoryID: "new"}}}
	for name, test := range map[string]struct {
		noted    *store.Roster
		fold     Fold
		known    map[string]string
		moved    []string
		revision int64
		changed  bool
	}{
		"as founded": {fold: fold(0, 0, nil), known: map[string]string{"n1": "d1", "n2": "d2", "n3": ""}},
		"announced": {fold: fold(9, 7, []*logv1.Member{member("n2", "d2", "h2:1", false), member("n3", "d3", "h3:1", false)}),
			known: map[string]string{"n1": "d1", "n2": "d2", "n3": "d3"}, revision: 7},
		"announced without a directory": {fold: fold(9, 7, []*logv1.Member{member("n1", "", "h1:1", false)}),
			known: map[string]string{"n1": "d1", "n2": "d2", "n3": ""}, revision: 7},
		"one was added": {fold: fold(9, 8, []*logv1.Member{member("n4", "d4", "h4:1", true)}),
			known: map[string]string{"n1": "d1", "n2": "d2", "n3": "", "n4": "d4"}, moved: []string{"n4"}, revision: 8, changed: true},
		"one was replaced": {fold: fold(9, 8, []*logv1.Member{member("n2", "new", "h9:1", true)}, gone("n2", "d2", 8)),
			known: map[string]string{"n1": "d1", "n2": "new", "n3": ""}, moved: []string{"n2"}, revision: 8, changed: true},
		"a founder was removed": {fold: fold(9, 8, nil, gone("n1", "d1", 8)),
			known: map[string]string{"n2": "d2", "n3": ""}, revision: 8, changed: true},
		"a founder whose directory the founding does not know was removed": {fold: fold(9, 8, nil, gone("n3", "d3", 8)),
			known: map[string]string{"n1": "d1", "n2": "d2"}, revision: 8, changed: true},
		"a founder whose directory nobody knows was removed": {fold: fold(9, 8, nil, gone("n3", "", 8)),
			known: map[string]string{"n1": "d1", "n2": "d2"}, revision: 8, changed: true},
		"told more than is folded": {noted: noted, fold: fold(49, 8, []*logv1.Member{member("n2", "d2", "h2:1", false)}),
			known: map[string]string{"n1": "d1", "n2": "new"}, moved: []string{"n2"}, revision: 50, changed: true},
		"told what is folded since": {noted: noted, fold: fold(50, 50, []*logv1.Member{member("n2", "newest", "h2:1", true)}, gone("n2", "d2", 50)),
			known: map[string]string{"n1": "d1", "n2": "newest", "n3": ""}, moved: []string{"n2"}, revision: 50, changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := Of(founding, test.noted, test.fold)
			if !maps.Equal(m.Known, test.known) {
				t.Errorf("known %v, want %v", m.Known, test.known)
			}
			var moved []string
			for _, name := range m.Names() {
				if m.Moved(name) {
					moved = append(moved, name)
				}
			}
			if !slices.Equal(moved, test.moved) || m.Revision != test.revision || m.Changed != test.changed {
				t.Errorf("moved %v, revision %d, changed %v", moved, m.Revision, m.Changed)
			}
			if m.Revision > 0 {
				told, kept := FromProto(m.Proto()), m.Store()
				if !reflect.DeepEqual(*told, kept) {
					t.Errorf("tells %+v, keeps %+v", told, kept)
				}
			} else if m.Proto() != nil {
				t.Errorf("tells %v", m.Proto())
			}
		})
	}
	if m := Of(nil, noted, fold(0, 0, nil)); len(m.Known) > 0 {
		t.Errorf("a node without a cluster knows %v", m.Known)
	}
}

func TestLeaving(t *testing.T) {
	m := Of(founding, nil, fold(9, 8, []*logv1.Member{member("n2", "new", "h9:1", true), member("n4", "d4", "h4:1", true)},
		gone("n1", "d1", 8), gone("n2", "d2", 7), gone("n3", "first", 3), gone("n3", "second", 6), gone("n5", "d5", 5)))
	for name, test := range map[string]struct {
		servers []raft.ServerAddress
		want    map[string]string
	}{
		"nobody":                              {nil, nil},
		"members":                             {[]raft.ServerAddress{"n2/new", "n4/d4"}, nil},
		"a founder":                           {[]raft.ServerAddress{"n1", "n2/new"}, map[string]string{"d1": "n1"}},
		"a replaced founder":                  {[]raft.ServerAddress{"n2"}, map[string]string{"d2": "n2"}},
		"an added one":                        {[]raft.ServerAddress{"n5/d5"}, map[string]string{"d5": "n5"}},
		"a founder that the founding forgets": {[]raft.ServerAddress{"n3"}, map[string]string{"first": "n3"}},
		"a later one of its name":             {[]raft.ServerAddress{"n3/second"}, map[string]string{"second": "n3"}},
	} {
		if got := m.Leaving(founding, test.servers); !maps.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if got := m.AllRemoved(); len(got) != 5 || got["d5"] != "n5" {
		t.Errorf("removed %v", got)
	}
	if m.Removed("d4") != nil || m.Removed("d5").GetRevision() != 5 || m.Removed("") != nil {
		t.Error("it does not know which directories were removed")
	}
}

func TestDrift(t *testing.T) {
	m := Of(founding, nil, fold(9, 8, []*logv1.Member{member("n2", "new", "h9:1", true), member("n4", "d4", "h4:1", true)}, gone("n2", "d2", 7), gone("n1", "d1", 8)))
	for name, test := range map[string]struct {
		listed map[string]string
		want   []string
	}{
		"as it is": {map[string]string{"n2": "h9:1", "n3": "h3:7601", "n4": "h4:1"}, nil},
		"as it was": {map[string]string{"n1": "h1:7601", "n2": "h2:7601", "n3": "h3:7601"},
			[]string{"n1 is listed and is no member", "n2 is at h9:1 and listed at h2:7601", "n4 at h4:1 is a member and not listed"}},
		"a founder moves": {map[string]string{"n2": "h9:1", "n3": "elsewhere:7601", "n4": "h4:1"}, nil},
	} {
		if got := m.Drift(test.listed); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestFromProtoOfNothing(t *testing.T) {
	if FromProto(nil) != nil {
		t.Error("nothing was told, and taken")
	}
}
