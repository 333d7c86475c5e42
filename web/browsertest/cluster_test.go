package browsertest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func init() {
	cluster := func(p *tab) {
		p.goTo("/ui/cluster")
		p.see(hook("cluster-node"))
		p.says("main h2", "Overrides")
		p.until("what is asked seldom", `[...document.querySelectorAll("dt")].some((e) => e.innerText.startsWith("Watches") && e.nextSibling.innerText !== "unknown")`)
	}
	scenes = append(scenes,
		scene{name: "cluster", show: cluster},
		scene{name: "cluster-secure", secure: true, show: cluster},
		scene{name: "cluster-reader", secure: true, reader: true, show: cluster},
	)
}

// TestTheClusterView follows the members: one that is silent, no quorum, and the end of that.
func TestTheClusterView(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	n := nodes[0]
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/cluster", look{})
	p.until("three members that are ready", `document.querySelectorAll('[data-test="cluster-node"]').length === 3 && document.querySelector("main").innerText.match(/● yes/g)?.length === 3`)
	p.says("main", "None is known")
	for _, fact := range []string{"Leader", "Lag", "Heard a leader", "Clock", "Version", "Runs for", "Watches of n1"} {
		p.says("main dt", fact)
	}
	p.shot("well")

	nodes[2].kill()
	p.says(hook("problem"), "n3: connection refused")
	p.says(hook("cluster-node"), "All else\nunknown")
	p.shot("one-silent")
	p.axe()

	nodes[1].kill()
	p.says("main", "No leader: nothing can be changed")
	p.says(hook("problem"), "2 of 3 voters needed, 1 of them answered")
	p.says("main code", "rollcall recover --inspect DIRECTORY...")
	if text := p.text("main"); !strings.Contains(text, "n1 last heard a leader") || !strings.Contains(text, "ago, and shows what it knew then") {
		t.Errorf("it does not say how old that is:\n%s", text)
	}
	p.shot("no-quorum")
	p.axe()
	dark := n.open(t, "/ui/cluster", look{dark: true, width: narrow})
	dark.says("main", "No leader: nothing can be changed")
	dark.shot("no-quorum")

	if err := startAll(nodes[1:]); err != nil {
		t.Fatal(err)
	}
	p.within(30*time.Second, "the end of that", `!document.querySelector("main").innerText.includes("No leader") && document.querySelector("main").innerText.match(/● yes/g)?.length === 3`)
}

// TestTheClusterViewAsksOnlyWhileItIsSeen.
func TestTheClusterViewAsksOnlyWhileItIsSeen(t *testing.T) {
	t.Parallel()
	p := sharedNode(t, 1).open(t, "/ui/cluster", look{})
	p.see(hook("cluster-node"))
	eval[chromedp.Void](p, `(() => { const real = fetch; window.asked = 0; window.fetch = (u, o) => { if (/cluster|rules|metrics/.test(u)) asked++; return real(u, o) } })()`)
	p.until("that it asks", "window.asked >= 2")
	eval[chromedp.Void](p, `Object.defineProperty(document, "hidden", { configurable: true, get: () => true })`)
	time.Sleep(300 * time.Millisecond) // what was asked already
	before := eval[int](p, "window.asked")
	time.Sleep(5 * time.Second)
	if more := eval[int](p, "window.asked") - before; more > 0 {
		t.Errorf("it asked %d times while nobody could see it", more)
	}
	eval[chromedp.Void](p, `delete document.hidden`)
	p.until("that it asks again", fmt.Sprintf("window.asked > %d", before))
}

// TestLeadershipIsHandedOver to the member that was chosen.
func TestLeadershipIsHandedOver(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	p := nodes[0].open(t, "/ui/cluster", look{})
	p.until("a leader", `document.querySelector("main").innerText.match(/Leader\s+n\d/)`)
	p.clickButton("main button", "Hand leadership over")
	p.until("that all voters are there", `document.querySelectorAll('[data-test="dialog"] option').length === 3`)
	to := eval[string](p, `document.querySelector('[data-test="dialog"] option:last-child').value`)
	p.choose(hook("dialog")+" select", to)
	p.axe()
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-done"), to+" leads")
	p.click(hook("dialog-close"))
	p.until("the new leader in the view", `document.querySelector("main").innerText.match(/Leader\s+`+to+`/)`)
}

// TestWhatIsDrawnAnewStays: focus and selection survive each answer.
func TestWhatIsDrawnAnewStays(t *testing.T) {
	t.Parallel()
	p := sharedNode(t, 1_000).open(t, "/ui/cluster", look{})
	p.until("a button", `[...document.querySelectorAll("main td button")].find((b) => b.innerText === "End")`)
	eval[chromedp.Void](p, `[...document.querySelectorAll("main td button")].find((b) => b.innerText === "End").focus(); getSelection().selectAllChildren(document.querySelector("main dd"))`)
	was := eval[string](p, "getSelection().toString()")
	eval[chromedp.Void](p, `(() => { window.asked = 0; const real = fetch; window.fetch = (u, o) => { if (/api\/v1\/cluster/.test(u)) asked++; return real(u, o) } })()`)
	p.until("two more answers", "window.asked >= 3")
	if got := eval[string](p, `document.activeElement.innerText + "|" + getSelection()`); got != "End|"+was || was == "" {
		t.Errorf("focus and selection are %q, want End and %q", got, was)
	}
}
