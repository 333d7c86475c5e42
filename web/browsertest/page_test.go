package browsertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	wide, high = 1280, 900
	narrow     = 320
	patience   = 15 * time.Second // how long a page may take to show what is waited for; the machine may be busy
)

// look is how a page is shown.
type look struct {
	dark, still bool // still: the user wants no motion
	width       int64
	zoom        float64 // 2: everything twice as large
	token       string
}

func (l look) String() string {
	s := "light"
	if l.dark {
		s = "dark"
	}
	if l.width != 0 && l.width != wide {
		s += fmt.Sprintf("-%d", l.width)
	}
	if l.zoom > 1 {
		s += fmt.Sprintf("-zoom%.0f", l.zoom*100)
	}
	return s
}

// A tab is a page of a node in a profile of its own. At the end of the test it fails for what the page did wrong.
type tab struct {
	t    testing.TB
	ctx  context.Context
	node *node
	look look

	mu       sync.Mutex
	faults   []string
	expected []*regexp.Regexp
	sent     map[network.RequestID]string
	bytes    int64 // received, headers and all
}

// open opens a path of a node, as "/ui/?q=cart".
func (n *node) open(t testing.TB, path string, l look) *tab {
	t.Helper()
	p := n.blank(t, l)
	p.goTo(path)
	return p
}

// blank is a tab that shows nothing yet.
func (n *node) blank(t testing.TB, l look) *tab {
	t.Helper()
	if l.width == 0 {
		l.width = wide
	}
	if l.zoom == 0 {
		l.zoom = 1
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p := &tab{t: t, ctx: ctx, node: n, look: l, sent: map[network.RequestID]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			p.shot("failed")
		}
		p.check()
		cancel()
	})
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	scheme, motion := "light", "no-preference"
	if l.dark {
		scheme = "dark"
	}
	if l.still {
		motion = "reduce"
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion}}})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: int64(float64(l.width) / l.zoom), Height: int64(high / l.zoom), DeviceScaleFactor: l.zoom})
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		addEventListener("securitypolicyviolation", (e) => (window.violations ??= []).push(e.violatedDirective + ": " + (e.blockedURI || e.sample)));
		` + signedIn(l.token)})
	return p
}

// tokenKey is where the page keeps the token.
const tokenKey = "rollcall-token"

func signedIn(token string) string {
	if token == "" {
		return ""
	}
	quoted, _ := json.Marshal(token)
	return fmt.Sprintf("try { sessionStorage.setItem(%q, %s) } catch {}", tokenKey, quoted)
}

// hear writes down what went wrong. It runs on the goroutine that reads from the browser.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := func(format string, args ...any) { p.faults = append(p.faults, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		fault("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "assert" || e.Type == "warning" {
			var args []string
			for _, a := range e.Args {
				args = append(args, string(a.Value)+a.Description)
			}
			fault("console.%s: %s", e.Type, strings.Join(args, " "))
		}
	case *log.EventEntryAdded:
		// That a call of the API failed is for the page to tell, and may be what a test is about.
		if e.Entry.Source != "network" && (e.Entry.Level == "error" || e.Entry.Level == "warning") {
			fault("%s of %s: %s %s", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		p.sent[e.RequestID] = e.Request.URL
		if url := e.Request.URL; !strings.HasPrefix(url, p.node.url("/")) && !strings.HasPrefix(url, "data:") && url != "about:blank" {
			fault("asked somebody else: %s", url)
		}
	case *network.EventResponseReceived:
		if strings.HasPrefix(e.Response.URL, p.node.url("/ui/")) && e.Response.Status >= 400 {
			fault("%s: %d", e.Response.URL, e.Response.Status)
		}
	case *network.EventDataReceived:
		p.bytes += e.EncodedDataLength
	}
}

// expect lets a fault pass that is what the test is about.
func (p *tab) expect(pattern string) { p.expected = append(p.expected, regexp.MustCompile(pattern)) }

func (p *tab) received() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// asked is how many requests the page has made whose address holds a text.
func (p *tab) asked(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, url := range p.sent {
		if strings.Contains(url, text) {
			n++
		}
	}
	return n
}

// check fails the test for what the page did wrong.
func (p *tab) check() {
	p.t.Helper()
	if violations, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](`window.violations ?? []`)); err == nil {
		for _, v := range violations {
			p.t.Errorf("the content security policy was violated: %s", v)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, f := range p.faults {
		for _, e := range p.expected {
			if e.MatchString(f) {
				continue next
			}
		}
		p.t.Errorf("the page: %s", f)
	}
	p.faults = nil
}

// goTo opens a path of the node, as if it were typed into the address bar.
func (p *tab) goTo(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.node.url(path)))
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// hook selects by a data-test attribute: hook("map"), hook("dialog").
func hook(name string) string { return fmt.Sprintf(`[data-test=%q]`, name) }

// eval runs an expression in the page. Chromium's own calls are not bound by the page's content security policy.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// call calls a method of the browser's protocol for this tab.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatalf("%s: %v", command.Method, err)
	}
	return r
}

// until waits until an expression is true, and says what it waited for if it never is.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	p.within(patience, what, expression)
}

func (p *tab) within(d time.Duration, what, expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		if eval[bool](p, "Boolean("+expression+")") {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s did not come within %s; the page shows:\n%.2000s", what, d, eval[string](p, "document.body.innerText"))
		}
	}
}

// see waits until an element is there and visible.
func (p *tab) see(selector string) {
	p.t.Helper()
	p.until(selector, fmt.Sprintf(`(() => { const e = document.querySelector(%s); return e && e.checkVisibility() && e.getClientRects().length > 0 })()`, quote(selector)))
}

// gone waits until no element is visible.
func (p *tab) gone(selector string) {
	p.t.Helper()
	p.until("no "+selector, fmt.Sprintf(`![...document.querySelectorAll(%s)].some((e) => e.checkVisibility())`, quote(selector)))
}

// text is what an element shows.
func (p *tab) text(selector string) string {
	p.t.Helper()
	p.see(selector)
	return eval[string](p, fmt.Sprintf(`document.querySelector(%s).innerText`, quote(selector)))
}

// says waits until an element shows a text.
func (p *tab) says(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q in %s", text, selector), fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.innerText.includes(%s))`, quote(selector), quote(text)))
}

