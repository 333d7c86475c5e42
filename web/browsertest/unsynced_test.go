package browsertest_test

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// neverSynced has the page never hear that what it was sent is all that there is. Without a leader a node says so after
// some seconds; here it takes for ever, so that a test sees what is shown until then.
func (p *tab) neverSynced() {
	p.t.Helper()
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const parse = JSON.parse;
		JSON.parse = (text, f) => {
			const value = parse(text, f);
			if (value?.synced) value.synced = false;
			return value;
		};
	}`})
}

const loading = `document.querySelector("main").innerText.includes("Loading")`

// TestTheMapOfANodeWithoutAQuorumWaitsForNothing: what the node knows is shown as soon as it comes, with its counts, and the
// banner says how old it is; also after a restart, when the node does not know when it last heard a leader.
func TestTheMapOfANodeWithoutAQuorumWaitsForNothing(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	n := nodes[0]
	n.set(t, "shop/cart", serving, "before")
	n.set(t, "shop/pay", notServing, "before")
	show := func() *tab {
		t.Helper()
		p := n.blank(t, look{width: 390})
		p.neverSynced()
		p.goTo("/ui/")
		p.says(hook("map-row"), "shop/pay")
		return p
	}
	p := show()
	p.until("Loading, while there is a leader", loading+` && document.querySelector('[data-list="all"] b').innerText === "…"`)
	nodes[1].kill()
	nodes[2].kill()
	n.loseLeader(t)
	p = show()
	p.until("all services", counted(2))
	p.until("no Loading", "!"+loading)
	p.says(banner, "hears no leader")
	p.says(banner, "old")
	p.shot("no-quorum")
	n.kill()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	p = show()
	p.until("all services", counted(2))
	p.until("no Loading", "!"+loading)
	p.says(banner, "is from before it was started")
	p.shot("restarted")
}

// loseLeader waits until the node hears no leader.
func (n *node) loseLeader(t testing.TB) {
	t.Helper()
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
		status, err := rollcallv1.NewClusterClient(conn).GetStatus(n.call(), &rollcallv1.GetStatusRequest{LocalOnly: true})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the node hears a leader, or %v", err)
		}
		if status.GetLeader() == "" {
			return
		}
	}
}
