package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// naiveMembers is who is a member and who was, as plainly as it can be said.
type naiveMembers struct {
	members []naiveMember
	removed []naiveRemoved  // oldest first
	most    int             // so many of removed are remembered
	fresh   map[string]bool // whose force the command under way has set
}

type naiveMember struct {
	name, directory string
	replica, joined bool
}

type naiveRemoved struct {
	name, directory, by string // directory "": nobody knew it
	force, founder      bool
}

func (n *naiveMembers) find(name string) *naiveMember {
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i]
		}
	}
	return nil
}

// wasRemoved says whether a directory was removed, or any that a name had.
func (n *naiveMembers) wasRemoved(directory, name string) bool {
	return slices.ContainsFunc(n.removed, func(r naiveRemoved) bool {
		return directory != "" && r.directory == directory || name != "" && r.name == name
	})
}

func (n *naiveMembers) inUse(directory string) bool {
	return slices.ContainsFunc(n.members, func(m naiveMember) bool { return m.directory == directory })
}

func (n *naiveMembers) count(replicas bool, without string) (count int) {
	for _, m := range n.members {
		if m.replica == replicas && m.name != without {
			count++
		}
	}
	return count
}

// force says whether anything that a name had was removed without force. It moves to the end, as the removal is a new one.
func (n *naiveMembers) force(name string) bool {
	n.fresh = map[string]bool{}
	var kept, forced []naiveRemoved
	for _, r := range n.removed {
		if r.name == name && !r.force {
			r.force, n.fresh[r.key()] = true, true
			forced = append(forced, r)
		} else {
			kept = append(kept, r)
		}
	}
	slices.SortFunc(forced, func(a, b naiveRemoved) int { return cmp.Compare(a.key(), b.key()) })
	n.removed = append(kept, forced...)
	return len(forced) > 0
}

func (r naiveRemoved) key() string {
	if r.directory == "" {
		return "?" + r.name
	}
	return r.directory
}

func (n *naiveMembers) take(name, given, by string, force bool) {
	directory, founder := strings.TrimSuffix(given, "?"+name), true
	if m := n.find(name); m != nil {
		directory, founder = m.directory, !m.joined
	}
	n.fresh = nil
	if force {
		n.force(name)
	}
	n.members = slices.DeleteFunc(n.members, func(m naiveMember) bool { return m.name == name })
	// The first one goes that is no founder's, else the first founder's, but never one that this command has changed.
	for len(n.removed) >= n.most {
		old := slices.DeleteFunc(slices.Clone(n.removed), func(r naiveRemoved) bool { return n.fresh[r.key()] })
		if len(old) == 0 {
			break
		}
		i := max(0, slices.IndexFunc(old, func(r naiveRemoved) bool { return !r.founder }))
		n.removed = slices.DeleteFunc(n.removed, func(r naiveRemoved) bool { return r == old[i] })
	}
	n.removed = append(n.removed, naiveRemoved{name, directory, by, force, founder})
}

// absent says that there is nothing to remove.
func (n *naiveMembers) absent(name, given string) bool {
	return n.find(name) == nil && (given == "" || n.wasRemoved("", name) || n.wasRemoved(given, "") || n.inUse(given))
}

// apply returns the reason of the refusal; "": it is done.
func (n *naiveMembers) apply(cmd *logv1.Command) string {
	if a := cmd.GetAnnounceMember().GetMember(); a != nil {
		m := n.find(a.Name)
		switch {
		case m != nil && m.directory != a.DirectoryId:
			return "INVALID"
		case n.wasRemoved(a.DirectoryId, ""), m == nil && n.wasRemoved("", a.Name):
			return "DIRECTORY_REMOVED"
		case m == nil && n.inUse(a.DirectoryId):
			return "MEMBER_EXISTS"
		case m == nil:
			n.members = append(n.members, naiveMember{name: a.Name, directory: a.DirectoryId})
		}
		return ""
	}
	var c logv1.MemberCommand
	if err := c.UnmarshalVT(cmd.GetRecord().GetPayload()); err != nil {
		panic(err)
	}
	switch c := c.Command.(type) {
	case *logv1.MemberCommand_Add:
		m := c.Add.Member
		switch {
		case n.find(m.Name) != nil, n.inUse(m.DirectoryId):
			return "MEMBER_EXISTS"
		case n.wasRemoved(m.DirectoryId, ""):
			return "DIRECTORY_REMOVED"
		case !m.Replica && n.count(false, "") >= 9:
			return "LIMIT"
		}
		n.members = append(n.members, naiveMember{m.Name, m.DirectoryId, m.Replica, true})
	case *logv1.MemberCommand_Remove:
		m := n.find(c.Remove.Name)
		switch {
		case m == nil && c.Remove.Force && n.force(c.Remove.Name):
			return ""
		case n.absent(c.Remove.Name, c.Remove.DirectoryId):
			return "NOT_FOUND"
		case (m == nil || !m.replica) && n.count(false, c.Remove.Name) == 0:
			return "LAST_VOTER"
		}
		n.take(c.Remove.Name, c.Remove.DirectoryId, "", c.Remove.Force)
	case *logv1.MemberCommand_Replace:
		now := c.Replace.Member
		m := n.find(now.Name)
		replica := now.Replica || m != nil && m.replica
		switch {
		case m != nil && m.directory == now.DirectoryId:
			if c.Replace.Force && n.force(now.Name) {
				return ""
			}
			return "MEMBER_EXISTS"
		case n.absent(now.Name, c.Replace.DirectoryId):
			return "NOT_FOUND"
		case m == nil && c.Replace.DirectoryId == now.DirectoryId:
			return "MEMBER_EXISTS"
		case (m == nil || !m.replica) && n.count(false, now.Name) == 0:
			return "LAST_VOTER"
		case n.inUse(now.DirectoryId):
			return "MEMBER_EXISTS"
		case n.wasRemoved(now.DirectoryId, ""):
			return "DIRECTORY_REMOVED"
		case !replica && n.count(false, now.Name) >= 9:
			return "LIMIT"
		}
		n.take(now.Name, c.Replace.DirectoryId, now.DirectoryId, c.Replace.Force)
		n.members = append(n.members, naiveMember{now.Name, now.DirectoryId, replica, true})
	case *logv1.MemberCommand_Promote:
		m := n.find(c.Promote.Name)
		switch {
		case m == nil:
			return "NOT_FOUND"
		case m.replica && n.count(false, "") >= 9:
			return "LIMIT"
		}
		m.replica = false
	}
	return ""
}

