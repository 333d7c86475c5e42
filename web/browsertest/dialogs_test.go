package browsertest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func init() {
	open := func(path, button string) func(p *tab) {
		return func(p *tab) {
			p.goTo(path)
			p.clickButton("main button", button)
			p.see(hook("dialog"))
			p.says(hook("dialog"), "Your name")
		}
	}
	checked := func(path, button string) func(p *tab) {
		return func(p *tab) {
			open(path, button)(p)
			p.fillIn("a drill", "ann@laptop")
			p.click(hook("dialog-check"))
			p.until("an answer", `!document.querySelector('[data-test="dialog-check"]').disabled && document.querySelector('[data-test="dialog-dryrun"]').innerText.length > 20`)
		}
	}
	scenes = append(scenes,
		scene{name: "dialog-set", sizes: []int{1_000}, show: open("/ui/service?name=shop%2Fcart", "Set…")},
		scene{name: "dialog-set-checked", sizes: []int{1_000}, show: checked("/ui/service?name=shop%2Fcart", "Set…")},
		scene{name: "dialog-delete-checked", sizes: []int{1_000}, show: checked("/ui/service?name=shop%2Fcart", "Delete…")},
		scene{name: "dialog-rule", sizes: []int{1_000}, show: open("/ui/cluster", "Add a rule")},
		scene{name: "dialog-clear-checked", sizes: []int{1_000, 100_000}, show: checked("/ui/cluster", "End")},
		scene{name: "dialog-shutdown-checked", show: checked("/ui/cluster", "Shut the registry down")},
		scene{name: "dialog-unknown", sizes: []int{1_000}, show: func(p *tab) {
			checked("/ui/service?name=shop%2Fcart", "Set…")(p)
			p.loseAnswers(1, false)
			p.click(hook("dialog-submit"))
			p.says(hook("dialog-error"), "not known")
		}},
	)
}

// fillIn writes the reason, and who one is, into the dialog.
func (p *tab) fillIn(reason, name string) {
	p.t.Helper()
	p.write(hook("dialog-reason"), reason)
	p.says(hook("dialog"), "Your name")
	p.write(`[data-test="dialog"] input[maxlength="256"]`, name)
}

// clickButton clicks a button of a view when nothing has moved for a moment: what comes later moves what is below it.
func (p *tab) clickButton(selector, text string) {
	p.t.Helper()
	p.until(text, fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.innerText.includes(%s))`, quote(selector), quote(text)))
	for range 20 {
		if eval[bool](p, `(async () => { const height = () => document.querySelector("main").scrollHeight, was = height(); await new Promise((done) => setTimeout(done, 300)); return height() === was })()`) {
			break
		}
	}
	p.clickText(selector, text)
}

// choose sets a select as a person does.
func (p *tab) choose(selector, value string) {
	p.t.Helper()
	eval[chromedp.Void](p, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; for (const type of ["input", "change"]) e.dispatchEvent(new Event(type, { bubbles: true })) })()`, quote(selector), quote(value)))
}

// loseAnswers has the next answers to changes lost on their way to the page; with through the changes reach the node.
func (p *tab) loseAnswers(n int, through bool) {
	p.t.Helper()
	eval[chromedp.Void](p, fmt.Sprintf(`(() => {
		const real = window.real ??= window.fetch;
		let lose = %d;
		window.ids = [];
		window.fetch = async (url, o) => {
			const dry = !o || (o.method ?? "GET") === "GET" || /validate_only/.test(String(url) + (o.body ?? ""));
			if (dry) return real(url, o);
			ids.push(/request_id["=:]+([\w-]+)/.exec(String(url) + (o.body ?? ""))?.[1]);
			if (lose-- <= 0) return real(url, o);
			if (%t) await real(url, o);
			throw new TypeError("the connection is lost");
		};
	})()`, n, through))
}

// events are those of a service, the oldest first.
func (n *node) events(t testing.TB, service string) []*rollcallv1.Event {
	t.Helper()
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	page, err := rollcallv1.NewRegistryClient(conn).ListEvents(n.call(), &rollcallv1.ListEventsRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return page.GetEvents()
}

const cart = "/ui/service?name=shop%2Fcart"

func (p *tab) disabled(test string) bool {
	p.t.Helper()
	return eval[bool](p, `document.querySelector(`+quote(hook(test))+`).disabled`)
}

// TestADialogNeedsAReasonAndACheck before it changes anything, and after it the focus is where it was.
func TestADialogNeedsAReasonAndACheck(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, cart, look{})
	p.clickButton("main button", "Set…")
	p.see(hook("dialog"))
	if !p.disabled("dialog-submit") {
		t.Error("it can be applied before it was checked")
	}
	p.click(hook("dialog-check"))
	if !eval[bool](p, `document.querySelector('[data-test="dialog-reason"]').matches(":invalid:focus")`) {
		t.Error("it is checked without a reason")
	}
	p.fillIn("disk swap", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "NOT_SERVING")
	if len(n.events(t, "shop/cart")) != 1 {
		t.Error("the check changed something")
	}
	p.write(hook("dialog-reason"), "disk swap in rack 7")
	if !p.disabled("dialog-submit") {
		t.Error("what was not checked can be applied")
	}
	p.press(kb.Enter) // checks, and does not apply
	p.says(hook("dialog-dryrun"), "NOT_SERVING")
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-done"), "revision")
	p.click(hook("dialog-close"))
	p.gone(hook("dialog"))
	if got := p.focused(); !strings.Contains(got, "Set") {
		t.Errorf("the focus is at %s", got)
	}
	events := n.events(t, "shop/cart")
	if e := events[len(events)-1]; len(events) != 2 || e.GetStatus() != notServing || e.GetReason() != "disk swap in rack 7" || e.GetActor().GetName() != "ann@laptop" {
		t.Errorf("the history is %v", events)
	}
}

