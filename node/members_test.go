package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/store"
)

// TestMembersAndTheirPhases: the registry says who should be a member, raft's configuration who is.
func TestMembersAndTheirPhases(t *testing.T) {
	founders := func(names ...string) map[string]store.FoundingMember {
		all := map[string]store.FoundingMember{}
		for _, name := range names {
			all[name] = store.FoundingMember{Name: name, PeerAddress: name + ":7601", DirectoryID: "dir-" + name + "-0"}
		}
		return all
	}
	record := func(name, directory string, joined, replica bool) *logv1.Member {
		return &logv1.Member{Name: name, PeerAddress: name + ":7601", DirectoryId: directory, Joined: joined, Replica: replica}
	}
	removed := func(name, directory string, revision int64) *logv1.RemovedMember {
		return &logv1.RemovedMember{Name: name, DirectoryId: directory, Revision: revision}
	}
	for name, tt := range map[string]struct {
		records []*logv1.Member
		removed []*logv1.RemovedMember
		servers []raftnode.Server
		details map[string]string
		unknown bool // the founding knows no directories
		members []string
		gone    []string
		silent  []string // founders, with their directories
	}{
		"founders": {
			records: []*logv1.Member{record("n1", "dir-n1-0", false, false), record("n2", "dir-n2-0", false, false)},
			servers: []raftnode.Server{{Name: "n1", Voter: true}, {Name: "n2", Voter: true}},
			members: []string{"n1 VOTER dir-n1-0 votes", "n2 VOTER dir-n2-0 votes"},
		},
		"a founder that was never heard of": {
			records: []*logv1.Member{record("n1", "dir-n1-0", false, false)},
			servers: []raftnode.Server{{Name: "n1", Voter: true}, {Name: "n2", Voter: true}},
			members: []string{"n1 VOTER dir-n1-0 votes", "n2 VOTER dir-n2-0 votes"},
			silent:  []string{"n2 dir-n2-0"},
		},
		"one whose directory nobody knows": {
			servers: []raftnode.Server{{Name: "n2", Voter: true}}, unknown: true,
			members: []string{"n2 VOTER  votes"},
			silent:  []string{"n2 ?n2"},
		},
		"one that was added": {
			records: []*logv1.Member{record("n1", "dir-n1-0", false, false), record("n4", "dir-n4-1", true, false)},
			servers: []raftnode.Server{{Name: "n1", Voter: true}},
			details: map[string]string{"n4": "waits: n4 does not answer"},
			members: []string{"n1 VOTER dir-n1-0 votes", "n4 JOINING dir-n4-1 (waits: n4 does not answer)"},
		},
		"one that catches up": {
			records: []*logv1.Member{record("n1", "dir-n1-0", false, false), record("n4", "dir-n4-1", true, false)},
			servers: []raftnode.Server{{Name: "n1", Voter: true}, {Name: "n4", Directory: "dir-n4-1"}},
			members: []string{"n1 VOTER dir-n1-0 votes", "n4 JOINING dir-n4-1"},
		},
		"one that votes": {
			records: []*logv1.Member{record("n4", "dir-n4-1", true, false)},
			servers: []raftnode.Server{{Name: "n4", Directory: "dir-n4-1", Voter: true}},
			members: []string{"n4 VOTER dir-n4-1 votes"},
		},
		"replicas": {
			records: []*logv1.Member{record("n4", "dir-n4-1", true, true), record("n5", "dir-n5-1", true, true)},
			servers: []raftnode.Server{{Name: "n4", Directory: "dir-n4-1"}},
			members: []string{"n4 REPLICA dir-n4-1 replica", "n5 JOINING dir-n5-1 replica"},
		},
		"a replica that is promoted": {
			records: []*logv1.Member{record("n4", "dir-n4-1", true, false)},
			servers: []raftnode.Server{{Name: "n4", Directory: "dir-n4-1"}},
			members: []string{"n4 JOINING dir-n4-1"},
		},
		"a founder that is removed": {
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7)},
			servers: []raftnode.Server{{Name: "n3", Voter: true}},
			details: map[string]string{"n3": "waits: n2 does not answer"},
			members: []string{"n3 LEAVING dir-n3-0 votes (waits: n2 does not answer)"},
		},
		"a founder whose directory nobody knew": {
			removed: []*logv1.RemovedMember{removed("n3", "", 7)},
			servers: []raftnode.Server{{Name: "n3", Voter: true}}, unknown: true,
			members: []string{"n3 LEAVING  votes"},
		},
		"one that was added, and is removed": {
			removed: []*logv1.RemovedMember{removed("n4", "dir-n4-1", 7)},
			servers: []raftnode.Server{{Name: "n4", Directory: "dir-n4-1"}},
			members: []string{"n4 LEAVING dir-n4-1"},
		},
		"one that is gone": {
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7)},
		},
		"a founder that is replaced": {
			records: []*logv1.Member{record("n3", "dir-n3-1", true, false)},
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7)},
			servers: []raftnode.Server{{Name: "n3", Voter: true}},
			members: []string{"n3 JOINING dir-n3-1"}, gone: []string{"n3"},
		},
		"one that is replaced twice": {
			records: []*logv1.Member{record("n3", "dir-n3-2", true, false)},
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7), removed("n3", "dir-n3-1", 8)},
			servers: []raftnode.Server{{Name: "n3", Directory: "dir-n3-1", Voter: true}},
			members: []string{"n3 JOINING dir-n3-2"}, gone: []string{"n3"},
		},
		"one that is replaced, and whose old directory does not vote any more": {
			records: []*logv1.Member{record("n3", "dir-n3-1", true, false)},
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7)},
			servers: []raftnode.Server{{Name: "n3", Directory: "dir-n3-1"}},
			members: []string{"n3 JOINING dir-n3-1"},
		},
		"one that is added again under its name": {
			records: []*logv1.Member{record("n3", "dir-n3-1", true, false)},
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7)},
			servers: []raftnode.Server{{Name: "n3", Directory: "dir-n3-1", Voter: true}},
			members: []string{"n3 VOTER dir-n3-1 votes"},
		},
		"one that was replaced, and is removed": {
			removed: []*logv1.RemovedMember{removed("n3", "dir-n3-0", 7), removed("n3", "dir-n3-1", 8)},
			servers: []raftnode.Server{{Name: "n3", Directory: "dir-n3-1", Voter: true}},
			members: []string{"n3 LEAVING dir-n3-1 votes"},
		},
		"one that announced itself, and that raft's configuration has not": {
			records: []*logv1.Member{record("n1", "dir-n1-0", false, false), record("n2", "dir-n2-0", false, false)},
			servers: []raftnode.Server{{Name: "n1", Voter: true}},
			members: []string{"n1 VOTER dir-n1-0 votes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := membership{records: map[string]*logv1.Member{}, removed: map[string]*logv1.RemovedMember{}, servers: tt.servers, details: tt.details, founders: founders("n1", "n2", "n3")}
			if tt.unknown {
				for name, f := range m.founders {
					f.DirectoryID = ""
					m.founders[name] = f
				}
			}
			for _, r := range tt.records {
				m.records[r.GetName()] = r
			}
			for _, r := range tt.removed {
				m.removed[logv1.RemovedKey(r.GetName(), r.GetDirectoryId())] = r
			}
			all, gone := m.members()
			var got []string
			for _, m := range all {
				line := fmt.Sprintf("%s %s %s", m.GetName(), strings.TrimPrefix(m.GetPhase().String(), "MEMBER_PHASE_"), m.GetDirectoryId())
				if m.GetVoter() {
					line += " votes"
				}
				if m.GetReplica() {
					line += " replica"
				}
				if m.GetPhaseDetail() != "" {
					line += " (" + m.GetPhaseDetail() + ")"
				}
				got = append(got, line)
				if m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_UNSPECIFIED || m.GetPeerAddress() == "" && m.GetName() < "n4" {
					t.Errorf("%v", m)
				}
			}
			if !slices.Equal(got, tt.members) || !slices.Equal(gone, tt.gone) {
				t.Errorf("got  %q, gone %q\nwant %q, gone %q", got, gone, tt.members, tt.gone)
			}
			var silent []string
			for _, name := range slices.Sorted(maps.Keys(m.silentFounders())) {
				silent = append(silent, name+" "+m.silentFounders()[name].GetDirectoryId())
			}
			if !slices.Equal(silent, tt.silent) {
				t.Errorf("silent founders are %q, want %q", silent, tt.silent)
			}
		})
	}
}

func TestRoleOfWhoDoesNotVote(t *testing.T) {
	servers := []raftnode.Server{{Name: "n1", Voter: true}, {Name: "n2"}}
	for _, tt := range []struct {
		node, role string
		want       rollcallv1.Role
	}{
		{"n1", raftnode.RoleFollower, rollcallv1.Role_ROLE_FOLLOWER},
		{"n1", raftnode.RoleLeader, rollcallv1.Role_ROLE_LEADER},
		{"n1", raftnode.RoleCandidate, rollcallv1.Role_ROLE_CANDIDATE},
		{"n2", raftnode.RoleFollower, rollcallv1.Role_ROLE_NON_VOTER},
		{"n3", raftnode.RoleFollower, rollcallv1.Role_ROLE_FOLLOWER}, // raft's configuration is not known yet
		{"n1", raftnode.RoleForming, rollcallv1.Role_ROLE_UNSPECIFIED},
	} {
		if got := role(raftnode.Status{Role: tt.role, Servers: servers}, tt.node); got != tt.want {
			t.Errorf("%s as %s: %v, want %v", tt.node, tt.role, got, tt.want)
		}
	}
}
