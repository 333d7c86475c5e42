package browsertest_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func init() {
	access := func(p *tab) {
		p.goTo("/ui/access")
		p.says("main", "Access is enforced")
	}
	scenes = append(scenes,
		scene{name: "access", sizes: []int{1}, show: func(p *tab) {
			p.goTo("/ui/access")
			p.says("main", "Access is not enforced")
			p.says("main td", "operator")
		}},
		scene{name: "access-secure", secure: true, show: access},
		scene{name: "access-reader", secure: true, reader: true, show: access},
	)
}

// endingToken makes a token whose text nobody knows.
func (n *node) endingToken(t testing.TB, name string, ttl time.Duration) {
	t.Helper()
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	hash := make([]byte, 32)
	copy(hash, name)
	if _, err := rollcallv1.NewAccessClient(conn).CreateToken(n.call(), &rollcallv1.CreateTokenRequest{
		Name: name, SecretSha256: hash, Ttl: durationpb.New(ttl), Description: "for the pipeline", Reason: "test",
		Grants: []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/*"}}},
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTheAccessView shows an administrator who may do what, and a token is revoked there.
func TestTheAccessView(t *testing.T) {
	t.Parallel()
	n := startSecure(t)
	n.endingToken(t, "ci", 90*24*time.Hour)
	n.endingToken(t, "old", 24*time.Hour)
	p := n.open(t, "/ui/access", look{token: n.admin})
	p.says(hook("access-token-row"), "ci")
	p.says(hook("access-token-row"), "reporter on shop/*")
	if soon := p.text(hook("access-token-row") + " .error"); soon[:len("▲")] != "▲" {
		t.Errorf("a token that ends in a day is marked %q", soon)
	}
	p.says("main code", "rollcall token create NAME")
	p.shot("tokens")
	p.axe()

	p.write("main form input", "token:ci")
	p.write("main form div > div:nth-of-type(3) input", "shop/cart")
	p.clickText("main form button", "Ask")
	p.says("main form [role=status]", "● Yes")
	p.write("main form div > div:nth-of-type(3) input", "pay/cart")
	p.clickText("main form button", "Ask")
	p.says("main form [role=status]", "▲ No")

	p.write("main input[type=search]", "old")
	p.until("one token", `document.querySelectorAll('[data-test="access-token-row"]').length === 1`)
	if got := p.url(); got != "/ui/access?q=old" {
		t.Errorf("the address is %s", got)
	}
	p.clickButton("main td button", "Revoke")
	p.says(hook("dialog"), "Revoke token old")
	p.write(hook("dialog-reason"), "it was in a log")
	p.click(hook("dialog-check"))
	p.see(hook("dialog-dryrun"))
	p.axe()
	p.click(hook("dialog-submit"))
	p.see(hook("dialog-done"))
	p.click(hook("dialog-close"))
	p.until("no token", `document.querySelectorAll('[data-test="access-token-row"]').length === 0`)
}

// TestWhoMayNotIsOfferedNothing: no button that would only be refused, and what is not shown is said.
func TestWhoMayNotIsOfferedNothing(t *testing.T) {
	p := sharedSecure(t).open(t, "/ui/access", look{})
	p.says("main", "Access is enforced")
	p.until("no button for a change", `![...document.querySelectorAll("main button")].some((b) => /Revoke/.test(b.innerText))`)
	p.goTo("/ui/cluster")
	p.see(hook("cluster-node"))
	p.says("main td", "shop-min")
	p.until("no button for a change", `![...document.querySelectorAll("main button")].some((b) => /rule|override|registry|leadership|End|Change|Remove/.test(b.innerText))`)
}