func (n *naiveMembers) String() string {
	var members, removed []string
	for _, m := range n.members {
		text := m.name + "=" + m.directory
		if m.replica {
			text += " replica"
		}
		if m.joined {
			text += " joined"
		}
		members = append(members, text)
	}
	all := slices.Clone(n.removed)
	slices.SortFunc(all, func(a, b naiveRemoved) int { return cmp.Compare(a.key(), b.key()) })
	for _, r := range all {
		text := "-" + r.name + " " + r.key()
		if r.by != "" {
			text += " by " + r.by
		}
		if r.force {
			text += " force"
		}
		removed = append(removed, text)
	}
	slices.Sort(members)
	return strings.Join(append(members, removed...), ", ")
}

// memberNames are more than can vote.
var memberNames = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}

// genMember makes commands of members, of few names and directories.
var genMember = rapid.Custom(func(t *rapid.T) *logv1.Command {
	name := rapid.SampledFrom(memberNames).Draw(t, "member")
	genDirectory := rapid.OneOf(rapid.Just(name+"1"), rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom(memberNames).Draw(t, "of") + fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "number"))
	}))
	m := joiner(name, genDirectory.Draw(t, "directory"))
	m.Level = modelLevel
	m.Replica = rapid.IntRange(0, 3).Draw(t, "replica") == 0
	force := rapid.Bool().Draw(t, "force")
	given := rapid.OneOf(rapid.Just(""), rapid.Just(""), genDirectory, rapid.Just("?"+name)).Draw(t, "given")
	own := proto.CloneOf(m) // a directory belongs to the node of one name
	own.DirectoryId = fmt.Sprint(name, rapid.IntRange(1, 4).Draw(t, "own"))
	cmd := announce(own)
	switch rapid.IntRange(0, 8).Draw(t, "what") {
	case 0, 1, 2, 3:
		cmd = addMember(m)
	case 4:
		cmd = logv1.RemoveMemberCommand(name, given, force)
	case 5, 6:
		cmd = logv1.ReplaceMemberCommand(m, given, force)
	case 7:
		cmd = logv1.PromoteMemberCommand(name)
	}
	cmd.Actor = &logv1.Actor{Name: "ann"}
	cmd.RequestId = rapid.SampledFrom([]string{"", "", "1", "2", "3", "4", "5"}).Draw(t, "request id")
	return cmd
})

// TestMembersAgreeWithModel: the fold decides as the naive one does, whatever was done before, a preview says the same, and
// a directory that was removed is no member's while that is remembered.
func TestMembersAgreeWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, n := rapidHarness(t, rt, newMemRegistryFile()), &naiveMembers{most: 5}
		h.state.mostRemoved = n.most
		h.do(t, 0)
		for _, cmd := range rapid.SliceOfN(genMember, 1, 60).Draw(rt, "commands") {
			cmd.RequestId = ""
			before := h.MembersRevision()
			was := n.String()
			preview := h.Preview(cmd, 0).Proto()
			got := h.do(t, 0, cmd)[0]
			if preview.Index = got.Index; cmd.GetAnnounceMember() == nil && !proto.Equal(preview, got) {
				rt.Fatalf("applied %v, previewed %v", got, preview)
			}
			reason := ""
			if r := got.GetRefusal(); r != nil {
				reason = strings.TrimPrefix(r.GetReason().String(), "REASON_")
			}
			if want := n.apply(cmd); reason != want || h.holdsMembers() != n.String() {
				rt.Fatalf("%v: refused %q, holds %s\nwant %q, %s\nwas %s", cmd, reason, h.holdsMembers(), want, n, was)
			}
			if now := h.MembersRevision(); n.String() != was && now != h.Revision() || now < before || now > h.Revision() {
				rt.Fatalf("%v: the members are as of %d, before %d; the registry is at %d", cmd, now, before, h.Revision())
			}
			for _, m := range h.Members() {
				if h.RemovedDirectory(m.GetDirectoryId()) != nil {
					rt.Fatalf("%v: %s is a member and removed", cmd, m.GetName())
				}
			}
		}
	})
}