// TestEscapeChangesNothing, also after a check.
func TestEscapeChangesNothing(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, cart, look{})
	p.clickButton("main button", "Set…")
	p.fillIn("disk swap", "ann@laptop")
	p.click(hook("dialog-check"))
	p.see(hook("dialog-dryrun"))
	p.press(kb.Escape)
	p.gone(hook("dialog"))
	if got := p.focused(); !strings.Contains(got, "Set") {
		t.Errorf("the focus is at %s", got)
	}
	if len(n.events(t, "shop/cart")) != 1 {
		t.Error("something was changed")
	}
}

// TestAChangeInBetweenIsSeen: what was checked is not made over something else.
func TestAChangeInBetweenIsSeen(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, cart, look{})
	p.clickButton("main button", "Set…")
	p.fillIn("disk swap", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "before")
	n.set(t, "shop/cart", unknown, "in between")
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-error"), "Nothing was changed")
	p.says(hook("dialog-error"), "Check again.")
	p.shot("refused")
	if !p.disabled("dialog-submit") {
		t.Error("it can be applied without another check")
	}
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "in between")
	p.click(hook("dialog-submit"))
	p.see(hook("dialog-done"))
}

// TestALostAnswer: it is said that the change may be made, and trying again makes it once, whether it was made or not.
func TestALostAnswer(t *testing.T) {
	for name, through := range map[string]bool{"of a change that was made": true, "of one that was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t)
			n.set(t, "shop/cart", serving, "before")
			p := n.open(t, cart, look{})
			p.clickButton("main button", "Set…")
			p.fillIn("disk swap", "ann@laptop")
			p.click(hook("dialog-check"))
			p.see(hook("dialog-dryrun"))
			p.loseAnswers(2, through)
			for range 2 {
				p.click(hook("dialog-submit"))
				p.says(hook("dialog-error"), "not known whether the change was made")
				p.says(hook("dialog-submit"), "Try again")
			}
			if !eval[bool](p, `document.querySelector('[data-test="dialog-reason"]').matches(":disabled")`) {
				t.Error("another change could be sent with the same id")
			}
			p.shot("unknown")
			p.click(hook("dialog-submit"))
			p.see(hook("dialog-done"))
			if ids := eval[[]string](p, "window.ids"); len(ids) != 3 || len(slices.Compact(slices.Clone(ids))) != 1 || len(ids[0]) < 32 {
				t.Errorf("the ids were %v", ids)
			}
			if events := n.events(t, "shop/cart"); len(events) != 2 {
				t.Errorf("%d changes were made, want one: %v", len(events)-1, events)
			}
		})
	}
}

// TestADoubleClickWritesOnce.
func TestADoubleClickWritesOnce(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, cart, look{})
	p.clickButton("main button", "Set…")
	p.fillIn("disk swap", "ann@laptop")
	p.click(hook("dialog-check"))
	p.see(hook("dialog-dryrun"))
	p.loseAnswers(0, true) // notes what is sent
	eval[chromedp.Void](p, `(() => { const b = document.querySelector('[data-test="dialog-submit"]'); b.click(); b.click(); b.click() })()`)
	p.see(hook("dialog-done"))
	if ids := eval[[]string](p, "window.ids"); len(ids) != 1 {
		t.Errorf("%d requests were sent", len(ids))
	}
}

