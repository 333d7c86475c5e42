package peerport

import (
	"fmt"
	"testing"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// TestStrangersLearnNoDirectory: whoever cannot show the right directory for the name it gives learns neither ids of
// directories nor addresses, whatever it asks for. Members do, and dialers show their own id only.
func TestStrangersLearnNoDirectory(t *testing.T) {
	purposes := []peerv1.Hello_Purpose{peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_RAFT, peerv1.Hello_PURPOSE_RPC, peerv1.Hello_PURPOSE_CLOCK, 99}
	n1 := clusterView("n1", true)
	for _, purpose := range purposes {
		for name, test := range map[string]struct {
			change func(*peerv1.Hello)
			your   string
		}{
			"no member":         {func(h *peerv1.Hello) { h.Node = "n9" }, ""},
			"no name":           {func(h *peerv1.Hello) { h.Node = "" }, ""},
			"another directory": {func(h *peerv1.Hello) { h.DirectoryId = "guessed" }, AnotherDirectory},
			"no directory":      {func(h *peerv1.Hello) { h.DirectoryId = "" }, AnotherDirectory},
			"claims another's":  {func(h *peerv1.Hello) { h.DirectoryId = AnotherDirectory }, AnotherDirectory},
			"no cluster":        {func(h *peerv1.Hello) { h.DirectoryId, h.ClusterId = "new", "" }, AnotherDirectory},
		} {
			h := clusterView("n3", true).Question(purpose, "n1")
			test.change(h)
			a := n1.Answer(h)
			if a.GetDirectoryId() != "" || a.GetFounding() != nil || len(a.GetMembers()) > 0 || a.GetYourDirectoryId() != test.your {
				t.Errorf("%v, %s: learns %v", purpose, name, a)
			}
			if a.GetNode() != "n1" || a.GetClusterId() == "" {
				t.Errorf("%v, %s: %v", purpose, name, a)
			}
		}
		h := clusterView("n3", true).Question(purpose, "n1")
		if h.GetFounding() != nil || len(h.GetMembers()) > 0 || h.GetYourDirectoryId() != "" || h.GetDirectoryId() != "dir-n3" {
			t.Errorf("a dialer shows %v", h)
		}
		if a := n1.Answer(h); a.GetDirectoryId() != "dir-n1" || a.GetFounding() == nil || a.GetYourDirectoryId() != "dir-n3" {
			t.Errorf("a member learns %v", a)
		}
	}
	// Who has shown a directory that was removed hears that, and no more.
	n1.Removed = func(directory string) *peerv1.Removed {
		if directory != "dir-n2" {
			return nil
		}
		return &peerv1.Removed{Revision: 9, DirectoryId: directory, By: "dir-n2-r"}
	}
	n1.Roster = &peerv1.Roster{Revision: 9, Members: []*peerv1.RosterMember{{Name: "n1", DirectoryId: "dir-n1"}}}
	n1.ClusterLevel, n1.MaxLevel = 2, 2
	for name, test := range map[string]struct {
		change  func(*peerv1.Hello)
		removed bool
	}{
		"its own":            {func(*peerv1.Hello) {}, true},
		"as of no cluster":   {func(h *peerv1.Hello) { h.ClusterId = "" }, true},
		"under another name": {func(h *peerv1.Hello) { h.Node = "n9" }, true},
		"of another cluster": {func(h *peerv1.Hello) { h.ClusterId = "77b2" }, false},
		"none":               {func(h *peerv1.Hello) { h.DirectoryId = "" }, false},
		"an older process":   {func(h *peerv1.Hello) { h.Level = 1 }, false},
		"one that was not":   {func(h *peerv1.Hello) { h.DirectoryId = "guessed" }, false},
	} {
		v := clusterView("n2", true)
		v.DirectoryID, v.MaxLevel = "dir-n2", 2 // that was replaced
		h := v.Question(peerv1.Hello_PURPOSE_PROBE, "n1")
		test.change(h)
		a := n1.Answer(h)
		if (a.GetRemoved() != nil) != test.removed || a.GetDirectoryId() != "" || a.GetRoster() != nil || a.GetFounding() != nil || len(a.GetMembers()) > 0 {
			t.Errorf("%s: learns %v", name, a)
		}
	}
	if a := emptyView("n1", threeMembers).Answer(emptyView("n3", threeMembers).Question(peerv1.Hello_PURPOSE_PROBE, "n1")); a.GetDirectoryId() == "" || len(a.GetMembers()) != 3 {
		t.Errorf("who forms a cluster learns %v", fmt.Sprint(a))
	}
}

// TestAnswersOfNewerLevels: the roster and the waiting go to who can read them, and the roster to members only, once the
// cluster is at that level.
func TestAnswersOfNewerLevels(t *testing.T) {
	const probe, raft = peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_RAFT
	asks := func(purpose peerv1.Hello_Purpose, level uint32) *peerv1.Hello {
		v := clusterView("n3", true)
		v.MaxLevel = level
		return v.Question(purpose, "n1")
	}
	member := func(level uint32) View {
		v := levelView(2, level)
		v.Roster = &peerv1.Roster{Revision: 9, Members: []*peerv1.RosterMember{{Name: "n1"}}}
		return v
	}
	waits := emptyView("n1", nil)
	waits.Waiting, waits.MaxLevel = &peerv1.Waiting{Replica: true}, 2
	for name, test := range map[string]struct {
		view            View
		question        *peerv1.Hello
		roster, waiting bool
	}{
		"a member":                    {member(2), asks(probe, 2), true, false},
		"an older cluster":            {member(1), asks(probe, 2), false, false},
		"an older process":            {member(2), asks(probe, 1), false, false},
		"no probe":                    {member(2), asks(raft, 2), false, false},
		"who waits":                   {waits, asks(probe, 2), false, true},
		"who waits, an older process": {waits, asks(probe, 1), false, false},
	} {
		if a := test.view.Answer(test.question); (a.GetRoster() != nil) != test.roster || (a.GetWaiting() != nil) != test.waiting {
			t.Errorf("%s: %v", name, a)
		}
		if q := test.view.Question(probe, "n3"); q.GetRoster() != nil || q.GetWaiting() != nil {
			t.Errorf("%s: asks with %v", name, q)
		}
	}
}

// TestLeavingMembersAreHeard: a directory that was removed counts in elections until raft's configuration has it no more.
// Until then it is heard under its name, beside the one that took its place.
func TestLeavingMembersAreHeard(t *testing.T) {
	v := levelView(2, 2)
	v.Leaving = map[string]string{"dir-n2": "n2"}
	v.Removed = func(string) *peerv1.Removed { return nil }
	for directory, name := range map[string]string{"dir-n2": "n2", "dir-n2-replaced": "n2"} {
		n2 := clusterView(name, true)
		n2.DirectoryID, n2.MaxLevel = directory, 2
		h := n2.Question(peerv1.Hello_PURPOSE_RAFT, "n1")
		if reason := v.Refuse(h); reason != "" {
			t.Errorf("%s is refused: %s", directory, reason)
		}
		if a := v.Answer(h); a.GetYourDirectoryId() != directory || a.GetDirectoryId() == "" {
			t.Errorf("%s is answered %v", directory, a)
		}
	}
	n3 := clusterView("n3", true)
	n3.DirectoryID, n3.MaxLevel = "dir-n2", 2
	if v.Refuse(n3.Question(peerv1.Hello_PURPOSE_RAFT, "n1")) == "" {
		t.Error("a directory that leaves is heard under another name")
	}
	v.Leaving = nil
	v.Removed = func(directory string) *peerv1.Removed { return &peerv1.Removed{Revision: 9, DirectoryId: directory} }
	n2 := clusterView("n2", true)
	n2.DirectoryID, n2.MaxLevel = "dir-n2", 2
	h := n2.Question(peerv1.Hello_PURPOSE_RAFT, "n1")
	if got, want := v.Refuse(h), "the data directory of n2 was removed from cluster 3f9a at revision 9"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if v.Answer(h).GetRemoved().GetRevision() != 9 {
		t.Error("it is not told that it was removed")
	}
}
