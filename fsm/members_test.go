package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// joiner is a node that waits, as it tells of itself.
func joiner(name, directory string) *logv1.Member {
	return &logv1.Member{Name: name, ApiAddress: name + ":1", PeerAddress: name + ":2", DirectoryId: directory, Version: "v1", Level: logv1.LevelMembers}
}

func replica(m *logv1.Member) *logv1.Member {
	m = proto.CloneOf(m)
	m.Replica = true
	return m
}

func addMember(m *logv1.Member) *logv1.Command { return logv1.AddMemberCommand(m) }

func removeMember(name string) *logv1.Command { return logv1.RemoveMemberCommand(name, "", false) }

func replaceMember(m *logv1.Member) *logv1.Command { return logv1.ReplaceMemberCommand(m, "", false) }

// holdsMembers is who is a member, and what was removed.
func (h *harness) holdsMembers() string {
	var parts []string
	h.state.eachMember(func(m *logv1.Member) bool {
		text := m.GetName() + "=" + m.GetDirectoryId()
		if m.GetReplica() {
			text += " replica"
		}
		if m.GetJoined() {
			text += " joined"
		}
		parts = append(parts, text)
		return true
	})
	h.state.eachRemoved(func(key string, r *logv1.RemovedMember) {
		text := "-" + r.GetName() + " " + key
		if r.GetReplacedBy() != "" {
			text += " by " + r.GetReplacedBy()
		}
		if r.GetForce() {
			text += " force"
		}
		parts = append(parts, text)
	})
	return strings.Join(parts, ", ")
}

