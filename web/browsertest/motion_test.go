package browsertest_test

import (
	"testing"
)

// TestReducedMotion: who asks the system for no motion gets none.
func TestReducedMotion(t *testing.T) {
	n := startNode(t)
	if err := fill(n, 300); err != nil {
		t.Fatal(err)
	}
	if err := decorate(n); err != nil {
		t.Fatal(err)
	}
	p := n.blank(t, look{still: true})
	for _, path := range []string{"/ui/", "/ui/?q=shop", "/ui/service?name=shop%2Fcart", "/ui/events", "/ui/cluster", "/ui/access"} {
		p.goTo(path)
		p.see("main *")
		n.set(t, "shop/cart", notServing, "moves")
		n.set(t, "shop/cart", serving, "moves")
		moving := eval[[]string](p, `(async () => {
			const found = new Set();
			for (let i = 0; i < 30; i++) {
				for (const a of document.getAnimations()) {
					const t = a.effect?.getComputedTiming();
					if (t && Number(t.activeDuration) > 20) found.add((a.animationName ?? a.transitionProperty) + " of " + a.effect.target?.className);
				}
				await new Promise((r) => requestAnimationFrame(r));
			}
			for (const e of document.querySelectorAll("*")) {
				const s = getComputedStyle(e);
				if (s.scrollBehavior === "smooth") found.add("smooth scrolling of " + e.tagName);
				if (s.animationName !== "none" && parseFloat(s.animationDuration) > 0.02) found.add(s.animationName);
			}
			return [...found];
		})()`)
		for _, m := range moving {
			t.Errorf("%s: %s", path, m)
		}
	}
}
