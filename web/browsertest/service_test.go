package browsertest_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	reasons = `[data-test="service-why"] li`
	entries = `[data-test="service-timeline"] li`
)

// status is of a service.
type status = healthpb.HealthCheckResponse_ServingStatus

func init() {
	service := func(name, path, shows string, sizes ...int) scene {
		return scene{name: name, sizes: sizes, show: func(p *tab) {
			p.goTo(path)
			p.says(hook("service-status"), shows)
			p.see(entries)
		}}
	}
	scenes = append(scenes,
		service("service", cart, "SERVING", 1_000, 100_000),
		service("service-with-lease", "/ui/service?name=shop%2Fpay", "SERVING", 1_000),
		service("service-under-override", "/ui/service?name=group-000%2Fservice-00000", "NOT_SERVING*", 1_000),
		scene{name: "service-past", sizes: []int{1_000}, show: func(p *tab) {
			p.goTo(cart)
			p.see(entries)
			p.goTo(eval[string](p, `(() => { const a = document.querySelector(`+quote(entries+":last-child a")+`); return a.pathname + a.search })()`))
			p.says("main", "As it was at")
			p.see(entries)
		}},
		scene{name: "service-missing", show: func(p *tab) {
			p.goTo("/ui/service?name=there%2Fis%2Fnone")
			p.says(hook("service-status"), "There is no service of this name.")
		}},
		scene{name: "service-that-may-not-be-changed", secure: true, reader: true, show: func(p *tab) {
			p.goTo(cart)
			p.says("main", "you need the verb report and override over it")
			p.see(entries)
		}},
	)
}

// command is what a command prints, by lines.
func command(t testing.TB, n *node, args ...string) []string {
	t.Helper()
	out, err := exec.Command(*program, append(args, "--endpoints", n.api)...).Output()
	if err != nil {
		t.Fatalf("rollcall %s: %v", strings.Join(args, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// passing are what differs between two answers because time passes.
var passing = regexp.MustCompile(`\(\d+[smhd]\)|in [0-9.]+m?[smhd]\S*|for [0-9.]+m?s`)

// TestAServiceSaysWhyInTheWordsOfTheCommand: whatever decides, the page and "rollcall why" say the same.
func TestAServiceSaysWhyInTheWordsOfTheCommand(t *testing.T) {
	n := startNode(t)
	admin, ctx := n.client(t), n.call()
	override := func(pattern string, s status, reason string, ttl time.Duration) {
		t.Helper()
		request := &rollcallv1.SetOverrideRequest{Pattern: pattern, Status: &s, Reason: reason, Actor: "ann", Forever: ttl == 0}
		if reason != "" {
			request.BreakGlass = []string{"half"} // which needs a reason
		}
		if ttl != 0 {
			request.Ttl = durationpb.New(ttl)
		}
		if _, err := admin.SetOverride(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	n.set(t, "shop/cart", serving, "deployed\n1.4.2")
	n.set(t, "shop/pay", notServing, "")
	p := n.open(t, cart, look{})
	same := func(what string) {
		t.Helper()
		var got, want []string
		for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
			want = command(t, n, "why", "shop/cart")
			got = eval[[]string](p, `[...document.querySelectorAll(`+quote(reasons)+`)].map((e) => e.innerText)`)
			if passing.ReplaceAllString(strings.Join(got, "\n"), "…") == passing.ReplaceAllString(strings.Join(want, "\n"), "…") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the page says\n%s\nthe command says\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	same("a report")
	if _, err := admin.SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "half", Pattern: "shop/*", MinPercent: new(int32(50)), Actor: "ann"}); err != nil {
		t.Fatal(err)
	}
	n.set(t, "shop/cart", serving, "again")
	same("a rule")
	n.set(t, "shop/pay", serving, "it frees the rule")
	override("*", unknown, "all", 2*time.Hour)
	override("shop/cart", notServing, "disk swap", time.Hour)
	same("an override over another")
	override("**", serving, "", 0)
	same("the switch of the registry")
	for _, pattern := range []string{"**", "shop/cart", "*"} {
		if _, err := admin.ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Pattern: pattern, Actor: "ann", BreakGlass: []string{"half"}, Reason: "over"}); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Hour), ForgetAfter: durationpb.New(36 * time.Hour), Actor: "cart-1"})
	if err != nil {
		t.Fatal(err)
	}
	up := serving
	if _, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "shop/cart", Status: &up, Actor: "cart-1", LeaseId: lease.GetLeaseId()}); err != nil {
		t.Fatal(err)
	}
	same("a lease")
	if _, err := admin.RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: lease.GetLeaseId(), Actor: "cart-1"}); err != nil {
		t.Fatal(err)
	}
	same("the end of a lease")
}