// TestMemberCommands: what each command makes of a cluster of two founders, one of which has announced itself.
func TestMemberCommands(t *testing.T) {
	type step struct {
		cmd     *logv1.Command
		refused string // reason, key, given, held and value
		holds   string
	}
	const founder = "n1=d1"
	for name, steps := range map[string][]step{
		"add, promote, remove": {
			{addMember(joiner("n2", "d2")), "", "n1=d1, n2=d2 joined"},
			{addMember(replica(joiner("r1", "e1"))), "", "n1=d1, n2=d2 joined, r1=e1 replica joined"},
			{announce(joiner("r1", "e1")), "", "n1=d1, n2=d2 joined, r1=e1 replica joined"},
			{logv1.PromoteMemberCommand("r1"), "", "n1=d1, n2=d2 joined, r1=e1 joined"},
			{logv1.PromoteMemberCommand("r1"), "", "n1=d1, n2=d2 joined, r1=e1 joined"},
			{logv1.PromoteMemberCommand("r2"), "NOT_FOUND r2", "n1=d1, n2=d2 joined, r1=e1 joined"},
			{removeMember("r1"), "", "n1=d1, n2=d2 joined, -r1 e1"},
			{removeMember("r1"), "NOT_FOUND r1 held e1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{addMember(joiner("r1", "e1")), "DIRECTORY_REMOVED r1 given e1 held r1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{addMember(joiner("x", "e1")), "DIRECTORY_REMOVED x given e1 held r1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{announce(joiner("r1", "e1")), "DIRECTORY_REMOVED r1 given e1 held r1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{announce(joiner("x", "e1")), "DIRECTORY_REMOVED x given e1 held r1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{announce(joiner("x", "d2")), "MEMBER_EXISTS n2 given d2 held d2", "n1=d1, n2=d2 joined, -r1 e1"},
			{announce(joiner("r1", "e2")), "DIRECTORY_REMOVED r1 given e2 held r1 value 6", "n1=d1, n2=d2 joined, -r1 e1"},
			{addMember(joiner("r1", "e2")), "", "n1=d1, n2=d2 joined, r1=e2 joined, -r1 e1"},
			{announce(joiner("r1", "e2")), "", "n1=d1, n2=d2 joined, r1=e2 joined, -r1 e1"},
			{announce(joiner("r1", "e1")), "INVALID r1 given e1 held e2", "n1=d1, n2=d2 joined, r1=e2 joined, -r1 e1"},
		},
		"what is there": {
			{addMember(joiner("n1", "d2")), "MEMBER_EXISTS n1 given d2 held d1", founder},
			{addMember(joiner("n1", "d1")), "MEMBER_EXISTS n1 given d1 held d1", founder},
			{addMember(joiner("n2", "d1")), "MEMBER_EXISTS n1 given d1 held d1", founder},
			{removeMember("n3"), "NOT_FOUND n3", founder},
			{removeMember("n1"), "LAST_VOTER n1 held d1", founder},
			{logv1.RemoveMemberCommand("n1", "", true), "LAST_VOTER n1 held d1", founder},
			{replaceMember(joiner("n1", "d9")), "LAST_VOTER n1 held d1", founder},
			{replaceMember(joiner("n3", "d9")), "NOT_FOUND n3", founder},
			{addMember(replica(joiner("r1", "e1"))), "", "n1=d1, r1=e1 replica joined"},
			{removeMember("n1"), "LAST_VOTER n1 held d1", "n1=d1, r1=e1 replica joined"},
			{removeMember("r1"), "", "n1=d1, -r1 e1"},
		},
		"a founder that never announced itself": {
			{removeMember("n2"), "NOT_FOUND n2", founder},
			{logv1.RemoveMemberCommand("n2", "d1", false), "NOT_FOUND n2", founder},
			{logv1.RemoveMemberCommand("n2", "d2", false), "", "n1=d1, -n2 d2"},
			{logv1.RemoveMemberCommand("n2", "d2", false), "NOT_FOUND n2 held d2 value 2", "n1=d1, -n2 d2"},
			{logv1.RemoveMemberCommand("n3", "d2", false), "NOT_FOUND n3", "n1=d1, -n2 d2"},
			{announce(joiner("n2", "d2")), "DIRECTORY_REMOVED n2 given d2 held n2 value 2", "n1=d1, -n2 d2"},
		},
		"one that is replaced": {
			{logv1.ReplaceMemberCommand(joiner("n2", "d2"), "d2", false), "MEMBER_EXISTS n2 given d2 held d2", founder},
			{logv1.ReplaceMemberCommand(joiner("n2", "e2"), "d2", false), "", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{announce(joiner("n2", "d2")), "INVALID n2 given d2 held e2", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
		},
		"one whose directory nobody knows": {
			{logv1.RemoveMemberCommand("n2", "?n3", false), "INVALID directory_id given ?n3", founder},
			{logv1.RemoveMemberCommand("n2", logv1.UnknownDirectory("n2"), false), "", "n1=d1, -n2 ?n2"},
			{announce(joiner("n2", "d2")), "DIRECTORY_REMOVED n2 given d2 held n2 value 2", "n1=d1, -n2 ?n2"},
			{addMember(joiner("n2", "d2")), "", "n1=d1, n2=d2 joined, -n2 ?n2"},
			{announce(joiner("n2", "d2")), "", "n1=d1, n2=d2 joined, -n2 ?n2"},
		},
		"replaced, and back": {
			{announce(joiner("n2", "d2")), "", "n1=d1, n2=d2"},
			{replaceMember(joiner("n2", "e2")), "", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{replaceMember(joiner("n2", "e2")), "MEMBER_EXISTS n2 given e2 held e2", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{replaceMember(joiner("n2", "d2")), "DIRECTORY_REMOVED n2 given d2 held n2 value 3", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{replaceMember(joiner("n2", "d1")), "MEMBER_EXISTS n1 given d1 held d1", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{replaceMember(joiner("n2", "f2")), "", "n1=d1, n2=f2 joined, -n2 d2 by e2, -n2 e2 by f2"},
		},
		"the newest removal is told": {
			{addMember(joiner("n2", "z2")), "", "n1=d1, n2=z2 joined"},
			{replaceMember(joiner("n2", "b2")), "", "n1=d1, n2=b2 joined, -n2 z2 by b2"},
			{removeMember("n2"), "", "n1=d1, -n2 b2, -n2 z2 by b2"},
			{removeMember("n2"), "NOT_FOUND n2 held b2 value 6", "n1=d1, -n2 b2, -n2 z2 by b2"},
		},
		"the given directory is not that of the record": {
			{announce(joiner("n2", "d2")), "", "n1=d1, n2=d2"},
			{logv1.RemoveMemberCommand("n2", "d1", false), "", "n1=d1, -n2 d2"},
		},
		"replicas stay replicas": {
			{addMember(replica(joiner("r1", "e1"))), "", "n1=d1, r1=e1 replica joined"},
			{replaceMember(joiner("r1", "e2")), "", "n1=d1, r1=e2 replica joined, -r1 e1 by e2"},
			{announce(joiner("n2", "d2")), "", "n1=d1, n2=d2, r1=e2 replica joined, -r1 e1 by e2"},
			{replaceMember(replica(joiner("n2", "e3"))), "", "n1=d1, n2=e3 replica joined, r1=e2 replica joined, -n2 d2 by e3, -r1 e1 by e2"},
		},
		"force once more": {
			{addMember(joiner("n2", "d2")), "", "n1=d1, n2=d2 joined"},
			{replaceMember(joiner("n2", "e2")), "", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{logv1.ReplaceMemberCommand(joiner("n2", "e2"), "", true), "", "n1=d1, n2=e2 joined, -n2 d2 by e2 force"},
			{logv1.ReplaceMemberCommand(joiner("n2", "e2"), "", true), "MEMBER_EXISTS n2 given e2 held e2", "n1=d1, n2=e2 joined, -n2 d2 by e2 force"},
			{removeMember("n2"), "", "n1=d1, -n2 d2 by e2 force, -n2 e2"},
			{logv1.RemoveMemberCommand("n2", "", true), "", "n1=d1, -n2 d2 by e2 force, -n2 e2 force"},
			{logv1.RemoveMemberCommand("n2", "", true), "NOT_FOUND n2 held e2 value 8", "n1=d1, -n2 d2 by e2 force, -n2 e2 force"},
		},
		"force holds for what was removed before": {
			{addMember(joiner("n2", "d2")), "", "n1=d1, n2=d2 joined"},
			{replaceMember(joiner("n2", "e2")), "", "n1=d1, n2=e2 joined, -n2 d2 by e2"},
			{logv1.RemoveMemberCommand("n2", "", true), "", "n1=d1, -n2 d2 by e2 force, -n2 e2 force"},
		},
		"malformed": {
			{addMember(joiner("", "d2")), "INVALID name", founder},
			{addMember(joiner("N2", "d2")), "INVALID name given N2", founder},
			{addMember(joiner(strings.Repeat("n", 64), "d2")), "INVALID name value 64", founder},
			{addMember(&logv1.Member{Name: "n2", DirectoryId: "d2"}), "INVALID peer_address", founder},
			{addMember(joiner("n2", "")), "INVALID member.directory_id", founder},
			{addMember(joiner("n2", "?n2")), "INVALID member.directory_id", founder},
			{addMember(joiner("n2", "d\n2")), "INVALID member.directory_id given d\n2 value 10", founder},
			{removeMember(""), "INVALID name", founder},
			{removeMember("a/b"), "INVALID name given a/b", founder},
			{logv1.PromoteMemberCommand(""), "INVALID name", founder},
			{logv1.RemoveMemberCommand("n2", strings.Repeat("d", 257), false), "INVALID directory_id value 257", founder},
			{replaceMember(&logv1.Member{}), "INVALID name", founder},
			{addMember(nil), "INVALID name", founder},
			{recordCommand(logv1.Kind_KIND_MEMBER, &logv1.MemberCommand{}), "INVALID command", founder},
			{&logv1.Command{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: logv1.Kind_KIND_MEMBER, Payload: []byte{1}}}}, "INVALID command", founder},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 0, announce(&logv1.Member{Name: "n1", DirectoryId: "d1"}))
			for i, s := range steps {
				preview := h.Preview(s.cmd, 0).Proto()
				got := h.do(t, 0, s.cmd)[0]
				if refused := refusalText(got.GetRefusal()); refused != s.refused || h.holdsMembers() != s.holds {
					t.Errorf("step %d: refused %q, holds %s\nwant %q, %s", i, refused, h.holdsMembers(), s.refused, s.holds)
				}
				if preview.Index = got.GetIndex(); !proto.Equal(preview, got) {
					t.Errorf("step %d: previewed %v, applied %v", i, preview, got)
				}
				if again := harnessOn(t, h.registryFile); again.dump() != h.dump() {
					t.Errorf("step %d: restarted\n%swas\n%s", i, again.dump(), h.dump())
				}
			}
		})
	}
}

// refusalText is a refusal of a member in short; "" for none.
func refusalText(r *logv1.Refusal) string {
	if r == nil {
		return ""
	}
	text := strings.TrimPrefix(r.GetReason().String(), "REASON_") + " " + r.GetKey()
	if r.GetKey() == "" {
		text += r.GetField()
	}
	if r.GetGiven() != "" {
		text += " given " + r.GetGiven()
	}
	if r.GetHeld() != "" {
		text += " held " + r.GetHeld()
	}
	if r.GetValue() != 0 {
		text += fmt.Sprint(" value ", r.GetValue())
	}
	return text
}

// TestMemberLimits: there are so many voters and replicas at most, and no way round that.
func TestMemberLimits(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, announce(&logv1.Member{Name: "v0", DirectoryId: "v0"}))
	full := func(cmd *logv1.Command, field string, limit int64) {
		t.Helper()
		if r := h.do(t, 0, cmd)[0].GetRefusal(); r.GetReason() != logv1.Refusal_REASON_LIMIT || r.GetField() != field || r.GetLimit() != limit {
			t.Errorf("%v: %v, want that there are %d %s", cmd, r, limit, field)
		}
	}
	works := func(cmd *logv1.Command) {
		t.Helper()
		if r := h.do(t, 0, cmd)[0]; r.GetRefusal() != nil {
			t.Fatalf("%v: %v", cmd, r)
		}
	}
	for i := 1; i < limits.MaxVoters; i++ {
		name := fmt.Sprint("v", i)
		works(addMember(joiner(name, name)))
	}
	for i := range limits.MaxReplicas {
		name := fmt.Sprint("r", i)
		works(addMember(replica(joiner(name, name))))
	}
	full(addMember(joiner("x", "x")), "voters", 9)
	full(addMember(replica(joiner("x", "x"))), "replicas", 20)
	full(logv1.PromoteMemberCommand("r1"), "voters", 9)
	full(replaceMember(replica(joiner("v1", "x"))), "replicas", 20)
	works(replaceMember(joiner("v1", "w1")))
	works(replaceMember(joiner("r1", "s1")))
	works(logv1.PromoteMemberCommand("v1"))
	works(removeMember("v2"))
	works(logv1.PromoteMemberCommand("r1"))
	full(addMember(joiner("v2", "y")), "voters", 9)
	works(addMember(replica(joiner("v2", "y"))))
	// A founder that has not announced itself yet is not asked when it does.
	works(announce(&logv1.Member{Name: "v10", DirectoryId: "v10", Level: 2}))
}

// TestRemovedAreForgotten: the newest removed directories are remembered, and the oldest one makes room, as nobody's deed.
func TestRemovedAreForgotten(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, announce(&logv1.Member{Name: "n1", DirectoryId: "d1"}), announce(joiner("n3", "d3")), removeMember("n3"),
		logv1.RemoveMemberCommand("n4", "d4", false), addMember(joiner("n2", "x0")))
	by := &logv1.Actor{Name: "ann"}
	var last *logv1.Result
	for i := range limits.MaxRemovedMembers + 2 {
		c := replaceMember(joiner("n2", fmt.Sprint("x", i+1)))
		c.Actor, c.Reason = by, "a disk"
		last = h.do(t, 0, c)[0]
	}
	removed := h.Removed()
	if len(removed) != limits.MaxRemovedMembers || removed["x0"] != nil || removed["x3"] != nil || removed["x4"] == nil || removed["x1001"] == nil {
		t.Errorf("%d are remembered; x0 %v, x3 %v, x4 %v, x1001 %v", len(removed), removed["x0"], removed["x3"], removed["x4"], removed["x1001"])
	}
	if removed["d3"] == nil || removed["d4"] == nil {
		t.Error("founders are forgotten: nodes know them from the founding")
	}
	events := h.registryFile.events[len(h.registryFile.events)-3:]
	for i, want := range []string{"MEMBER_REMOVED x1001 a disk ann", "MEMBER_CHANGED n2 a disk ann", "MEMBER_CHANGED x3 only the newest removed members are remembered "} {
		e := events[i]
		if got := fmt.Sprintf("%s %s %s %s", strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_"), e.GetKey(), e.GetReason(), e.GetActor().GetName()); got != want {
			t.Errorf("event %d: %s, want %s", i, got, want)
		}
		if len(e.GetAfter()) == 0 {
			t.Errorf("event %d does not tell what was removed", i)
		}
		if e.GetCommitRevision() != last.GetRevision() {
			t.Errorf("event %d is of commit %d, not %d", i, e.GetCommitRevision(), last.GetRevision())
		}
	}
	if again := harnessOn(t, h.registryFile); again.dump() != h.dump() {
		t.Error("it is not the same after a restart")
	}
}

// TestForceKeepsWhatItChanges: what a command has just forced is not forgotten by it, though there are too many then.
func TestForceKeepsWhatItChanges(t *testing.T) {
	h := newHarness(t)
	h.state.mostRemoved = 1
	h.do(t, 0, announce(joiner("n1", "d1")), addMember(joiner("n2", "d2")), replaceMember(joiner("n2", "e2")))
	h.do(t, 0, logv1.RemoveMemberCommand("n2", "", true))
	if got := h.holdsMembers(); got != "n1=d1, -n2 d2 by e2 force, -n2 e2 force" {
		t.Error(got)
	}
	h.do(t, 0, addMember(joiner("n2", "f2")), removeMember("n2"))
	if got := h.holdsMembers(); got != "n1=d1, -n2 f2" {
		t.Error(got)
	}
}

// TestResultOfARemoval: the answer holds the member as it was, also when the request comes again.
func TestResultOfARemoval(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, termStartWith(10, 1000), announce(&logv1.Member{Name: "n1", DirectoryId: "d1"}), addMember(joiner("n2", "d2")))
	c := removeMember("n2")
	c.RequestId, c.Reason, c.Actor = "1", "old", &logv1.Actor{Name: "ann", Peer: "a:1"}
	for range 2 {
		r := h.do(t, 7, c)[0]
		if len(r.GetRecords()) != 2 {
			t.Fatalf("%v", r)
		}
		var was logv1.Member
		if m := r.GetRecords()[0]; m.GetKind() != logv1.Kind_KIND_MEMBER || !m.GetDeleted() || was.UnmarshalVT(m.GetValue()) != nil || was.GetPeerAddress() != "n2:2" {
			t.Errorf("%v", m)
		}
		var left logv1.RemovedMember
		want := &logv1.RemovedMember{Name: "n2", DirectoryId: "d2", Reason: "old", Actor: c.Actor, Time: 7, Revision: 4}
		if m := r.GetRecords()[1]; m.GetKind() != logv1.Kind_KIND_REMOVED_MEMBER || m.GetKey() != "d2" || left.UnmarshalVT(m.GetValue()) != nil || !proto.Equal(&left, want) {
			t.Errorf("%v\nwant %v", m, want)
		}
		if !proto.Equal(h.RemovedDirectory("d2"), want) || h.RemovedDirectory("d1") != nil {
			t.Errorf("%v", h.Removed())
		}
	}
}

// TestARecalledRequestCanStillBeDone: who asks what became of a request, with the directory that is there, does not use its
// id up. Once it was done the id gets the first answer, also when another directory took the place since.
func TestARecalledRequestCanStillBeDone(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, termStartWith(10, 1000), announce(joiner("n1", "d1")), announce(joiner("n2", "d2")))
	with := func(cmd *logv1.Command) *logv1.Result {
		cmd.RequestId, cmd.Actor = "1", &logv1.Actor{Name: "ann", Peer: "a:1"}
		return h.do(t, 0, cmd)[0]
	}
	for range 2 {
		if r := with(replaceMember(joiner("n2", "d2"))); r.GetRefusal().GetReason() != logv1.Refusal_REASON_MEMBER_EXISTS || r.GetReplayed() {
			t.Errorf("recalled before it was done: %v", r)
		}
	}
	done := with(replaceMember(joiner("n2", "d3")))
	if done.GetRefusal() != nil || done.GetReplayed() {
		t.Errorf("done: %v", done)
	}
	h.do(t, 0, replaceMember(joiner("n2", "d4")))
	for _, directory := range []string{"d2", "d3", "d4", "d5"} {
		if r := with(replaceMember(joiner("n2", directory))); !r.GetReplayed() || r.GetRevision() != done.GetRevision() {
			t.Errorf("recalled with %s: %v", directory, r)
		}
	}
}

// TestDeniedMemberCommand: the refusal of who may not do it repeats the name only if it is one.
func TestDeniedMemberCommand(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, by("static", setAuth(true, "viewer")))
	for name, key := range map[string]string{"n1": "n1", "N 1": "", strings.Repeat("n", 64): ""} {
		r := h.do(t, 0, by("cert:x", removeMember(name)))[0].GetRefusal()
		if r.GetReason() != logv1.Refusal_REASON_DENIED || r.GetKind() != logv1.Kind_KIND_MEMBER || r.GetKey() != key {
			t.Errorf("%.9s: %v", name, r)
		}
	}
}

// TestSameMemberRequest: what the node that takes a request found out does not make another request of it.
func TestSameMemberRequest(t *testing.T) {
	with := func(edit func(*logv1.Member)) *logv1.Member {
		m := joiner("n2", "d2")
		edit(m)
		return m
	}
	found := with(func(m *logv1.Member) { m.DirectoryId, m.ApiAddress, m.Version, m.Level = "other", "b:9", "v9", 7 })
	elsewhere := with(func(m *logv1.Member) { m.PeerAddress = "b:2" })
	named := with(func(m *logv1.Member) { m.Name = "n3" })
	for name, test := range map[string]struct {
		first, second *logv1.Command
		same          bool
	}{
		"add found":          {addMember(joiner("n2", "d2")), addMember(found), true},
		"add elsewhere":      {addMember(joiner("n2", "d2")), addMember(elsewhere), false},
		"add another":        {addMember(joiner("n2", "d2")), addMember(named), false},
		"add a replica":      {addMember(joiner("n2", "d2")), addMember(replica(joiner("n2", "d2"))), false},
		"add and replace":    {addMember(joiner("n2", "d2")), replaceMember(joiner("n2", "d2")), false},
		"remove found":       {logv1.RemoveMemberCommand("n2", "a", false), logv1.RemoveMemberCommand("n2", "b", false), true},
		"remove by force":    {logv1.RemoveMemberCommand("n2", "", false), logv1.RemoveMemberCommand("n2", "", true), false},
		"remove another":     {removeMember("n2"), removeMember("n3"), false},
		"remove and promote": {removeMember("n2"), logv1.PromoteMemberCommand("n2"), false},
		"replace found":      {logv1.ReplaceMemberCommand(joiner("n2", "d2"), "a", false), logv1.ReplaceMemberCommand(found, "b", false), true},
		"replace, replica":   {replaceMember(joiner("n2", "d2")), replaceMember(replica(joiner("n2", "d2"))), true},
		"replace elsewhere":  {replaceMember(joiner("n2", "d2")), replaceMember(elsewhere), false},
		"replace by force":   {replaceMember(joiner("n2", "d2")), logv1.ReplaceMemberCommand(joiner("n2", "d2"), "", true), false},
		"promote another":    {logv1.PromoteMemberCommand("n2"), logv1.PromoteMemberCommand("n3"), false},
	} {
		first, _ := hashRequest(test.first, nil)
		second, _ := hashRequest(test.second, nil)
		if (first == second) != test.same {
			t.Errorf("%s: the same %v", name, first == second)
		}
	}
}

// TestMembersLevel: commands of members need their feature level; what members announced before does not.
func TestMembersLevel(t *testing.T) {
	h := newHarness(t)
	m := joiner("n1", "d1")
	for want, cmds := range map[uint32][]*logv1.Command{
		logv1.BaseLevel:    {announce(m)},
		logv1.LevelMembers: {announce(replica(m)), announce(&logv1.Member{Joined: true}), addMember(m), removeMember("n1"), replaceMember(m), logv1.PromoteMemberCommand("n1")},
	} {
		for _, c := range cmds {
			if got := h.CommandLevel(c); got != want {
				t.Errorf("%v needs level %d, not %d", c, got, want)
			}
		}
	}
}

// TestRaiseLevelAsksAllMembers: one that was added counts before raft knows it, replica or not; one that was removed does
// not, though raft still knows it.
func TestRaiseLevelAsksAllMembers(t *testing.T) {
	h, err := newHarnessAt(t, newMemRegistryFile(), 3)
	if err != nil {
		t.Fatal(err)
	}
	old := joiner("n2", "d2")
	old.Level = 1
	h.do(t, 0, member("n1", 3, 0), addMember(old), raiseLevel(2, "n1"))
	if h.Level() != 1 {
		t.Error("raised although n2 cannot fold it, because the leader did not name it")
	}
	h.do(t, 0, removeMember("n2"), raiseLevel(2, "n1", "n2"))
	if h.Level() != 2 {
		t.Error("not raised because of a member that was removed")
	}
	h.do(t, 0, addMember(replica(joiner("r1", "e1"))), raiseLevel(3, "n1"))
	if h.Level() != 2 {
		t.Error("raised although a replica cannot fold it")
	}
	if r := h.do(t, 0, addMember(&logv1.Member{Name: "n3", PeerAddress: "n3:2", DirectoryId: "d3", Level: 1}))[0].GetRefusal(); r.GetField() != "member.level" || r.GetLimit() != 2 {
		t.Errorf("a node that cannot fold the level: %v", r)
	}
}