// TestAnOverrideThatBreaksARule says which, and needs a tick and a reason of its own.
func TestAnOverrideThatBreaksARule(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "pay/a", serving, "before")
	n.set(t, "pay/b", serving, "before")
	if _, err := n.client(t).SetRule(n.call(), &rollcallv1.SetRuleRequest{Name: "pay-min", Pattern: "pay/*", MinServing: new(int64(1)), Actor: "ops"}); err != nil {
		t.Fatal(err)
	}
	p := n.open(t, "/ui/cluster", look{})
	p.clickButton("main button", "Set an override")
	p.write(`[data-test="dialog"] input[maxlength="258"]`, "pay/*")
	p.fillIn("ledger", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("broken-rule"), "pay-min (pay/*: 1 needed, 0 of 2 would serve)")
	p.says(hook("dialog-dryrun"), "2 of 2 services would change")
	p.shot("broken")
	p.axe()
	p.loseAnswers(0, true) // notes what is sent
	for _, missing := range []string{"[type=checkbox]", ":not([type=checkbox])"} {
		p.click(hook("dialog-submit"))
		p.until("the browser says what is missing", `document.querySelector('[data-test="dialog-dryrun"] input`+missing+`:invalid:focus')`)
		if n := eval[int](p, "window.ids.length"); n != 0 {
			t.Fatal("the glass breaks without a tick and a reason of its own")
		}
		if missing == "[type=checkbox]" {
			p.click(hook("dialog-dryrun") + " input[type=checkbox]")
		}
	}
	p.write(hook("dialog-dryrun")+" input:not([type=checkbox])", "it is corrupt")
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-done"), "Override pay/* NOT_SERVING")
	p.says(hook("broken-rule"), "0 of 2 serve")
	p.click(hook("dialog-close"))
	p.says("main", "ledger; rules may be broken: it is corrupt")
	var broke []string
	for _, e := range n.events(t, "pay/a") {
		broke = append(broke, e.GetBreakGlass()...)
	}
	if !slices.Equal(broke, []string{"pay-min"}) {
		t.Errorf("the history has %v", broke)
	}
	p.clickButton("main td button", "End")
	p.fillIn("repaired", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "SERVING")
	p.click(hook("dialog-submit"))
	p.see(hook("dialog-done"))
}

// TestShutdownAndResume of the whole registry.
func TestShutdownAndResume(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/cluster", look{})
	p.clickButton("main button", "Shut the registry down")
	p.says(hook("dialog"), "every service, over all other overrides")
	p.write(hook("dialog")+" input", "30m")
	p.fillIn("drill", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "1 of 1 service would change")
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-done"), "Override ** NOT_SERVING by ann@laptop until")
	p.click(hook("dialog-close"))
	p.says(hook("problem"), "THE REGISTRY IS SHUT DOWN")
	p.shot("shut-down")
	p.clickButton("main td button", "End")
	p.says(hook("dialog"), "Resume")
	p.fillIn("drill is over", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "1 of 1 service would change")
	p.click(hook("dialog-submit"))
	p.see(hook("dialog-done"))
	p.click(hook("dialog-close"))
	p.gone(hook("problem"))
}

// TestRules are added, changed and removed.
func TestRules(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, "/ui/cluster", look{})
	apply := func(says string) {
		t.Helper()
		p.fillIn("never both", "ann@laptop")
		p.click(hook("dialog-check"))
		p.says(hook("dialog-dryrun"), says)
		p.click(hook("dialog-submit"))
		p.see(hook("dialog-done"))
		p.click(hook("dialog-close"))
		p.gone(hook("dialog"))
	}
	p.clickButton("main button", "Add a rule")
	p.write(`[data-test="dialog"] input[maxlength="64"]`, "shop-min")
	p.write(`[data-test="dialog"] input[maxlength="258"]`, "shop/*")
	p.write(`[data-test="dialog"] input[type=number]`, "1")
	apply("at least 1 of shop/*")
	p.says("main td", "1 of 1 is SERVING, none may stop")

	p.clickButton("main button", "Change")
	p.write(`[data-test="dialog"] input[type=number]`, "2")
	apply("at least 2 of shop/*")
	p.says(hook("problem"), "rule shop-min is broken")
	p.says("main td", "▲ broken: 1 of 1 is SERVING, 1 too few")

	p.clickButton("main button", "Remove")
	apply("Nothing stands against it")
	p.gone(hook("problem"))
}

// TestDelete forgets a service.
func TestDelete(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.set(t, "shop/cart", serving, "before")
	p := n.open(t, cart, look{})
	p.clickButton("main button", "Delete…")
	p.fillIn("retired", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-dryrun"), "SERVICE_UNKNOWN")
	p.click(hook("dialog-submit"))
	p.says(hook("dialog-done"), "Delete shop/cart: done")
	events := n.events(t, "shop/cart")
	if e := events[len(events)-1]; e.GetType() != rollcallv1.EventType_EVENT_TYPE_DELETED || e.GetReason() != "retired" {
		t.Errorf("the last event is %v", e)
	}
}

// TestAReportThatALeaseHolds is not set by hand: the dialog says what to do instead.
func TestAReportThatALeaseHolds(t *testing.T) {
	n := sharedNode(t, 1_000)
	p := n.open(t, "/ui/service?name=shop%2Fpay", look{})
	p.clickButton("main button", "Set…")
	p.fillIn("disk swap", "ann@laptop")
	p.click(hook("dialog-check"))
	p.says(hook("dialog-error"), "An override decides over its reporter")
	p.axe()
}