// TestAServiceIsShownLive: what changes is shown at once, and who reads on keeps the place.
func TestAServiceIsShownLive(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	p := n.open(t, cart, look{})
	p.says(hook("service-status"), "● SERVING")
	p.says(entries, "first")
	p.do(focus(entries + " a"))
	was := p.focused()
	n.set(t, "shop/cart", notServing, "second")
	p.says(hook("service-status"), "▲ NOT_SERVING")
	p.says(entries+":first-child", "SERVING→NOT_SERVING")
	p.says(reasons, "test said NOT_SERVING")
	p.until("what a screen reader says", `[...document.querySelectorAll("[aria-live]")].some((e) => e.textContent.includes("shop/cart is now NOT_SERVING"))`)
	if now := p.focused(); now != was {
		t.Errorf("the focus went from %q to %q", was, now)
	}
}

// TestTheSliderShowsWhatWas: by the keyboard, by a link, and back.
func TestTheSliderShowsWhatWas(t *testing.T) {
	n := startNode(t)
	for i, status := range []status{unknown, serving, notServing} {
		n.set(t, "shop/cart", status, fmt.Sprintf("change %d", i))
		time.Sleep(50 * time.Millisecond)
	}
	p := n.open(t, cart, look{})
	p.says(entries, "change 2")
	p.until("the slider", `document.querySelector(`+quote(hook("as-of"))+`).getAttribute("aria-valuetext") === "now"`)
	p.do(focus(hook("as-of")))
	p.press(kb.ArrowLeft, kb.ArrowLeft) // to the begin of what is now, and of what was before
	p.says(hook("service-status"), "● SERVING")
	p.says("main", "As it was at")
	p.says("main", "Now it is NOT_SERVING.")
	p.says(reasons, "test said SERVING")
	if words := eval[string](p, `document.querySelector(`+quote(hook("as-of"))+`).getAttribute("aria-valuetext")`); !strings.HasSuffix(words, " SERVING") {
		t.Errorf("the slider says %q", words)
	}
	at := p.url()
	if !regexp.MustCompile(`&at=\d+$`).MatchString(at) {
		t.Errorf("the address is %s", at)
	}
	p.press(kb.ArrowLeft)
	p.says(hook("service-status"), "◆ UNKNOWN")
	p.press(kb.Home)
	p.says(hook("service-status"), "It did not exist then.")
	p.says("main", "It was first written at")
	p.press(kb.End)
	p.says(hook("service-status"), "▲ NOT_SERVING")
	p.gone(".as-of")
	if url := p.url(); strings.Contains(url, "at=") {
		t.Errorf("now has the address %s", url)
	}
	p.goTo(at)
	p.says(hook("service-status"), "● SERVING")
	p.clickText(".as-of button", "Now")
	p.says(hook("service-status"), "▲ NOT_SERVING")
	p.clickText("main button", "Earlier change")
	p.says("main", "As it was at")
	p.clickText("main button", "Later change")
	p.gone(".as-of")
}