// count is how many elements there are.
func (p *tab) count(selector string) int {
	p.t.Helper()
	return eval[int](p, fmt.Sprintf(`document.querySelectorAll(%s).length`, quote(selector)))
}

// click clicks the middle of the first such element, as a mouse does; it scrolls there first.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.see(selector)
	p.clickWhat(selector, fmt.Sprintf(`document.querySelector(%s)`, quote(selector)))
}

// clickText clicks the first such element that shows the text, as a button by its name.
func (p *tab) clickText(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll(%s)].find((e) => e.checkVisibility() && e.innerText.includes(%s))`, quote(selector), quote(text))
	what := fmt.Sprintf("%s with %q", selector, text)
	p.until(what, find)
	p.clickWhat(what, find)
}

// clickWhat clicks what the expression finds.
func (p *tab) clickWhat(what, find string) {
	p.t.Helper()
	// What is loaded above it may push it away between the question where it is and the click.
	var at []float64
	for deadline := time.Now().Add(patience); ; {
		at = eval[[]float64](p, `(async () => {
			const e = `+find+`;
			if (!e) return [];
			e.scrollIntoView({ block: "center", behavior: "instant" });
			const before = e.getBoundingClientRect();
			await new Promise((r) => setTimeout(r, 100));
			const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
			return r.y === before.y && e.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
		})()`)
		if len(at) == 2 {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not stand still, or lies under something", what)
		}
	}
	p.do(chromedp.MouseClickXY(at[0], at[1]))
}

// write replaces what stands in a field by a text, typed key by key.
func (p *tab) write(selector, text string) {
	p.t.Helper()
	p.see(selector)
	eval[chromedp.Void](p, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.focus(); e.select?.() })()`, quote(selector)))
	if text == "" {
		p.press(kb.Delete)
		return
	}
	p.do(chromedp.KeyEvent(text))
}

// press presses keys, as kb.Tab or "x".
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		p.do(chromedp.KeyEvent(k))
	}
}

// focused is the element with the keyboard's focus, as its data-test attribute, else its tag and text.
func (p *tab) focused() string {
	p.t.Helper()
	return eval[string](p, `(() => { const e = document.activeElement; return e.dataset.test ?? e.tagName.toLowerCase() + " " + (e.innerText || e.ariaLabel || "").trim().slice(0, 40) })()`)
}

// url is the path and query of the address bar.
func (p *tab) url() string {
	p.t.Helper()
	return eval[string](p, `location.pathname + location.search`)
}

// shot keeps a picture of what can be seen, named after the test, what and the look.
func (p *tab) shot(what string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Logf("no picture: %v", err)
		return
	}
	name := regexp.MustCompile(`[^\w.,=-]+`).ReplaceAllString(p.t.Name()+"-"+what, "_") + "-" + p.look.String() + ".png"
	if err := os.WriteFile(filepath.Join(*pictures, name), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
