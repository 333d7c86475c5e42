package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// model is a cluster as the reconciler sees it: members in the registry, servers in raft, data directories of which
// some are up, and one leader at a time.
type model struct {
	t       *rapid.T
	servers []Server
	members map[string]*logv1.Member
	removed map[string]*logv1.RemovedMember
	up      map[string]bool // by directory, as dirOf names it
	leader  string
	made    int // directories
	voted   map[string]bool
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, members: map[string]*logv1.Member{}, removed: map[string]*logv1.RemovedMember{}, up: map[string]bool{}, voted: map[string]bool{}}
	for i := range rapid.IntRange(1, 5).Draw(t, "founders") {
		name := fmt.Sprintf("n%d", i+1)
		m.servers = append(m.servers, Server{name, "", true})
		m.up["founder-"+name] = true
		if rapid.IntRange(0, 3).Draw(t, "announced") > 0 {
			m.members[name] = founder(name)
		}
	}
	return m
}

func dirOf(s Server) string {
	if s.Directory == "" {
		return "founder-" + s.Name
	}
	return s.Directory
}

// elect chooses any leader that a quorum of running voters can have; false: there is none.
func (m *model) elect() bool {
	var running []string
	voters := 0
	for _, s := range m.servers {
		if s.Voter {
			voters++
			if m.up[dirOf(s)] {
				running = append(running, s.Name)
			}
		}
	}
	if len(running) <= voters/2 {
		return false
	}
	if !slices.Contains(running, m.leader) || rapid.IntRange(0, 4).Draw(m.t, "another leader") == 0 {
		m.leader = rapid.SampledFrom(running).Draw(m.t, "leader")
	}
	return true
}

// voting counts the members that vote, or are to.
func (m *model) voting() (n int) {
	for _, member := range m.members {
		if !member.GetReplica() {
			n++
		}
	}
	return n
}

func (m *model) names() []string { return slices.Sorted(maps.Keys(m.members)) }

func (m *model) newMember(name string, replica bool) *logv1.Member {
	m.made++
	id := fmt.Sprintf("dir-%d", m.made)
	m.up[id] = true
	return &logv1.Member{Name: name, DirectoryId: id, Joined: true, Replica: replica}
}

// change does to the registry what a member command may do.
func (m *model) change() {
	names := m.names()
	switch kind := rapid.SampledFrom([]string{"add", "remove", "replace", "promote"}).Draw(m.t, "change"); kind {
	case "add":
		name := fmt.Sprintf("n%d", rapid.IntRange(1, 8).Draw(m.t, "added"))
		known := m.members[name] != nil || slices.ContainsFunc(m.servers, func(s Server) bool { return s.Name == name && s.Directory == "" && !m.bury(s) })
		if !known {
			m.members[name] = m.newMember(name, rapid.Bool().Draw(m.t, "replica"))
		}
	case "remove", "replace":
		if len(names) == 0 {
			return
		}
		old := m.members[rapid.SampledFrom(names).Draw(m.t, "removed")]
		// The registry refuses to remove the last member that votes, and the entry node a second removal before the first
		// is in raft.
		if !old.GetReplica() && (m.voting() < 2 || slices.ContainsFunc(m.servers, m.bury)) {
			return
		}
		m.removed[old.GetDirectoryId()] = tombstone(old.GetName(), old.GetDirectoryId())
		delete(m.members, old.GetName())
		if kind == "replace" {
			m.members[old.GetName()] = m.newMember(old.GetName(), old.GetReplica())
		}
	case "promote":
		for _, name := range names {
			if m.members[name].GetReplica() {
				m.members[name] = joined(name, m.members[name].GetDirectoryId())
				return
			}
		}
	}
}

// bury says whether a founder has a tombstone.
func (m *model) bury(s Server) bool { return m.removed[dirOf(s)] != nil }

func (m *model) state(all bool) State {
	s := State{Node: m.leader, Servers: slices.Clone(m.servers), Members: maps.Clone(m.members), Removed: maps.Clone(m.removed),
		Answered: map[string]bool{m.leader: true}, Progress: map[string]Progress{}}
	for _, server := range m.servers {
		up := m.up[dirOf(server)]
		if up && (all || rapid.IntRange(0, 5).Draw(m.t, "answers") > 0) {
			s.Answered[server.Name] = true
		}
		switch {
		case all && up:
			s.Progress[server.Name] = Progress{Known: true, Steady: true}
		case up:
			behind := rapid.SampledFrom([]uint64{0, Near, Near + 1, 1e6}).Draw(m.t, "behind")
			s.Progress[server.Name] = Progress{Known: true, Behind: behind, Steady: behind <= Near && rapid.Bool().Draw(m.t, "steady")}
		}
	}
	return s
}

