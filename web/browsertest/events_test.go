package browsertest_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

var eventRow = hook("events-row")

func init() {
	scenes = append(scenes,
		scene{name: "events", show: func(p *tab) {
			p.goTo("/ui/events")
			p.see(eventRow)
		}},
		scene{name: "events-filtered", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/events?service=shop%2Fcart&type=reported,override-set")
			p.says(eventRow, "change 4 of the day")
			p.click("summary")
		}},
		scene{name: "events-details", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/events?prefix=shop%2F")
			p.says(eventRow, "started")
			p.click(eventRow)
			p.says("h2", "Revision")
		}},
		scene{name: "events-none", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo("/ui/events?actor=nobody")
			p.says("main", "No event matches.")
		}},
	)
}

func escaped(s string) string { return url.QueryEscape(s) }

// focus gives an element the focus, as the Tab key does.
func focus(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%s).focus()`, quote(selector)))
}

// eventLines are the rows in sight, from top to bottom, with their cells.
func eventLines(p *tab) [][]string {
	return eval[[][]string](p, `[...document.querySelectorAll(`+quote(eventRow)+`)].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((r) => [...r.children].map((c) => c.innerText))`)
}

// TestEventsReadAsTheCommandPrintsThem: each kind of event, in the words of "rollcall events".
func TestEventsReadAsTheCommandPrintsThem(t *testing.T) {
	n := startNode(t)
	admin, ctx := n.client(t), n.call()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	up, down := serving, notServing
	n.set(t, "shop/cart", serving, "tab\there")
	n.set(t, "shop/cart", notServing, "")
	must(admin.SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "two", Pattern: "shop/*", MinServing: new(int64(2)), Actor: "ann"}))
	must(admin.RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "two", Actor: "ann"}))
	must(admin.SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "shop/*", Status: &down, Ttl: durationpb.New(3 * time.Hour), Actor: "ann", Reason: "swap"}))
	must(admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "shop/cart", Status: &up, Actor: "ann"}))
	must(admin.ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Pattern: "shop/*", Actor: "ann"}))
	must(admin.DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "shop/cart", Actor: "ann"}))
	lease, err := admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute), Actor: "ann"})
	must(lease, err)
	must(admin.RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: lease.GetLeaseId(), Actor: "ann"}))
	conn, err := n.dial()
	must(conn, err)
	access := rollcallv1.NewAccessClient(conn)
	must(access.PutRole(ctx, &rollcallv1.PutRoleRequest{Name: "deployer", Verbs: []string{"read", "report"}, Actor: "ann"}))
	must(access.PutGrants(ctx, &rollcallv1.PutGrantsRequest{Identity: "cert:shop", Grants: []*rollcallv1.Grant{{Role: "deployer", Patterns: []string{"shop/*", "pay"}}}, Actor: "ann"}))

	lines := command(t, n, "events", "--reverse", "--no-headers")
	p := n.open(t, "/ui/events", look{})
	p.until("all events", fmt.Sprintf(`document.querySelectorAll(%s).length === %d`, quote(eventRow), len(lines)))
	for i, got := range eventLines(p) {
		want := regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(lines[i]), -1)[2:] // without revision and time
		for j, cell := range want {
			if cell == "-" {
				want[j] = ""
			}
		}
		if strings.Join(got[1:], "|") != strings.Join(want, "|") {
			t.Errorf("the page says %q, the command %q", got[1:], lines[i])
		}
	}
}

// TestNewEventsComeByThemselves: at the top at once, and while somebody reads they wait.
func TestNewEventsComeByThemselves(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	p := n.open(t, "/ui/events", look{})
	p.says(eventRow, "first")
	n.set(t, "shop/cart", notServing, "second")
	p.until("it is at the top", `document.querySelector(`+quote(eventRow+`[aria-rowindex="1"]`)+`)?.innerText.includes("second")`)

	p.clickText("button", "Pause")
	for i := range 3 {
		n.set(t, "shop/cart", []status{serving, notServing, serving}[i], fmt.Sprint("while paused ", i))
	}
	p.says(hook("events-new"), "3 new events")
	if strings.Contains(p.text("main"), "while paused") {
		t.Error("they are shown although the list is paused")
	}
	p.click(hook("events-new"))
	p.says(eventRow, "while paused 2")
	p.gone(hook("events-new"))

	// With the keyboard in the list, it stays as it is, too.
	p.do(focus(".rows"))
	n.set(t, "shop/cart", notServing, "while read")
	p.says(hook("events-new"), "1 new event")
	p.until("what a screen reader says", `[...document.querySelectorAll("[aria-live]")].some((e) => e.textContent === "There are new events.")`)
	eval[chromedp.Void](p, `document.activeElement.blur()`)
	n.set(t, "shop/cart", serving, "after")
	p.says(eventRow, "after")
	p.says(eventRow, "while read")
}

// TestTheFilterStandsInTheAddress: a link shows the same, a field changes it, and what comes is filtered too.
func TestTheFilterStandsInTheAddress(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "cart up")
	n.set(t, "shop/pay", serving, "pay up")
	n.set(t, "web", serving, "web up")
	p := n.open(t, "/ui/events?prefix=shop%2F&type=reported", look{})
	p.says(eventRow, "pay up")
	p.says("summary", "Types: reported")
	if n := p.count(eventRow); n != 2 {
		t.Errorf("%d rows", n)
	}
	n.set(t, "web", notServing, "web down")
	n.set(t, "shop/pay", notServing, "pay down")
	p.says(eventRow, "pay down")
	if strings.Contains(p.text("main"), "web") {
		t.Error("an event is shown that the filter leaves out")
	}
	p.write(`input[name="prefix"]`, "")
	p.write(`input[name="service"]`, "shop/cart")
	p.press(kb.Enter)
	p.until("the address", `location.search.includes("service=shop%2Fcart") && !location.search.includes("prefix")`)
	p.until("one row", `document.querySelectorAll(`+quote(eventRow)+`).length === 1`)
	p.click("summary")
	p.click(`input[value="reported"]`)
	p.click(`input[value="deleted"]`)
	p.says("main", "No event matches.")
	p.until("the address", `new URLSearchParams(location.search).get("type") === "deleted"`)
	p.clickText("button", "Clear")
	p.says(eventRow, "web down")
	p.until("an address without a filter", `location.search === ""`)
	p.goTo("/ui/events?to=" + escaped(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	p.says("main", "No event matches.")
	p.gone(".toolbar button")
	p.goTo("/ui/events?actor=node+n1")
	p.says(eventRow, "member n1 at")
}

// TestDetailsOfAnEvent: by the keyboard, with all fields, and with a link.
func TestDetailsOfAnEvent(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	n.set(t, "shop/cart", notServing, "second")
	p := n.open(t, "/ui/events", look{})
	p.says(eventRow, "second")
	p.do(focus(".rows"))
	p.press(kb.ArrowDown, kb.ArrowUp, kb.Enter)
	p.says(".panel", "SERVING→NOT_SERVING: second.")
	for _, words := range []string{"effective status", "previous status", "commit revision", "not proved, from 127.0.0.1"} {
		p.says(".panel", words)
	}
	link := p.url()
	if !strings.Contains(link, "event=") {
		t.Errorf("the address is %s", link)
	}
	p.clickText("button", "Close")
	p.gone(".panel")
	if at := eval[string](p, `document.activeElement.getAttribute("role")`); at != "grid" {
		t.Errorf("the focus is at %q", at)
	}
	p.goTo(link)
	p.says(".panel", "second.")
	p.clickText(".panel a", "As it was then")
	p.says("h1", "shop/cart")
	p.says("main", "As it was at")
	p.goTo("/ui/events?event=999999")
	p.says("main", "999999")
}

// TestAnAtomicWriteIsOneRow, however many it changed.
func TestAnAtomicWriteIsOneRow(t *testing.T) {
	n := startNode(t)
	if err := fill(n, 450); err != nil {
		t.Fatal(err)
	}
	p := n.open(t, "/ui/events", look{})
	p.says(eventRow, "450 changes in one write")
	p.click(eventRow + `[aria-rowindex="1"]`)
	p.says(".panel", "The first 100")
	if got := p.count(".panel dl"); got != 100 {
		t.Errorf("%d events are told one by one", got)
	}
}

// TestManyEventsDoNotFillTheMemory: of those that come, the newest are kept.
func TestManyEventsDoNotFillTheMemory(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	p := n.open(t, "/ui/events", look{})
	p.says(eventRow, "first")
	for i := range 12 {
		status := []status{serving, notServing}[i%2]
		var changes []*rollcallv1.StatusChange
		for j := range 1_000 {
			changes = append(changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("load/%04d", j), Status: &status})
		}
		if _, err := n.client(t).BatchSetServingStatus(n.call(), &rollcallv1.BatchSetServingStatusRequest{Changes: changes, Reason: fmt.Sprint("wave ", i), Actor: "load"}); err != nil {
			t.Fatal(err)
		}
	}
	p.says(eventRow, "wave 11")
	p.says(".toolbar", "5,000 events")
	if rows := eval[int](p, `Number(document.querySelector(".rows").getAttribute("aria-rowcount"))`); rows != 5 {
		t.Errorf("%d rows for the newest 5 of 12 writes", rows)
	}
	// What was dropped comes back by paging.
	p.clickText("button", "Older events")
	p.until("the sixth write", `Number(document.querySelector(".rows").getAttribute("aria-rowcount")) === 6`)
}
