package httpapi

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

func TestProbesOfTheAgent(t *testing.T) {
	f := newFake("a")
	_, address := serve(t, f, Options{})
	for _, target := range []string{"/livez", "/readyz", "/readyz/", "/readyz?service="} {
		if code, _, body := raw(t, address, request("GET", target, "")); code != 200 || body != "ok\n" {
			t.Errorf("%s: %d %q", target, code, body)
		}
		if code, header, body := raw(t, address, request("HEAD", target, "")); code != 200 || body != "" || header.Get("Content-Length") != "3" {
			t.Errorf("HEAD %s: %d %q", target, code, body)
		}
	}
	f.ready = errors.New("3 checks have not run yet")
	if code, _, body := raw(t, address, request("GET", "/readyz", "")); code != 503 || body != "3 checks have not run yet\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _, _ := raw(t, address, request("GET", "/livez", "")); code != 200 {
		t.Errorf("/livez of an agent that is not ready: %d", code)
	}
}

// TestVerboseProbes: ?verbose lists the parts, as the probes of a node do. The registry is shown and does not count.
func TestVerboseProbes(t *testing.T) {
	f := newFake("a")
	_, address := serve(t, f, Options{})
	for _, test := range []struct {
		change func()
		target string
		code   int
		want   string
	}{
		{func() {}, "/readyz?verbose", 200, "[+]checks ok\n[+]registry ok\nreadyz check passed\n"},
		{func() {}, "/livez?verbose", 200, "[+]loops ok\nlivez check passed\n"},
		{func() { f.silent = 90 * time.Second }, "/readyz?verbose=1", 200, "[+]checks ok\n[+]registry ok: it has not been heard for 1m30s, and what it said last stays\nreadyz check passed\n"},
		{func() { f.ready = errors.New("3 checks have not run yet") }, "/readyz?verbose", 503, "[-]checks failed: 3 checks have not run yet\n[+]registry ok: it has not been heard for 1m30s, and what it said last stays\nreadyz check failed\n"},
		{func() { f.alive = errors.New("the agent is stuck") }, "/livez?verbose", 503, "[-]loops failed: the agent is stuck\nlivez check failed\n"},
		{func() {}, "/readyz", 503, "3 checks have not run yet\n"},
	} {
		test.change()
		if code, _, body := raw(t, address, request("GET", test.target, "")); code != test.code || body != test.want {
			t.Errorf("%s: %d %q, want %q", test.target, code, body, test.want)
		}
	}
}

// TestStuckAgentIsNotAlive: the probe gets its answer while it still waits for one.
func TestStuckAgentIsNotAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a")
		f.alive = errors.New("the agent is stuck")
		p := newPipes()
		serveOn(t, New(f, Options{}), p)
		c := p.dial()
		defer c.Close()
		began := time.Now()
		go func() { _, _ = c.Write([]byte(request("GET", "/livez", ""))) }()
		code, _, body := response(t, c, false)
		if took := time.Since(began); code != 503 || body != "the agent is stuck\n" || took != aliveTimeout {
			t.Errorf("%d %q after %v", code, body, took)
		}
	})
}

func TestReadinessOfAService(t *testing.T) {
	f := newFake("shop/cart", "pay")
	_, address := serve(t, f, Options{})
	s := f.services["shop/cart"]
	get := func(target string) (int, string) {
		code, _, body := raw(t, address, request("GET", target, ""))
		return code, body
	}
	now := time.Now()
	for _, test := range []struct {
		name   string
		change func()
		code   int
		has    []string
	}{
		{"unknown", func() {}, 503, []string{"UNKNOWN\nthe service itself is UNKNOWN\n"}},
		{"waiting", func() { s.Waiting = true }, 503, []string{"UNKNOWN\nthe registry has not been heard yet; after a moment the agent decides without it\n"}},
		{"serving", func() { s.Waiting, s.Status, s.Own = false, client.Serving, Word{Status: client.Serving} }, 200, []string{"SERVING\n"}},
		{"serving, with warnings", func() {
			s.Checks = []checks.Result{
				{Check: "swap", Critical: true, Status: client.Serving, Error: "exit code 1: 80 % in use", Degraded: true},
				{Check: "load", Status: client.NotServing, Error: "load of 7"},
				{Check: "memory", Status: client.Serving, Error: "90 % in use", Degraded: true},
				{Check: "http", Critical: true, Status: client.Serving, Error: "one failure"},
				{Check: "file", Status: client.NotServing},
			}
		}, 200, []string{"SERVING\nwarning: check swap: exit code 1: 80 % in use\nwarning: check load, which turns nothing: load of 7\nwarning: check memory, which turns nothing: 90 % in use\n"}},
		{"its checks fail", func() {
			s.Status, s.Own = client.NotServing, Word{Status: client.NotServing, Reason: "failing: db", Since: now}
			s.Checks = []checks.Result{
				{Check: "db", Critical: true, Status: client.NotServing, Error: "no answer"},
				{Check: "queue", Critical: true, Status: client.NotServing},
				{Check: "disk", Status: client.NotServing, Error: "full"},
				{Check: "http", Critical: true, Status: client.Serving, Error: "one failure"},
			}
		}, 503, []string{"NOT_SERVING\nthe service itself is NOT_SERVING since ", ` ago): "failing: db"` + "\ncheck db: no answer\ncheck queue: its last run passed, but not enough of them in a row\nwarning: check disk, which turns nothing: full\n"}},
		{"switched off as a whole", func() {
			s.Own, s.Whole = Word{Status: client.Serving}, off("shop/cart", "shop/*", "ann", "maintenance\n\x1b", now, time.Hour)
		}, 503, []string{`NOT_SERVING` + "\n" + `the registry has switched it off: "shop/cart" is NOT_SERVING by the override of "shop/*" that ann set since `, " left), ", `"maintenance\n\x1b"` + "\n"}},
		{"the instance is switched off", func() {
			by := off("shop/cart/10.0.0.7:8080", "shop/cart/10.0.0.7:8080", "", "", now, 0)
			s.Whole, s.Off = s.Reported, &by
		}, 503, []string{"NOT_SERVING\nthe registry has switched this instance off: ", `by the override of "shop/cart/10.0.0.7:8080" since`, ", no reason was given\n"}},
		{"the agent stops", func() { s.Off = nil }, 503, []string{"NOT_SERVING\nthe agent is stopping\n"}},
	} {
		test.change()
		code, body := get("/readyz/shop/cart")
		if code != test.code {
			t.Errorf("%s: %d %q", test.name, code, body)
		}
		for _, has := range test.has {
			if !strings.Contains(body, has) {
				t.Errorf("%s: %q has no %q", test.name, body, has)
			}
		}
		if strings.Contains(body, "\ncheck disk") || strings.Contains(body, "check http") {
			t.Errorf("%s: %q names checks that turn nothing", test.name, body)
		}
	}
	for target, has := range map[string]string{
		"/readyz/shop": `404 the agent does not watch "shop"`, "/readyz/shop/cart?verbose": "400 not known", "/readyz/shop/cart?service=pay": "400 once",
		"/readyz?service=shop/cart": "503 NOT_SERVING", "/readyz?service=x": `404 "x"`, "/readyzshop": "404 nothing here", "//readyz": "404 nothing here",
	} {
		code, body := get(target)
		wantCode, text, _ := strings.Cut(has, " ")
		if wantCode != itoa(code) || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %s", target, code, body, has)
		}
	}
}
