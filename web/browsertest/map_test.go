package browsertest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func init() {
	scenes = append(scenes,
		scene{name: "map", show: func(p *tab) {
			p.goTo("/ui/")
			p.see(hook("map-canvas"))
			p.within(30*time.Second, "all services", counted(p.node.services))
		}},
		scene{name: "map filtered", sizes: []int{1_000, 100_000}, show: func(p *tab) {
			p.goTo("/ui/?q=service-000")
			p.see(hook("map-row"))
		}},
		scene{name: "map not serving", sizes: []int{1_000, 100_000}, show: func(p *tab) {
			p.goTo("/ui/?status=NOT_SERVING")
			p.see(hook("map-row"))
		}},
		scene{name: "map of a group", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/?prefix=shop%2F&list=all")
			p.says(hook("map-row"), "cart")
		}},
		scene{name: "map with nothing", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/?q=there-is-no-such-service")
			p.see(hook("map"))
			p.live()
		}},
		scene{name: "who", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/")
			p.live()
			p.click(hook("who"))
			p.says(hook("dialog"), "Token")
		}},
		scene{name: "map of a reader", secure: true, reader: true, show: func(p *tab) {
			p.goTo("/ui/")
			p.until("all services", counted(p.node.services))
		}},
	)
}

// counted is true when the map shows so many services.
func counted(services int) string {
	return fmt.Sprintf(`document.querySelector('[data-list="all"] b')?.innerText.replace(/\D/g, "") === "%d"`, services)
}

// TestDeepLinks: a view that is opened by its address shows what the address says, and writes what is chosen into it.
func TestDeepLinks(t *testing.T) {
	n := sharedNode(t, 1_000)
	p := n.open(t, "/ui/?prefix=shop%2F&list=all", look{})
	p.says(hook("map-row"), "cart")
	if eval[bool](p, `[...document.querySelectorAll('[data-test="map-row"]')].some((e) => e.innerText.includes("group-"))`) {
		t.Error("the prefix does not hold")
	}
	p.goTo("/ui/?q=cart")
	p.says(hook("map-row"), "shop/cart")
	if got := eval[string](p, `document.querySelector('[data-test="filter"]').value`); got != "cart" {
		t.Errorf("the field of the filter says %q", got)
	}
	p.goTo("/ui/?status=NOT_SERVING")
	p.see(hook("map-row"))
	if eval[bool](p, `[...document.querySelectorAll('[data-test="map-row"]')].some((e) => /(^|[^_])\bSERVING/.test(e.innerText.replaceAll("NOT_SERVING", "")))`) {
		t.Error("the status does not hold")
	}
	p.goTo("/ui/")
	p.live()
	p.write(hook("filter"), "shop/pay")
	p.says(hook("map-row"), "shop/pay")
	p.until("the filter in the address", `new URLSearchParams(location.search).get("q") === "shop/pay"`)
	eval[chromedp.Void](p, `location.reload()`)
	p.says(hook("map-row"), "shop/pay")
	p.click(hook("map-row"))
	p.until("the service's address", `location.pathname + location.search === "/ui/service?name=shop%2Fpay"`)
	p.says(hook("service-status"), "SERVING")
	p.do(chromedp.NavigateBack())
	p.until("the map's address", `location.pathname + location.search === "/ui/?q=shop%2Fpay"`)
	p.says(hook("map-row"), "shop/pay")
	for _, path := range []string{"/ui/nothing", "/ui/service", "/ui/?sort=%00&status=NONSENSE&prefix=%ff", "/ui/service?name=does%2Fnot%2Fexist"} {
		p.goTo(path)
		p.expect(`/ui/nothing: 404`)
		if text := eval[string](p, `document.body.innerText.trim()`); len(text) < 20 {
			t.Errorf("%s shows %q", path, text)
		}
		p.shot(path)
	}
}

// TestTheMapFollows: what changes is shown within a second or so, the worst first, and what is deleted goes.
func TestTheMapFollows(t *testing.T) {
	n := startNode(t)
	for _, group := range []string{"a", "b", "c"} {
		for i := range 3 {
			n.set(t, fmt.Sprintf("%s/%d", group, i), serving, "first")
		}
	}
	p := n.open(t, "/ui/?list=groups", look{})
	p.live()
	p.until("nine services", counted(9))
	n.set(t, "c/1", notServing, "breaks")
	p.until("the worst group first", `document.querySelector('[aria-rowindex="1"]')?.innerText.startsWith("c/")`)
	p.shot("worst-first")
	p.goTo("/ui/?status=NOT_SERVING")
	p.says(hook("map-row"), "c/1")
	n.set(t, "c/1", serving, "mended")
	p.until("no row", `document.querySelectorAll('[data-test="map-row"]').length === 0`)
	p.goTo("/ui/?q=a%2F")
	p.says(hook("map-row"), "a/1")
	if err := rollcall(n.flags("delete", "a/1", "--reason", "test")...); err != nil {
		t.Fatal(err)
	}
	p.until("a/1 gone", `![...document.querySelectorAll('[data-test="map-row"]')].some((e) => e.innerText.includes("a/1"))`)
}

// TestAHundredThousandRows: only what is in sight is in the page, and the last row is a key away.
func TestAHundredThousandRows(t *testing.T) {
	n := sharedNode(t, 100_000)
	p := n.open(t, "/ui/?q=service-", look{})
	p.within(30*time.Second, "all rows", `Number(document.querySelector("[role=grid]")?.getAttribute("aria-rowcount")) >= 100000`)
	if rows := p.count(hook("map-row")); rows > 200 {
		t.Errorf("%d rows are in the page", rows)
	}
	eval[chromedp.Void](p, `document.querySelector("[role=grid]").focus()`)
	p.press(kb.End)
	p.until("the last row", `[...document.querySelectorAll("[role=row]")].some((e) => Number(e.getAttribute("aria-rowindex")) >= 100000)`)
	p.shot("end")
	p.press(kb.Home)
	p.until("the first row", `[...document.querySelectorAll("[role=row]")].some((e) => e.getAttribute("aria-rowindex") === "1")`)
}
