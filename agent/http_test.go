package agent

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
)

// httpPort is the HTTP port of an Agent, in memory.
type httpPort struct {
	t     *testing.T
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func (p *httpPort) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *httpPort) Close() error   { p.once.Do(func() { close(p.ended) }); return nil }
func (p *httpPort) Addr() net.Addr { return &net.TCPAddr{} }

// serveHTTP serves the HTTP port of a until the test ends.
func serveHTTP(t *testing.T, a *Agent, cfg *config.Config) *httpPort {
	t.Helper()
	remote := *cfg
	remote.AllowRemotePush = true // who calls in memory has no address
	server := newHTTP(a, &remote)
	p := &httpPort{t: t, conns: make(chan net.Conn), ended: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(p) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return p
}

// ask sends a request, and fails if the answer is not of this code.
func (p *httpPort) ask(method, path, body string, want int, has ...string) string {
	p.t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	p.conns <- there
	go func() {
		fmt.Fprintf(here, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
	}()
	res, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != want {
		p.t.Errorf("%s %s: %s %q, want %d", method, path, res.Status, text, want)
	}
	for _, one := range has {
		if !strings.Contains(string(text), one) {
			p.t.Errorf("%s %s: %q has no %q", method, path, text, one)
		}
	}
	return string(text)
}

func TestPushOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		probe := &probe{}
		cfg := file(watched("checked", checked("c", "1", probe)), watched("shop/a//b/../c"), watched("slow", ttl(30*time.Second)))
		a := start(t, reg, cfg)
		p := serveHTTP(t, a.Agent, cfg)
		time.Sleep(10 * time.Second)

		const odd = "shop/a//b/../c"
		p.ask("GET", "/readyz/"+odd, "", 503, "UNKNOWN\n")
		p.ask("PUT", "/v1/status/"+odd, "NOT_SERVING disk full", 204)
		synctest.Wait()
		if got := reg.reports(odd + "/" + address); len(got) != 1 || got[0].status != notServing || got[0].reason != "disk full" {
			t.Errorf("the registry was told %+v", got)
		}
		p.ask("GET", "/readyz/"+odd, "", 503, "NOT_SERVING\n", `"disk full"`)
		p.ask("GET", "/v1/status/"+odd, "", 200, "pushed: NOT_SERVING", `"disk full"`)
		time.Sleep(2 * time.Second)
		p.ask("PUT", "/v1/status/"+odd, "SERVING", 204)
		a.reported(odd+"/"+address, serving)
		p.ask("GET", "/readyz/"+odd, "", 200, "SERVING\n")
		p.ask("DELETE", "/v1/status/"+odd, "", 204)
		a.shows(odd, unknown)

		p.ask("PUT", "/v1/status/checked", "SERVING", 403, `takes no push for "checked"`)
		p.ask("PUT", "/v1/status/"+odd+"/"+address, "SERVING", 404, "without its instance")

		p.ask("GET", "/readyz/slow", "", 503, "nothing was reported yet")
		p.ask("PUT", "/v1/status/slow", "SERVING", 204)
		a.shows("slow", serving)
		time.Sleep(29 * time.Second)
		p.ask("GET", "/readyz/slow", "", 200)
		time.Sleep(2 * time.Second)
		p.ask("GET", "/readyz/slow", "", 503, "failing: ttl", "check ttl: nothing was reported for 30s")
		p.ask("GET", "/?service=slow", "", 200, "pushed: SERVING since", "(31s ago)")

		p.ask("GET", "/readyz/checked", "", 200)
		probe.failing.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		p.ask("GET", "/readyz/checked", "", 503, "failing: c", "check c: no\n")

		a.stop()
		p.ask("PUT", "/v1/status/"+odd, "SERVING", 503, "stopping")
		p.ask("GET", "/readyz/"+odd, "", 503)
	})
}

func TestHTTPSaysWhoSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		cfg := file(watched("shop", checked("c", "1", &probe{})))
		a := start(t, reg, cfg)
		p := serveHTTP(t, a.Agent, cfg)
		time.Sleep(time.Second)
		p.ask("GET", "/readyz/shop", "", 200, "SERVING\n")
		reg.override("shop/*", notServing)
		a.shows("shop", notServing)
		p.ask("GET", "/readyz/shop", "", 503, "the registry has switched this instance off", `by the override of "shop/*"`)
		reg.override("shop/*", missing)
		a.shows("shop", serving)
		reg.set("shop", notServing)
		a.shows("shop", notServing)
		p.ask("GET", "/readyz/shop", "", 503, `the registry has switched it off: "shop" is NOT_SERVING by a report`)
		p.ask("GET", "/metrics", "", 200, "\n"+`rollcall_agent_service_off{service="shop"} 1`, "\n"+`rollcall_agent_service_own_serving{service="shop"} 1`)
		reg.hush(true)
		time.Sleep(time.Minute)
		p.ask("GET", "/", "", 200, "1 NOT_SERVING, 0 UNKNOWN, 0 SERVING", "the registry has not been heard for")
	})
}

func TestAgentIsReadyAfterItsFirstRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &probe{}
		slow.hangs.Store(true)
		cfg := file(watched("shop", checked("c", "1", slow)))
		a := start(t, newFakeRegistry(), cfg)
		p := serveHTTP(t, a.Agent, cfg)
		p.ask("GET", "/livez", "", 200, "ok\n")
		p.ask("GET", "/readyz", "", 503)
		slow.hangs.Store(false)
		time.Sleep(2 * time.Minute)
		p.ask("GET", "/readyz", "", 200, "ok\n")
	})
}

// TestMetricsAreInTheDocs: each metric of the port has a row in docs/agent.md, and each row there is one of the port.
func TestMetricsAreInTheDocs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := file(watched("shop", checked("c", "1", &probe{})), watched("pushed"))
		a := start(t, newFakeRegistry(), cfg, func(a *Agent) {
			g := &fakeGate{}
			a.gates = gatesOf(map[string]gate{"shop": g}, func() {})
		})
		p := serveHTTP(t, a.Agent, cfg)
		p.ask("PUT", "/v1/status/pushed", "SERVING", 204)
		a.metrics.Published(nil) // the fake's leases do not tell
		time.Sleep(10 * time.Second)
		doc, err := os.ReadFile("../docs/agent.md")
		if err != nil {
			t.Fatal(err)
		}
		in := map[string]bool{}
		for _, family := range regexp.MustCompile(`(?m)^# TYPE ([a-z_]+) `).FindAllStringSubmatch(p.ask("GET", "/metrics", "", 200), -1) {
			in[family[1]] = true
			if own := !strings.HasPrefix(family[1], "go_") && !strings.HasPrefix(family[1], "process_"); own && !strings.Contains(string(doc), "\n| `"+family[1]+"` | ") {
				t.Errorf("docs/agent.md has no row of %s", family[1])
			}
		}
		_, section, found := strings.Cut(string(doc), "\n## Metrics\n")
		rows := regexp.MustCompile("(?m)^\\| `((?:rollcall|grpc)_[a-z_]+)` \\| ").FindAllStringSubmatch(section, -1)
		if !found || len(rows) < 10 {
			t.Fatalf("docs/agent.md has %d rows of metrics", len(rows))
		}
		for _, row := range rows {
			if !in[row[1]] {
				t.Errorf("docs/agent.md has a row of %s, which the port does not show", row[1])
			}
		}
	})
}

// TestManyPushesReachTheRegistry: at once, of as many services.
func TestManyPushesReachTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		var services []config.Service
		for i := range 2_000 {
			services = append(services, watched(fmt.Sprintf("shop/cart%04d", i)))
		}
		a := start(t, reg, file(services...))
		source := httpSource{a.Agent}
		var pushing sync.WaitGroup
		for i := range services {
			pushing.Go(func() {
				if err := source.Push(services[i].Name, serving, "many"); err != nil {
					t.Error(err)
				}
			})
		}
		pushing.Wait()
		time.Sleep(10 * time.Second)
		counts := map[client.Status]int{}
		for _, s := range source.Services() {
			record, _ := reg.record(s.Name + "/" + address)
			if counts[s.Status]++; record.status != serving {
				t.Fatalf("the registry has %v of %s", record.status, s.Name)
			}
		}
		if counts[serving] != len(services) {
			t.Errorf("%v", counts)
		}
	})
}
