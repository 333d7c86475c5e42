package browsertest_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestEveryAddressOfTheBar: each view is at its address, and its link in the bar is the current one.
func TestEveryAddressOfTheBar(t *testing.T) {
	p := sharedNode(t, 1).blank(t, look{})
	for path, link := range map[string]string{"/ui/": "Map", "/ui/service?name=x": "Map", "/ui/events": "Events", "/ui/cluster": "Cluster", "/ui/access": "Access"} {
		p.goTo(path)
		p.until("the link "+link, `document.querySelector("nav [aria-current=page]")?.innerText === `+quote(link))
		if title := eval[string](p, "document.title"); !strings.Contains(title, "Rollcall") {
			t.Errorf("%s: the title is %q", path, title)
		}
	}
}

// TestNothingInline: the policy is as strict as it can be, and nothing of the page needs more.
func TestNothingInline(t *testing.T) {
	p := sharedNode(t, 1).open(t, "/ui/", look{})
	p.see(hook("conn-state"))
	policy := eval[string](p, `fetch("/ui/").then((r) => r.headers.get("Content-Security-Policy"))`)
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy has no %s: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("the policy lets more in: %s", policy)
	}
	if n := p.count("script:not([src]), style, [onclick], [onload], [onerror]"); n != 0 {
		t.Errorf("%d elements with something inline", n)
	}
}

// TestThePolicyIsInForce: what the other tests trust in, that a violation is found, is so.
func TestThePolicyIsInForce(t *testing.T) {
	p := sharedNode(t, 1).open(t, "/ui/", look{})
	p.expect("Content Security Policy|TrustedHTML")
	eval[chromedp.Void](p, `document.body.setAttribute("style", "margin-left: 77px")`)
	p.until("the violation", `window.violations?.some((v) => v.startsWith("style-src"))`)
	if eval[bool](p, `getComputedStyle(document.body).marginLeft === "77px"`) {
		t.Error("an inline style counts")
	}
	eval[chromedp.Void](p, `document.body.removeAttribute("style")`)
	eval[chromedp.Void](p, `window.violations = []`)
}
