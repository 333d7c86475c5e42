package browsertest_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tabTo presses Tab until the element has the focus. On the way, whatever has the focus can be seen to have it.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	var way []string
	for range 60 {
		p.press(kb.Tab)
		p.focusIsSeen()
		if eval[bool](p, `document.activeElement.matches(`+quote(selector)+`)`) {
			return
		}
		way = append(way, p.focused())
	}
	p.t.Fatalf("Tab does not come to %s; it came to %s", selector, strings.Join(way, ", "))
}

// focusIsSeen: the element with the focus is on the screen, and looks other than without.
func (p *tab) focusIsSeen() {
	p.t.Helper()
	seen := eval[string](p, `(() => {
		const e = document.activeElement;
		if (!e || e === document.body) return "";
		const s = getComputedStyle(e), r = e.getBoundingClientRect();
		if (r.width < 2 || r.height < 2 || r.bottom < 0 || r.right < 0 || r.top > innerHeight || r.left > innerWidth) return e.outerHTML.slice(0, 100) + " is not on the screen";
		const inside = e.querySelector("[aria-selected=true], .current, .active");
		for (const one of [e, inside]) {
			if (!one) continue;
			const s = getComputedStyle(one);
			if (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 || s.boxShadow !== "none") return "";
		}
		return e.outerHTML.slice(0, 100) + " has no outline";
	})()`)
	if seen != "" {
		p.t.Errorf("the focus cannot be seen: %s", seen)
	}
}

// TestKeyboardAlone: from the map to a service and back, and through the bar, without a mouse.
func TestKeyboardAlone(t *testing.T) {
	n := startNode(t)
	if err := fill(n, 300); err != nil {
		t.Fatal(err)
	}
	if err := decorate(n); err != nil {
		t.Fatal(err)
	}
	p := n.open(t, "/ui/", look{})
	p.see(hook("map"))
	p.live()

	p.press(kb.Tab)
	if got := p.focused(); !strings.Contains(got, "Skip") {
		t.Errorf("the first stop is %q, not the way over the bar", got)
	}
	p.focusIsSeen()
	p.press(kb.Enter)
	if !eval[bool](p, `document.activeElement.id === "main" || document.querySelector("main").contains(document.activeElement)`) {
		t.Errorf("after the way over the bar the focus is at %s", p.focused())
	}

	p.tabTo(hook("filter"))
	p.do(chromedp.KeyEvent("shop/"))
	p.says(hook("map-row"), "shop/cart")
	p.until("the filter in the address", `location.search.includes("q=shop")`)
	p.tabTo(`main [role=grid], main [role=listbox], main [role=grid] *, main [role=listbox] *, main [data-test="map-row"], main [data-test="map-row"] *`)
	p.shot("rows")
	p.press(kb.ArrowDown, kb.ArrowDown, kb.Home, kb.End, kb.Home)
	p.focusIsSeen()
	p.press(kb.Enter)
	p.until("a service", `location.pathname === "/ui/service"`)
	p.see(hook("service-status"))
	p.shot("service")
	if where := p.focused(); strings.HasPrefix(where, "body") {
		t.Errorf("in a new view the focus is nowhere: %q", where)
	}
	p.do(chromedp.NavigateBack())
	p.until("the map with its filter", `location.pathname === "/ui/" && location.search.includes("q=shop")`)
	p.says(hook("map-row"), "shop/cart")

	for _, view := range []string{"Events", "Cluster", "Access"} {
		p.goTo("/ui/")
		p.see(hook("map"))
		p.tabTo(`nav a[href="/ui/` + strings.ToLower(view) + `"]`)
		p.press(kb.Enter)
		p.until(view, `location.pathname === "/ui/`+strings.ToLower(view)+`"`)
		p.until("its title", `document.title.includes(`+quote(view)+`)`)
	}
}

// TestADialogByKeyboard: it takes the focus, keeps it, ends with Escape, and gives the focus back.
func TestADialogByKeyboard(t *testing.T) {
	n := sharedNode(t, 1_000)
	p := n.open(t, "/ui/", look{})
	p.live()
	p.tabTo(hook("who"))
	p.press(kb.Enter)
	p.see(hook("dialog"))
	for range 8 {
		p.press(kb.Tab)
		if !eval[bool](p, `document.activeElement === document.body || document.querySelector('[data-test="dialog"]').contains(document.activeElement)`) {
			t.Fatalf("the focus leaves the dialog: %s", p.focused())
		}
	}
	p.press(kb.Escape)
	p.gone(hook("dialog"))
	if got := p.focused(); got != "who" {
		t.Errorf("after the dialog the focus is at %s", got)
	}
}
