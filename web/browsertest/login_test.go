package browsertest_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// TestSignInWithAToken: a wrong token is refused and changes nothing, a right one is kept for this tab alone.
func TestSignInWithAToken(t *testing.T) {
	n := sharedSecure(t)
	p := n.open(t, "/ui/", look{})
	p.says(hook("who"), "anonymous")
	p.click(hook("who"))
	p.says(hook("dialog"), "Who you are")
	p.shot("asked")
	p.axe()

	p.write(hook("token-input"), "rct_thisisnotone")
	p.press(kb.Enter)
	p.until("an error in the dialog", `[...document.querySelectorAll('[data-test="dialog"] [role=alert]')].some((e) => e.checkVisibility() && e.innerText.length > 10)`)
	p.shot("refused")
	p.axe()
	p.says(hook("who"), "anonymous")

	p.write(hook("token-input"), n.admin)
	p.press(kb.Enter)
	p.gone(hook("dialog"))
	p.until("another identity", `!document.querySelector('[data-test="who"]').innerText.includes("anonymous") && document.querySelector('[data-test="who"]').innerText.length > 3`)
	if got := p.focused(); got != "who" {
		t.Errorf("after the dialog the focus is at %s", got)
	}
	me := p.text(hook("who"))
	p.shot("signed-in")

	p.goTo("/ui/cluster") // a reload, in the same tab
	p.says(hook("who"), me)
	if where := eval[string](p, `location.href + JSON.stringify({ ...localStorage }) + document.cookie + document.documentElement.outerHTML`); strings.Contains(where, n.admin[:12]) {
		t.Error("the token is in the address, in the storage of all tabs, in a cookie or in the page")
	}
	p.click(hook("who"))
	p.says(hook("dialog"), me)
	p.clickText("[data-test=dialog] button", "Sign out")
	p.gone(hook("dialog"))
	p.says(hook("who"), "anonymous")
	if kept := eval[int](p, "sessionStorage.length"); kept != 0 {
		t.Error("something is kept of who signed out")
	}

	other := n.open(t, "/ui/", look{})
	other.says(hook("who"), "anonymous")
}

// TestNobodyWithoutAToken: where callers without a token may do nothing, the page says so, shows nothing, and all is well
// after they sign in.
func TestNobodyWithoutAToken(t *testing.T) {
	n := startSecure(t)
	n.set(t, "shop/cart", serving, "secret")
	if err := n.anonymous("none"); err != nil {
		t.Fatal(err)
	}
	p := n.open(t, "/ui/?q=shop", look{})
	p.until("the way to sign in", `/sign in|token/i.test(document.querySelector("main").innerText)`)
	if p.count(hook("map-row")) != 0 {
		t.Error("services are shown to somebody without a token")
	}
	p.shot("nobody")
	p.axe()
	p.click(hook("who"))
	p.write(hook("token-input"), n.admin)
	p.press(kb.Enter)
	p.gone(hook("dialog"))
	p.says(hook("map-row"), "shop/cart")
	p.live()
}

// TestATokenIsRevoked: the page stops to show, says why, and does not ask without end.
func TestATokenIsRevoked(t *testing.T) {
	n := startSecure(t)
	if err := n.anonymous("none"); err != nil {
		t.Fatal(err)
	}
	n.set(t, "shop/cart", serving, "secret")
	token := n.token(t, "reader", "viewer", "shop/*")
	p := n.open(t, "/ui/?q=shop", look{token: token})
	p.says(hook("who"), "token:reader")
	p.says(hook("map-row"), "shop/cart")
	n.revoke(t, "reader")
	p.until("the state lost", `document.querySelector('[data-test="conn-state"]').dataset.state === "lost"`)
	p.says("body", "revoked")
	p.shot("revoked")
	p.axe()
}