// step makes the next step and checks that it may be made.
func (m *model) step(all bool) Kind {
	s := m.state(all)
	step, _ := Next(s)
	m.check(s, step)
	at := slices.IndexFunc(m.servers, func(s Server) bool { return s.Name == step.Name })
	switch step.Kind {
	case AddNonvoter:
		m.servers = append(m.servers, Server{step.Name, step.Directory, false})
	case AddVoter:
		m.servers[at].Voter = true
		m.voted[step.Directory] = true
	case Remove:
		m.servers = slices.Delete(m.servers, at, at+1)
	case Transfer:
		m.leader = step.To
	}
	m.checkServers()
	return step.Kind
}

func (m *model) check(s State, step Step) {
	if step.Kind == None {
		return
	}
	var server *Server
	for i := range s.Servers {
		if s.Servers[i].Name == step.Name {
			server = &s.Servers[i]
		}
	}
	member := m.members[step.Name]
	answering := func(voters []string) (n int) {
		for _, name := range voters {
			if s.Answered[name] {
				n++
			}
		}
		return n
	}
	now := voters(s)
	left := slices.DeleteFunc(slices.Clone(now), func(name string) bool { return name == step.Name })
	switch step.Kind {
	case AddNonvoter:
		if server != nil || !member.GetJoined() || member.GetDirectoryId() != step.Directory || m.removed[step.Directory] != nil {
			m.t.Fatalf("%+v: raft has %+v, the registry %v", step, server, member)
		}
	case AddVoter:
		if server == nil || server.Voter || server.Directory != step.Directory || member.GetDirectoryId() != step.Directory || member.GetReplica() {
			m.t.Fatalf("%+v: raft has %+v, the registry %v", step, server, member)
		}
		if !m.up[step.Directory] || !s.Answered[step.Name] || !s.Progress[step.Name].Steady {
			m.t.Fatalf("%+v: it is silent", step)
		}
		if after := append(left, step.Name); answering(after) <= len(after)/2 {
			m.t.Fatalf("%+v costs the quorum of %v: %v answer", step, after, s.Answered)
		}
	case Remove:
		if server == nil || m.removed[dirOf(*server)] == nil {
			m.t.Fatalf("%+v: raft has %+v, and no tombstone", step, server)
		}
		if server.Voter && (step.Name == m.leader || answering(left) <= len(left)/2) {
			m.t.Fatalf("%+v costs the quorum of %v: %v answer, %s leads", step, left, s.Answered, m.leader)
		}
	case Transfer:
		if step.Name != m.leader || m.removed[dirOf(*server)] == nil || !slices.Contains(left, step.To) || !s.Answered[step.To] {
			m.t.Fatalf("%+v of %s: voters %v, %v answer", step, m.leader, now, s.Answered)
		}
	}
}

// checkServers checks what holds of each configuration.
func (m *model) checkServers() {
	seen := map[string]bool{}
	for _, s := range m.servers {
		if seen[s.Name] {
			m.t.Fatalf("%s is twice in %+v", s.Name, m.servers)
		}
		seen[s.Name] = true
		if s.Voter && s.Directory != "" && !m.voted[s.Directory] {
			m.t.Fatalf("%s votes, and never got a vote: %+v", s.Name, m.servers)
		}
	}
}

// converge has all who should be members answer, and makes steps until nothing is left to do.
func (m *model) converge() {
	for _, s := range m.servers {
		if !m.bury(s) {
			m.up[dirOf(s)] = true
		}
	}
	for _, member := range m.members {
		m.up[member.GetDirectoryId()] = true
	}
	for range 100 {
		if !m.elect() {
			m.t.Skip("those that are removed and never come back are needed: nobody leads")
		}
		if m.step(true) == None {
			break
		}
	}
	if s := m.state(true); !Settled(s) {
		_, waits := Next(s)
		m.t.Fatalf("it does not converge: servers %+v, members %v, removed %v: %q", m.servers, m.members, m.removed, waits)
	}
	for name, member := range m.members {
		if !member.GetJoined() {
			continue
		}
		want := Server{name, member.GetDirectoryId(), !member.GetReplica()}
		if !slices.Contains(m.servers, want) {
			m.t.Fatalf("%+v is not among %+v", want, m.servers)
		}
	}
	for _, s := range m.servers {
		if m.bury(s) {
			m.t.Fatalf("removed, but still there: %+v", s)
		}
	}
}

// TestModel changes the members of a cluster at random, while servers come and go and leaders change, and makes the
// steps that Next returns.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		steps := 0
		for range rapid.IntRange(1, 40).Draw(t, "actions") {
			switch rapid.IntRange(0, 4).Draw(t, "action") {
			case 0:
				m.change()
			case 1:
				dir := rapid.SampledFrom(slices.Sorted(maps.Keys(m.up))).Draw(t, "directory")
				m.up[dir] = !m.up[dir]
			default:
				if m.elect() && m.step(false) != None {
					steps++
				}
			}
		}
		m.converge()
	})
}