// TestASliderThatIsDraggedAsksSeldom: of many positions in a moment the page asks for the first and the last, and shows the last.
func TestASliderThatIsDraggedAsksSeldom(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	time.Sleep(200 * time.Millisecond) // the slider begins a fiftieth of that before the service, which is to be more than a millisecond
	p := n.open(t, cart, look{})
	p.says(entries, "first")
	p.says(hook("service-status"), "● SERVING")
	// From now to before the service was there, in one go.
	p.until("the slider", `(() => {
		const e = document.querySelector(`+quote(hook("as-of"))+`);
		if (e.getAttribute("aria-valuetext") !== "now") return false;
		const from = +e.max, to = +e.min;
		for (let i = 1; i <= 100; i++) {
			e.value = from + ((to - from) * i) / 100;
			e.dispatchEvent(new Event("input"));
		}
		return true;
	})()`)
	p.says(hook("service-status"), "It did not exist then.")
	p.until("the time in the address", `location.search.includes("&at=")`)
	if asked := p.asked("at.time="); asked != 2 {
		t.Errorf("the page asked %d times", asked)
	}
}

// TestAServiceThatDidNotExistThen: it says so, what happened before and after, and has links there.
func TestAServiceThatDidNotExistThen(t *testing.T) {
	n := startNode(t)
	n.set(t, "other", serving, "")
	n.set(t, "shop/cart", unknown, "first")
	if _, err := n.client(t).DeleteService(n.call(), &rollcallv1.DeleteServiceRequest{Service: "shop/cart", Reason: "retired", Actor: "ann"}); err != nil {
		t.Fatal(err)
	}
	n.set(t, "shop/cart", serving, "second")
	events := n.events(t, "shop/cart")
	at := func(revision int64) string { return fmt.Sprintf("%s&at=%d", cart, revision) }
	p := n.open(t, at(events[0].GetRevision()-1), look{})
	p.says(hook("service-status"), "It did not exist then.")
	p.says("main", "It was first written at")
	p.says("main", "by test: first.")
	p.says("main", "Now it is SERVING.")
	p.says("main", fmt.Sprintf("revision %d", events[0].GetRevision()-1))
	p.shot("before")
	p.clickText("main a", "Show it then")
	p.says(hook("service-status"), "◆ UNKNOWN")
	p.says(reasons, "test said UNKNOWN")
	p.goTo(at(events[1].GetRevision()))
	p.says(hook("service-status"), "It did not exist then.")
	p.says("main", "ann deleted it at")
	p.says("main", "It was written again at")
	p.says("main", "by test: second.")
	p.shot("between")
	d := n.open(t, p.url(), look{dark: true, width: 390})
	d.says("main", "It was written again at")
	d.shot("between")
	p.axe()
	p.clickText("main a", "Show it before that")
	p.says(hook("service-status"), "◆ UNKNOWN")
	p.do(chromedp.NavigateBack())
	p.clickText("main a", "Show it then")
	p.says(hook("service-status"), "● SERVING")
	p.says(reasons, "test said SERVING")
	p.goTo("/ui/service?name=never%2Fwas&at=1")
	p.says(hook("service-status"), "It did not exist then.")
	p.says("main", "It was never written.")
	p.says("main", "Now it does not exist.")
}

// TestWhatDoesNotExistSaysSo: a deleted service has its history, and who deleted it.
func TestWhatDoesNotExistSaysSo(t *testing.T) {
	n := startNode(t)
	n.set(t, "shop/cart", serving, "first")
	if _, err := n.client(t).DeleteService(n.call(), &rollcallv1.DeleteServiceRequest{Service: "shop/cart", Reason: "retired", Actor: "ann"}); err != nil {
		t.Fatal(err)
	}
	p := n.open(t, cart, look{})
	p.says(hook("service-status"), "There is no service of this name.")
	p.says(hook("service-status"), "ann deleted it at")
	p.says(hook("service-status"), "retired.")
	p.says(entries, "SERVING→deleted")
	n.set(t, "shop/cart", serving, "back")
	p.says(hook("service-status"), "● SERVING")
	p.goTo("/ui/service?name=" + "never%2Fwas")
	p.says(hook("service-status"), "There is no service of this name.")
}

