package fsm

import (
	"bytes"
	"context"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestMembersChanged: who waits for a change of the members is woken by each of them, and by nothing else; the members are
// then the new ones. A snapshot that arrives wakes, too.
func TestMembersChanged(t *testing.T) {
	h := newHarness(t)
	if h.MembersRevision() != 0 || len(h.Members()) != 0 || len(h.Removed()) != 0 || h.RemovedDirectory("") != nil {
		t.Errorf("a new registry has members: %v, %v at %d", h.Members(), h.Removed(), h.MembersRevision())
	}
	n1 := &logv1.Member{Name: "n1", DirectoryId: "d1"}
	for _, step := range []struct {
		cmd      *logv1.Command
		wakes    bool
		revision int64
	}{
		{write(change("a", serving)), false, 0},
		{announce(n1), true, 2},
		{announce(n1), false, 2},
		{write(change("a", notServing)), false, 2},
		{announce(&logv1.Member{Name: "n1", DirectoryId: "d1", Version: "v2"}), true, 4},
		{announce(&logv1.Member{Name: "n1", DirectoryId: "other"}), false, 4},
	} {
		changed := h.MembersChanged()
		h.do(t, 0, step.cmd)
		if closed(changed) != step.wakes || h.MembersRevision() != step.revision {
			t.Errorf("%v: woken %v, at revision %d", step.cmd, closed(changed), h.MembersRevision())
		}
	}
	again := harnessOn(t, h.registryFile)
	changed := again.MembersChanged()
	if again.do(t, 0, write(change("b", serving))); again.MembersRevision() != 4 || closed(changed) {
		t.Errorf("after a restart the members are of revision %d; woken %v", again.MembersRevision(), closed(changed))
	}
	behind := newHarness(t)
	changed = behind.MembersChanged()
	if err := behind.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	if !closed(changed) || behind.MembersRevision() != 4 || behind.Members()["n1"].GetVersion() != "v2" {
		t.Errorf("after a snapshot: woken %v, %v at %d", closed(changed), behind.Members(), behind.MembersRevision())
	}
}

// TestMembersLive: who is a member and who was outlives a restart, a snapshot and a compaction, the past can be read, and a
// scrub finds that it is as it was.
func TestMembersLive(t *testing.T) {
	ctx := context.Background()
	h := newHarness(t)
	h.do(t, 1, announce(joiner("n1", "d1")), addMember(joiner("n2", "d2")), addMember(replica(joiner("r1", "e1"))), write(change("a", serving)))
	before := h.Revision()
	h.do(t, 2, replaceMember(joiner("n2", "d3")), removeMember("r1"))
	as := h.MembersRevision()
	h.do(t, 2, write(change("a", notServing)))
	for _, test := range []struct {
		kind     logv1.Kind
		key      string
		revision int64
		want     func(Value) bool
	}{
		{logv1.Kind_KIND_MEMBER, "n2", before, func(v Value) bool { return v.(*logv1.Member).GetDirectoryId() == "d2" }},
		{logv1.Kind_KIND_MEMBER, "r1", before, func(v Value) bool { return v.(*logv1.Member).GetReplica() }},
		{logv1.Kind_KIND_MEMBER, "r1", as, func(v Value) bool { return v == nil }},
		{logv1.Kind_KIND_REMOVED_MEMBER, "e1", before, func(v Value) bool { return v == nil }},
		{logv1.Kind_KIND_REMOVED_MEMBER, "d2", as, func(v Value) bool { return v.(*logv1.RemovedMember).GetReplacedBy() == "d3" }},
	} {
		if v, err := h.RecordAt(ctx, test.kind, test.key, test.revision); err != nil || !test.want(v) {
			t.Errorf("%v %s at %d: %v, %v", test.kind, test.key, test.revision, v, err)
		}
	}
	h.do(t, 3, compact(h.Revision()+1))
	behind := newHarness(t)
	behind.do(t, 1, announce(joiner("n1", "d1")))
	if err := behind.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*harness{"the same": h, "restarted": harnessOn(t, h.registryFile), "restored": behind} {
		if got, want := other.holdsMembers(), "n1=d1, n2=d3 joined, -n2 d2 by d3, -r1 e1"; got != want || other.MembersRevision() != as {
			t.Errorf("%s: holds %s as of %d, want %s as of %d", name, got, other.MembersRevision(), want, as)
		}
		if !bytes.Equal(other.StateHash().GetHash(), h.StateHash().GetHash()) {
			t.Errorf("%s: it hashes otherwise", name)
		}
		if scrub, err := other.ScrubMemory(ctx, 1); err != nil || !scrub.Agrees() {
			t.Errorf("%s: a scrub finds %+v, %v", name, scrub, err)
		}
	}
	if !DefaultKinds().PerCluster(logv1.Kind_KIND_REMOVED_MEMBER) {
		t.Error("a restored backup has the removed members of another cluster")
	}
}

// TestDamagedRemovedMember: a record that the fold could not have made is not loaded.
func TestDamagedRemovedMember(t *testing.T) {
	for key, r := range map[string]*logv1.RemovedMember{
		"d1":  {DirectoryId: "d1", Revision: 1},
		"d2":  {Name: "n1", DirectoryId: "d1", Revision: 1},
		"d3":  {Name: "n1", DirectoryId: "d3"},
		"?n2": {Name: "n1", Revision: 1},
		"":    {Name: "n1", DirectoryId: "d4", Revision: 1},
	} {
		if _, err := removedKind.decode(key, appendValue(nil, r)); err == nil {
			t.Errorf("%q: %v is taken for good", key, r)
		}
	}
}
