package browsertest_test

import (
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const banner = ".banner"

// set writes a status over the node's API.
func (n *node) set(t testing.TB, service string, status healthpb.HealthCheckResponse_ServingStatus, reason string) {
	t.Helper()
	_, err := n.client(t).SetServingStatus(n.call(), &rollcallv1.SetServingStatusRequest{Service: service, Status: &status, Reason: reason, Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *tab) live() {
	p.t.Helper()
	p.until("a live stream", `document.querySelector('[data-test="conn-state"]')?.dataset.state === "live"`)
}

// TestTheNodeIsKilledAndComesBack: the page keeps the picture, says that and since when it is old, and goes on by itself.
func TestTheNodeIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	if err := fill(n, 100); err != nil {
		t.Fatal(err)
	}
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/service?name=shop%2Fcart", look{})
	p.live()
	p.says(hook("service-status"), "SERVING")
	n.kill()
	p.until("the state lost", `document.querySelector('[data-test="conn-state"]').dataset.state === "lost"`)
	p.says(hook("conn-state"), "lost")
	p.says(banner, "ago")
	p.says(hook("service-status"), "SERVING") // what was known stays
	p.shot("lost")
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if err := n.until("/readyz/leader"); err != nil {
		t.Fatal(err)
	}
	p.within(40*time.Second, "the state live", `document.querySelector('[data-test="conn-state"]').dataset.state === "live"`)
	p.gone(banner)
	n.set(t, "shop/cart", notServing, "after")
	p.says(hook("service-status"), "NOT_SERVING")
	p.shot("back")
}

// TestTheMapComesBack: after a crash the map shows what changed meanwhile, without a reload.
func TestTheMapComesBack(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/one", serving, "before")
	p := n.open(t, "/ui/?q=shop", look{})
	p.says(hook("map-row"), "shop/one")
	n.kill()
	p.says(banner, "ago")
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if err := n.until("/readyz/leader"); err != nil {
		t.Fatal(err)
	}
	n.set(t, "shop/two", notServing, "after")
	p.within(40*time.Second, "the new service", `[...document.querySelectorAll('[data-test="map-row"]')].some((e) => e.innerText.includes("shop/two"))`)
	p.gone(banner)
}

// TestTheNodeHangs: a node that says nothing more, though its connections are open, is one that the page says is away.
func TestTheNodeHangs(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/?q=shop", look{})
	p.live()
	p.says(hook("map-row"), "shop/cart")
	n.signal(syscall.SIGSTOP)
	defer n.signal(syscall.SIGCONT)
	p.within(60*time.Second, "the banner", `(() => { const e = document.querySelector(".banner"); return e && !e.hidden && e.innerText.includes("ago") })()`)
	p.says(hook("map-row"), "shop/cart")
	p.shot("hangs")
	n.signal(syscall.SIGCONT)
	p.within(60*time.Second, "the state live", `document.querySelector('[data-test="conn-state"]').dataset.state === "live"`)
	p.gone(banner)
	n.set(t, "shop/later", serving, "after")
	p.says(hook("map-row"), "shop/later")
}

// TestANodeWithoutAQuorum: it shows what it knows, says that nothing new comes and for how long, and how the members are.
func TestANodeWithoutAQuorum(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	n := nodes[0]
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/?q=shop", look{})
	p.says(hook("map-row"), "shop/cart")
	nodes[1].kill()
	nodes[2].kill()
	p.within(30*time.Second, "the banner", `(() => { const e = document.querySelector(".banner"); return e && !e.hidden && e.innerText.includes("no leader") })()`)
	p.says(banner, "old")
	p.says(hook("map-row"), "shop/cart")
	p.shot("map")
	p.axe()
	p.goTo("/ui/cluster")
	p.says(hook("problem"), "no leader")
	p.shot("cluster")
	p.axe()
	p.goTo("/ui/service?name=shop%2Fcart")
	p.says(hook("service-status"), "SERVING")
	p.shot("service")
	for _, m := range nodes[1:] {
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	p.within(40*time.Second, "no banner", `document.querySelector(".banner").hidden`)
}

// TestAHiddenTabHoldsNoStream: it costs the node nothing, and goes on where it was when it is looked at again.
func TestAHiddenTabHoldsNoStream(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/one", serving, "before")
	p := n.open(t, "/ui/?q=shop", look{})
	p.says(hook("map-row"), "shop/one")
	if got := n.metric(t, "rollcall_watches"); got != 1 {
		t.Errorf("a tab has %v watches", got)
	}
	hide := func(hidden string) {
		eval[bool](p, `(() => { Object.defineProperty(document, "hidden", { configurable: true, get: () => `+hidden+` }); document.dispatchEvent(new Event("visibilitychange")); return true })()`)
	}
	hide("true")
	for deadline := time.Now().Add(patience); n.metric(t, "rollcall_watches") != 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a hidden tab has a stream")
		}
	}
	n.set(t, "shop/two", notServing, "meanwhile")
	hide("false")
	p.says(hook("map-row"), "shop/two")
	p.live()
}
