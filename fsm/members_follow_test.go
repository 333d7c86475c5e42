package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
	"github.com/rollcallhq/rollcall/raftnode/roster"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/store"
)

// followed is a cluster whose registry is a real one, and whose raft is a list of servers that the reconciler changes.
// Founders' directories are NAME0; they do not stand in the list, as in raft's configuration.
type followed struct {
	rt       *rapid.T
	h        *harness
	servers  []reconciler.Server
	founders []string
	leader   string
	// What the leader has folded: it may be behind the registry, but not behind its election.
	members map[string]*logv1.Member
	removed map[string]*logv1.RemovedMember

	founding *store.Founding
	folds    []roster.Fold // of the past
}

func (f *followed) server(name string) *reconciler.Server {
	for i := range f.servers {
		if f.servers[i].Name == name {
			return &f.servers[i]
		}
	}
	return nil
}

func (f *followed) fold() { f.members, f.removed = f.h.Members(), f.h.Removed() }

// directory is the data directory of a server.
func directory(s reconciler.Server) string {
	if s.Directory == "" {
		return s.Name + "0"
	}
	return s.Directory
}

// gone says whether a server's directory was removed. That of a founder may not be known: see store.FoundingMember.
func (f *followed) gone(s reconciler.Server) bool {
	removed := f.h.Removed()
	return removed[directory(s)] != nil || s.Directory == "" && removed[logv1.UnknownDirectory(s.Name)] != nil
}

// unfinished says that a server is still there whose directory was removed.
func (f *followed) unfinished() bool {
	return slices.ContainsFunc(f.servers, func(s reconciler.Server) bool { return s.Voter && f.gone(s) })
}

// take gives the registry a command, as the node does that takes the request: it knows raft's configuration.
func (f *followed) take(t *testing.T, cmd *logv1.Command) {
	var c logv1.MemberCommand
	if cmd.GetRecord() != nil {
		if err := c.UnmarshalVT(cmd.GetRecord().GetPayload()); err != nil {
			t.Fatal(err)
		}
	}
	given := func(name string) string {
		s := f.server(name)
		if s == nil || f.h.Members()[name] != nil {
			return ""
		}
		for _, m := range f.founding.Members {
			if m.Name == name && m.DirectoryID == "" && s.Directory == "" {
				return logv1.UnknownDirectory(name)
			}
		}
		return directory(*s)
	}
	votes := func(name string) bool { return f.server(name) != nil && f.server(name).Voter }
	switch c := c.Command.(type) {
	case nil: // a member that runs announces itself
		m := cmd.GetAnnounceMember().GetMember()
		s := f.server(m.GetName())
		if s == nil {
			return
		}
		m.DirectoryId = directory(*s)
	case *logv1.MemberCommand_Add:
		if given(c.Add.Member.Name) != "" {
			return // raft has it, and the registry has not yet: it exists
		}
	case *logv1.MemberCommand_Remove:
		if votes(c.Remove.Name) && f.unfinished() && !c.Remove.Force {
			return
		}
		cmd = logv1.RemoveMemberCommand(c.Remove.Name, given(c.Remove.Name), c.Remove.Force)
	case *logv1.MemberCommand_Replace:
		if votes(c.Replace.Member.Name) && f.unfinished() && !c.Replace.Force {
			return
		}
		cmd = logv1.ReplaceMemberCommand(c.Replace.Member, given(c.Replace.Member.Name), c.Replace.Force)
	}
	cmd.RequestId = ""
	f.h.do(t, 0, cmd)
}

// step makes the reconciler's next step. With all, everybody answers and has caught up.
func (f *followed) step(all bool) reconciler.Kind {
	s := reconciler.State{Node: f.leader, Servers: slices.Clone(f.servers), Members: f.members, Removed: f.removed,
		Answered: map[string]bool{f.leader: true}, Progress: map[string]reconciler.Progress{}}
	for _, server := range f.servers {
		if all || rapid.IntRange(0, 3).Draw(f.rt, "answers") > 0 {
			s.Answered[server.Name] = true
			s.Progress[server.Name] = reconciler.Progress{Known: true, Steady: all || rapid.Bool().Draw(f.rt, "steady")}
		}
	}
	step, _ := reconciler.Next(s)
	at := slices.IndexFunc(f.servers, func(s reconciler.Server) bool { return s.Name == step.Name })
	switch step.Kind {
	case reconciler.AddNonvoter:
		if at >= 0 {
			f.rt.Fatalf("%+v: raft has %+v already", step, f.servers[at])
		}
		f.servers = append(f.servers, reconciler.Server{Name: step.Name, Directory: step.Directory})
	case reconciler.AddVoter:
		if f.h.RemovedDirectory(step.Directory) != nil && f.removed[step.Directory] != nil {
			f.rt.Fatalf("%+v: it was removed", step)
		}
		f.servers[at].Voter = true
	case reconciler.Remove:
		if !f.gone(f.servers[at]) {
			f.rt.Fatalf("%+v: nobody has removed %+v", step, f.servers[at])
		}
		if step.Name == f.leader {
			f.rt.Fatal("the leader removes itself")
		}
		f.servers = slices.Delete(f.servers, at, at+1)
	case reconciler.Transfer:
		f.leader = step.To
		f.fold()
	}
	return step.Kind
}

func (f *followed) elect() {
	var voters []string
	for _, s := range f.servers {
		if s.Voter {
			voters = append(voters, s.Name)
		}
	}
	if len(voters) == 0 {
		f.rt.Fatalf("nobody votes any more: %+v", f.servers)
	}
	f.leader = rapid.SampledFrom(voters).Draw(f.rt, "leader")
	f.fold()
}

