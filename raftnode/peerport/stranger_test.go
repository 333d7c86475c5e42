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
	if a := emptyView("n1", threeMembers).Answer(emptyView("n3", threeMembers).Question(peerv1.Hello_PURPOSE_PROBE, "n1")); a.GetDirectoryId() == "" || len(a.GetMembers()) != 3 {
		t.Errorf("who forms a cluster learns %v", fmt.Sprint(a))
	}
}
