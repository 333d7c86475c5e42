package browsertest_test

import (
	"net/url"
	"strings"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// hostile are names and reasons that a stranger may write into the registry.
var hostile = []struct{ what, name, reason string }{
	{"markup", `x/<svg/onload><script>hacked()</script>`, `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`},
	{"quotes", `x/"'` + "`" + `${hacked}</title>&lt;&#x3c;`, `"><iframe src="javascript:parent.hacked=1"></iframe>`},
	{"paths", `x/../../api/v1/..//%2e%2e%2fcluster?at#frag`, "../../x\n\tsecond line"},
	{"right to left", "x/\u05e9\u05e8\u05d5\u05ea/\u062e\u062f\u0645\u0629", "ok \u202eecived laer a toN\u202c \u2066x"},
	{"long", "x/" + strings.Repeat("w", 254), strings.Repeat("W", 1000)},
	{"names of the language", "__proto__/constructor", "__proto__"},
	{"marks", "x/q" + strings.Repeat("\u0323", 12) + strings.Repeat("\u0301", 12), strings.Repeat("e\u0301\u0323\u0330", 100)},
}

// TestHostileNamesAndReasons: what strangers write is shown as text, in every view; nothing of it runs, hides or overflows.
func TestHostileNamesAndReasons(t *testing.T) {
	n := startNode(t)
	for _, h := range hostile {
		status := notServing
		_, err := n.client(t).SetServingStatus(n.call(), &rollcallv1.SetServingStatusRequest{Service: h.name, Status: &status, Reason: h.reason, Actor: "<b>who</b>"})
		if err != nil {
			t.Fatalf("%s: %v", h.what, err)
		}
		if _, err := n.client(t).SetOverride(n.call(), &rollcallv1.SetOverrideRequest{Pattern: h.name, Status: &status, Reason: h.reason, Actor: "<b>who</b>", Forever: true}); err != nil {
			t.Fatalf("%s: %v", h.what, err)
		}
	}
	for _, l := range []look{{}, {width: narrow}} {
		p := n.blank(t, l)
		harmless := func(t *testing.T, what string) {
			t.Helper()
			p.shot(what)
			if eval[bool](p, `"hacked" in window || document.querySelector("main img, main iframe, main script, main b[onclick], main svg[onload]") !== null || ({}).polluted !== undefined`) {
				t.Error("something of it ran or became an element")
			}
			if over := eval[int](p, `document.scrollingElement.scrollWidth - document.documentElement.clientWidth`); over > 1 {
				t.Errorf("the page is %d pixels wider than the window", over)
			}
		}
		for _, h := range hostile {
			t.Run(l.String()+"/"+h.what, func(t *testing.T) {
				p.t = t
				prefix, _, _ := strings.Cut(h.name, "/")
				p.goTo("/ui/?q=" + url.QueryEscape(h.name))
				p.until("the row", `document.querySelector('[data-test="map-row"]')?.textContent.includes(`+quote(string([]rune(h.name)[len([]rune(prefix))+1:min(len([]rune(h.name)), 20)]))+`)`)
				harmless(t, "map")
				p.goTo("/ui/service?name=" + url.QueryEscape(h.name))
				p.says(hook("service-status"), "NOT_SERVING")
				p.see(hook("service-timeline"))
				if !eval[bool](p, `document.body.textContent.includes(`+quote(h.name)+`)`) {
					t.Error("the name is not shown as it is")
				}
				if strings.Contains(h.reason, "\u202e") && eval[bool](p, `document.body.textContent.includes("\u202e")`) {
					t.Error("a direction mark of a reason is in the page as it is, and can hide what follows it")
				}
				harmless(t, "service")
				p.goTo("/ui/events?service=" + url.QueryEscape(h.name))
				p.see(hook("events-row"))
				harmless(t, "events")
				p.axe()
				p.t.Helper()
				p.check()
			})
		}
		p.t = t
	}
}