func (f *followed) newest() roster.Fold {
	return roster.Fold{Revision: f.h.Revision(), Changed: f.h.MembersRevision(), Members: f.h.Members(), Removed: f.h.Removed()}
}

// checkRosters checks who belongs to the cluster, in the eyes of a node that has folded all, and of one that is behind and
// was told.
func (f *followed) checkRosters() {
	now := f.newest()
	f.folds = append(f.folds, now)
	want := map[string]string{}
	for _, m := range f.founding.Members {
		if !f.gone(reconciler.Server{Name: m.Name}) {
			want[m.Name] = m.DirectoryID
		}
	}
	for name, m := range now.Members {
		want[name] = m.GetDirectoryId()
	}
	knows := func(who string, m *roster.Members) {
		if !maps.Equal(m.Known, want) {
			f.rt.Fatalf("%s knows %v, want %v; the registry holds %s", who, m.Known, want, f.h.holdsMembers())
		}
	}
	all := roster.Of(f.founding, nil, now)
	knows("who has folded all", all)
	behind := rapid.SampledFrom(f.folds).Draw(f.rt, "behind")
	old := roster.Of(f.founding, nil, behind)
	if told := roster.FromProto(all.Proto()); told != nil && behind.Revision < told.Revision {
		knows("who is behind and was told", roster.Of(f.founding, told, behind))
	} else {
		knows("who was told nothing new", roster.Of(f.founding, told, behind))
	}
	knows("who was told what was so", roster.Of(f.founding, roster.FromProto(old.Proto()), now))

	var addresses []raft.ServerAddress
	leaving := map[string]string{}
	for _, s := range f.servers {
		addresses = append(addresses, serveraddress.Of(s.Name, s.Directory))
		if now.Removed[directory(s)] != nil {
			leaving[directory(s)] = s.Name
		}
	}
	if got := all.Leaving(f.founding, addresses); !maps.Equal(got, leaving) {
		f.rt.Fatalf("%v leave, want %v; raft has %v, the registry holds %s", got, leaving, addresses, f.h.holdsMembers())
	}
	for id := range now.Removed {
		if !logv1.IsUnknownDirectory(id) && all.Removed(id) == nil {
			f.rt.Fatalf("%s is not removed", id)
		}
	}
}

// TestRaftFollowsTheFold: whatever is asked of members, in whatever order, while leaders change, fold late, restart and
// get snapshots, raft's configuration becomes what the registry says: members that were added are in it with their
// directories and votes, founders unless they were removed, and nobody else. All the time nodes recognise the members by
// the directories that they have, and those that leave.
func TestRaftFollowsTheFold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &followed{rt: rt, h: rapidHarness(t, rt, newMemRegistryFile()), founding: &store.Founding{ClusterID: "c1"}}
		for _, name := range memberNames[:rapid.IntRange(1, 4).Draw(rt, "founders")] {
			f.founders = append(f.founders, name)
			f.servers = append(f.servers, reconciler.Server{Name: name, Voter: true})
			m := store.FoundingMember{Name: name, PeerAddress: name + ":2", DirectoryID: name + "0"}
			if len(f.founders) > 1 && rapid.IntRange(0, 2).Draw(rt, "silent") == 0 {
				m.DirectoryID = "" // it was silent when the cluster was formed by force
			}
			f.founding.Members = append(f.founding.Members, m)
		}
		first := joiner(f.founders[0], f.founders[0]+"0")
		first.Level = modelLevel
		f.h.do(t, 0, announce(first)) // the first leader
		f.elect()
		for range rapid.IntRange(1, 60).Draw(rt, "actions") {
			switch rapid.IntRange(0, 9).Draw(rt, "action") {
			case 0, 1, 2:
				f.take(t, genMember.Draw(rt, "command"))
			case 3:
				f.fold()
			case 4:
				f.elect()
			case 5:
				f.h.do(t, 0, write(change("a", serving)), compact(f.h.Revision()+1))
			case 6:
				f.h = rapidHarness(t, rt, f.h.registryFile)
			case 7:
				ahead := f.h
				if !ahead.delivered {
					continue // it has just been restarted
				}
				f.h = rapidHarness(t, rt, newMemRegistryFile())
				if err := f.h.Restore(ahead.snapshot(t)); err != nil {
					rt.Fatal(err)
				}
				f.h.index = ahead.index
			default:
				f.step(false)
			}
			f.checkRosters()
		}
		settle := func() {
			f.elect()
			for range 200 {
				if f.step(true) == reconciler.None {
					break
				}
			}
		}
		if settle(); len(f.servers) == 1 && f.gone(f.servers[0]) {
			// By force all others were removed, and the last voter waits for somebody to take over.
			m := joiner("z", "z1")
			m.Level = modelLevel
			f.h.do(t, 0, addMember(m))
			settle()
		}
		var want []string
		for name, m := range f.h.Members() {
			if m.GetJoined() {
				want = append(want, fmt.Sprint(reconciler.Server{Name: name, Directory: m.GetDirectoryId(), Voter: !m.GetReplica()}))
			}
		}
		for _, name := range f.founders {
			if !f.gone(reconciler.Server{Name: name}) {
				want = append(want, fmt.Sprint(reconciler.Server{Name: name, Voter: true}))
			}
		}
		var got []string
		for _, s := range f.servers {
			got = append(got, fmt.Sprint(s))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			rt.Fatalf("raft has %v\nwant %v\nthe registry holds %s", got, want, f.h.holdsMembers())
		}
	})
}
