package fsm

import (
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
	if again := harnessOn(t, h.registryFile); again.MembersRevision() != 4 {
		t.Errorf("after a restart the members are of revision %d", again.MembersRevision())
	}
	behind := newHarness(t)
	changed := behind.MembersChanged()
	if err := behind.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	if !closed(changed) || behind.MembersRevision() != 4 || behind.Members()["n1"].GetVersion() != "v2" {
		t.Errorf("after a snapshot: woken %v, %v at %d", closed(changed), behind.Members(), behind.MembersRevision())
	}
}