// TestOlderEventsOfAService come by pages, and what is not kept is said.
func TestOlderEventsOfAService(t *testing.T) {
	n := startNode(t, "--history-events", "100")
	for i := range 130 {
		status := serving
		if i%2 == 0 {
			status = notServing
		}
		n.set(t, "shop/cart", status, "change "+strconv.Itoa(i))
	}
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(4 * patience); ; time.Sleep(time.Second) { // the leader looks every ten seconds
		list, err := rollcallv1.NewRegistryClient(conn).ListEvents(n.call(), &rollcallv1.ListEventsRequest{PageSize: 1})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("all events are kept, or %v", err)
		}
		if list.GetOldestRevision() > 1 {
			break
		}
	}
	p := n.open(t, cart, look{})
	p.says(entries, "change 129")
	p.until("a page", `document.querySelectorAll(`+quote(entries)+`).length === 50`)
	for range 3 {
		if eval[bool](p, `[...document.querySelectorAll("button")].some((b) => b.innerText === "Older events" && b.checkVisibility())`) {
			have := p.count(entries)
			p.clickText("button", "Older events")
			p.until("older ones", fmt.Sprintf(`document.querySelectorAll(%s).length > %d`, quote(entries), have))
		}
	}
	p.says("main", "are not kept any more.")
	if n := p.count(entries); n >= 130 || n < 100 {
		t.Errorf("%d events are shown", n)
	}
}

// TestNamesThatAreHardToPutIntoAnAddress: each is shown, and its links lead to it.
func TestNamesThatAreHardToPutIntoAnAddress(t *testing.T) {
	n := startNode(t)
	p := n.blank(t, look{})
	for i, name := range []string{"a//b", "/a/", "x:watch", "100%/a?b#c&d", "ünï/コード", "a%2Fb", "a+b;c", "a/../b", "..", "."} {
		n.set(t, name, serving, fmt.Sprint("reason ", i))
		p.goTo("/ui/service?name=" + escaped(name))
		p.says(hook("service-status"), "● SERVING")
		p.says("h1", name)
		p.says(entries, fmt.Sprint("reason ", i))
		p.click(entries + " a")
		p.says("main", "As it was at")
		p.says("h1", name)
	}
}

// TestNamesThatNoPathCanHold: browsers take "." and ".." for a way through folders. They are set, deleted and shown all the same.
func TestNamesThatNoPathCanHold(t *testing.T) {
	n := startNode(t)
	n.set(t, "...", serving, "another one")
	for _, name := range []string{".", ".."} {
		p := n.open(t, "/ui/service?name="+name, look{})
		p.says(hook("service-status"), "There is no service of this name.")
		p.clickButton("main button", "Set…")
		p.see(hook("dialog"))
		p.fillIn("a drill", "ann@laptop")
		p.click(hook("dialog-check"))
		p.says(hook("dialog-dryrun"), "Then: ▲ NOT_SERVING")
		p.click(hook("dialog-submit"))
		p.says(hook("service-status"), "▲ NOT_SERVING")
		p.says(hook("dialog"), "done, revision")
		p.click(hook("dialog-close"))
		p.says(entries, "a drill")
		p.clickButton("main button", "Set…")
		p.see(hook("dialog"))
		p.fillIn("a drill", "ann@laptop")
		p.click(hook("dialog-check"))
		p.says(hook("dialog-dryrun"), "It is so already")
		p.press(kb.Escape)
		p.gone(hook("dialog"))
		p.clickButton("main button", "Delete…")
		p.see(hook("dialog"))
		p.fillIn("it is over", "ann@laptop")
		p.click(hook("dialog-check"))
		p.says(hook("dialog-dryrun"), "Then: ○ SERVICE_UNKNOWN")
		p.click(hook("dialog-submit"))
		p.says(hook("service-status"), "ann@laptop deleted it at")
	}
}
