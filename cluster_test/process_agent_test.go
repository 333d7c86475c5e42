package cluster_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// watchedMachine is a machine with programs and an agent, and the registry that the agent reports to.
type watchedMachine struct {
	t       *testing.T
	c       *processes
	cl      *client.Client
	stalls  *stallMeter
	program *program
	agent   *agentProcess
}

const (
	agentInstance = "10.0.0.7:8080"
	agentTTL      = 2 * time.Second
	agentSettings = "ttl: 2s\nforget_after: 1h\ndefaults: { interval: 50ms, timeout: 5s, rise: 1, fall: 2 }"
)

// checkout is a service with a check of the program, and further services.
func (m *watchedMachine) checkout(further ...string) string {
	return fmt.Sprintf("services:\n  - name: shop/checkout\n    checks:\n      - http: { url: %s/healthz }\n%s", m.program.URL, strings.Join(further, ""))
}

// TestProcessAgent runs an agent beside a program of its machine, stock clients that ask it, and three nodes.
func TestProcessAgent(t *testing.T) {
	beside(t, ofProcesses)
	m := &watchedMachine{t: t, c: newProcesses(t, processOptions{}), stalls: startStallMeter(t), program: newProgram(t)}
	m.cl = m.c.client()
	m.agent = newAgent(t, m.c.endpoints(), agentInstance, agentSettings)
	m.agent.write(m.checkout())
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"RegistryAway", m.registryAway},
		{"Started", m.started},
		{"Sick", m.sick},
		{"Overridden", m.overridden},
		{"Hangups", m.hangups},
		{"BadFiles", m.badFiles},
		{"NeedsARestart", m.needsARestart},
		{"ServicesComeAndGo", m.servicesComeAndGo},
		{"Pushed", m.pushed},
		{"NodesKilled", m.nodesKilled},
		{"Killed", m.killed},
		{"Stopped", m.stopped},
	} {
		begun := time.Now()
		ok := t.Run(part.name, func(t *testing.T) {
			m.t, m.agent.t = t, t
			part.run(t)
		})
		m.t, m.agent.t = t, t
		t.Logf("%s took %s", part.name, time.Since(begun).Round(time.Millisecond))
		if !ok {
			return
		}
	}
}

// registryAway: an agent that starts before any node answers by itself, and reports when there is one.
func (m *watchedMachine) registryAway(t *testing.T) {
	m.agent.start()
	m.agent.shows("shop/checkout", serving)
	m.c.start()
	m.c.waitReady()
	m.reported("shop/checkout", serving)
	m.agent.stop()
	m.reported("shop/checkout", notServing)
}

// started: what a check says is in the registry within a second.
func (m *watchedMachine) started(t *testing.T) {
	from := m.revision()
	begun := time.Now()
	m.agent.start()
	m.reported("shop/checkout", serving)
	took := time.Since(begun)
	t.Logf("reported after %s", took.Round(time.Millisecond))
	if late := took - time.Second - m.stalls.since(begun); late > 0 {
		t.Errorf("the registry had its report after %s", took)
	}
	m.agent.shows("shop/checkout", serving)
	m.agent.shows("", serving)
	if saw := m.events(from, "shop/checkout/"+agentInstance); !slices.Equal(saw, []client.Status{serving}) {
		t.Errorf("an agent that starts reports %v", saw)
	}
}

// sick: what the program says reaches stock clients, probes and the registry, with a reason.
func (m *watchedMachine) sick(t *testing.T) {
	m.program.sick.Store(true)
	m.agent.shows("shop/checkout", notServing)
	r := m.reported("shop/checkout", notServing)
	if reason := r.GetReport().GetReason(); !strings.Contains(reason, "http") {
		t.Errorf("the reason is %q", reason)
	}
	if _, body := m.agent.get("/readyz/shop/checkout"); !strings.Contains(body, "http") {
		t.Errorf("a readiness probe is told: %q", body)
	}
	m.program.sick.Store(false)
	m.agent.shows("shop/checkout", serving)
	m.reported("shop/checkout", serving)
}

// overridden: an operator's switch, of the service or of the instance, reaches the stock clients of the machine.
func (m *watchedMachine) overridden(t *testing.T) {
	off := func(what string) {
		t.Helper()
		m.agent.shows("shop/checkout", notServing)
		if _, body := m.agent.get("/readyz/shop/checkout"); !strings.Contains(body, what) {
			t.Errorf("a readiness probe is told: %q, want %q in it", body, what)
		}
	}
	for i, name := range []string{"shop/checkout/" + agentInstance, "shop/checkout/*", "shop/*"} {
		why := fmt.Sprintf("maintenance %d", i)
		m.override(name, why)
		off(why)
		m.resume(name)
		m.agent.shows("shop/checkout", serving)
	}
	m.c.set("shop/checkout", notServing)
	off("shop/checkout")
	m.c.set("shop/checkout", serving)
	m.agent.shows("shop/checkout", serving)
	m.override("shop/checkout", "the whole service")
	off("the whole service")
	m.resume("shop/checkout")
	m.agent.shows("shop/checkout", serving)
}

// hangups: the file is read again and again, with other services in it each time, and a client of one that does not
// change notices nothing.
func (m *watchedMachine) hangups(t *testing.T) {
	from := m.revision()
	local := m.agent.localClient("shop/checkout")
	for i := range 50 {
		m.agent.write(m.checkout(fmt.Sprintf("  - name: shop/other-%d\n    on_stop: withdraw\n    checks: [{ tcp: { address: \"%s\" }, interval: %ds }]\n", i%3, m.program.Listener.Addr(), 1+i%2)))
		m.agent.hangup(readAgain)
	}
	m.agent.write(m.checkout())
	m.agent.hangup(readAgain)
	for i := range 3 {
		m.withdrawn(fmt.Sprintf("shop/other-%d", i))
	}
	local.unmoved(t)
	t.Logf("%d calls", local.asked.Load())
	if saw := m.events(from, "shop/checkout/"+agentInstance); len(saw) > 0 {
		t.Errorf("51 reloads, and the registry was told %v", saw)
	}
}

// badFiles: a file with a fault changes nothing.
func (m *watchedMachine) badFiles(t *testing.T) {
	from := m.revision()
	local := m.agent.localClient("shop/checkout")
	good, err := os.ReadFile(m.agent.file)
	must(t, err)
	for _, bad := range []string{
		"",
		"services: []\n",
		string(good) + "bogus: 1\n",
		string(good) + "---\n" + string(good),
		strings.Replace(string(good), "http: {", "tcp: { address: 127.0.0.1:1 }\n        http: {", 1),
		strings.Replace(string(good), "shop/checkout", "rollcall.checkout", 1),
		strings.Replace(string(good), "interval: 50ms", "interval: 50", 1),
	} {
		must(t, os.WriteFile(m.agent.file, []byte(bad), 0o600))
		m.agent.hangup(notTaken)
	}
	must(t, os.Remove(m.agent.file))
	m.agent.hangup(notTaken)
	m.agent.write(m.checkout())
	m.agent.hangup(readAgain)
	local.unmoved(t)
	// Not of all of the shop: what the reloads before have withdrawn may be deleted a moment later.
	if saw := m.events(from, "shop/checkout/"+agentInstance); len(saw) > 0 {
		t.Errorf("files with faults, and the registry was told %v", saw)
	}
}

// needsARestart: what cannot change while the agent runs is refused as a whole.
func (m *watchedMachine) needsARestart(t *testing.T) {
	head := m.agent.head
	m.agent.head = strings.Replace(head, "ttl: 2s", "ttl: 3s", 1)
	m.agent.write(m.checkout("  - name: shop/other\n"))
	m.agent.hangup(notTaken)
	if !strings.Contains(m.agent.log.String(), "needs a restart") {
		t.Error("the log does not say what to do")
	}
	if _, err := m.agent.check(t.Context(), "shop/other"); status.Code(err) != codes.NotFound {
		t.Errorf("a service of a file that was refused: %v", err)
	}
	m.agent.head = head
	m.agent.write(m.checkout())
	m.agent.hangup(readAgain)
}

// servicesComeAndGo: a reload brings services, changes them and takes them away.
func (m *watchedMachine) servicesComeAndGo(t *testing.T) {
	tcp := fmt.Sprintf("  - name: shop/other\n    on_stop: withdraw\n    checks: [{ tcp: { address: \"%s\" } }]\n", m.program.Listener.Addr())
	m.agent.write(m.checkout(tcp))
	m.agent.hangup(readAgain)
	m.reported("shop/other", serving)
	m.agent.shows("shop/other", serving)

	from := m.revision()
	m.agent.write(m.checkout(tcp[:len(tcp)-len(" }]\n")] + ", fall: 3 }]\n")) // the same status by a check that changed
	m.agent.hangup(readAgain)
	m.agent.shows("shop/other", serving)
	m.agent.write(m.checkout(strings.Replace(tcp, "shop/other\n", "shop/other\n    instance: 10.0.0.7:9090\n", 1)))
	m.agent.hangup(readAgain)
	m.registered("shop/other/10.0.0.7:9090", serving)
	m.withdrawn("shop/other")
	if saw := m.events(from, "shop/other/"+agentInstance); !slices.Equal(saw, []client.Status{client.ServiceUnknown}) {
		t.Errorf("the instance that is no more was reported as %v", saw)
	}
	m.agent.write(m.checkout())
	m.agent.hangup(readAgain)
	m.gone("shop/other/10.0.0.7:9090")
	if _, err := m.agent.check(t.Context(), "shop/other"); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is gone: %v", err)
	}
	if code, body := m.agent.get("/readyz/shop/other"); code != 404 {
		t.Errorf("a service that is gone: %d %s", code, body)
	}
}

// pushed: a program tells its status by HTTP, and one that is silent does not serve.
func (m *watchedMachine) pushed(t *testing.T) {
	const batch = "  - name: shop/batch\n    on_stop: withdraw\n    checks: [{ ttl: { after: 10m } }]\n"
	m.agent.write(m.checkout(batch))
	m.agent.hangup(readAgain)
	push := func(service, body string, want int) {
		t.Helper()
		if code, text := m.agent.request("PUT", "/v1/status/"+service, body); code != want {
			t.Errorf("a push of %q of %s: %d %s", body, service, code, text)
		}
	}
	push("shop/batch", "SERVING", 204)
	m.agent.shows("shop/batch", serving)
	m.reported("shop/batch", serving)
	push("shop/batch", `{"status": "NOT_SERVING", "reason": "the queue is full"}`, 204)
	m.agent.shows("shop/batch", notServing)
	if r := m.reported("shop/batch", notServing); r.GetReport().GetReason() == "" {
		t.Errorf("the reason is %q", r.GetReport().GetReason())
	}
	push("shop/batch", "SERVING", 204)
	m.agent.shows("shop/batch", serving)
	push("shop/nothing", "SERVING", 404)
	push("shop/batch", "FINE", 400)
	m.agent.write(m.checkout(strings.Replace(batch, "10m", "100ms", 1)))
	m.agent.hangup(readAgain)
	m.reported("shop/batch", notServing) // it is silent
	m.agent.shows("shop/batch", notServing)
	m.agent.write(m.checkout())
	m.agent.hangup(readAgain)
	m.withdrawn("shop/batch")
}

// nodesKilled: what local clients are told stays while nodes die, and what changed meanwhile is reported afterwards.
func (m *watchedMachine) nodesKilled(t *testing.T) {
	local := m.agent.localClient("shop/checkout")
	leader := m.c.leader()
	for _, p := range append([]*process{leader}, m.c.others(leader)...) {
		p.kill()
		m.override("shop/elsewhere", "a write while a node is away")
		m.resume("shop/elsewhere")
		p.start()
		m.c.waitReady()
	}
	local.unmoved(t)

	m.override("shop/checkout/*", "off while all nodes die")
	m.agent.shows("shop/checkout", notServing)
	m.c.killAll()
	for _, turn := range []struct {
		sick bool
		says client.Status
	}{{true, notServing}, {false, serving}} {
		line := fmt.Sprintf("msg=\"the status of a service is %s\" service=shop/checkout\n", turn.says)
		if turn.sick {
			line = strings.Replace(line, "\n", " reason=\"failing: http\"\n", 1)
		}
		before := m.agent.logged(line)
		m.program.sick.Store(turn.sick)
		eventually(t, line, func(context.Context) bool { return m.agent.logged(line) > before })
	}
	m.agent.shows("shop/checkout", notServing) // as was heard last
	m.c.start()
	m.c.waitReady()
	m.agent.shows("shop/checkout", notServing)
	m.resume("shop/checkout/*")
	m.agent.shows("shop/checkout", serving)
	m.reported("shop/checkout", serving)
}

// killed: the registry takes an agent for dead when its ttl is over.
func (m *watchedMachine) killed(t *testing.T) {
	m.agent.kill()
	begun := time.Now()
	m.reported("shop/checkout", notServing)
	took := time.Since(begun)
	t.Logf("the registry knew after %s; the ttl is %s", took.Round(time.Millisecond), agentTTL)
	if late := took - agentTTL - time.Second - m.stalls.since(begun); late > 0 {
		t.Errorf("the registry knew after %s; the ttl is %s", took, agentTTL)
	}
	m.agent.start()
	m.reported("shop/checkout", serving)
}

// stopped: each on_stop leaves behind what it says. Stock clients learn of the end.
func (m *watchedMachine) stopped(t *testing.T) {
	var services strings.Builder
	stops := []string{"withdraw", "not_serving", "leave"}
	for _, stop := range stops {
		fmt.Fprintf(&services, "  - name: stop/%s\n    on_stop: %s\n    checks: [{ tcp: { address: \"%s\" } }]\n", stop, stop, m.program.Listener.Addr())
	}
	m.agent.write("services:\n" + services.String())
	m.agent.hangup(readAgain)
	for _, stop := range stops {
		m.reported("stop/"+stop, serving)
		m.agent.shows("stop/"+stop, serving) // once the agent, too, has heard of it from the registry
	}
	raw := watchRaw(t, m.agent.grpc, "stop/leave")
	select {
	case <-raw.began:
	case <-time.After(patience):
		t.Fatal("a Watch of the agent begins with nothing")
	}
	begun := time.Now()
	m.agent.stop()
	<-raw.done
	// That the agent ends says nothing of the service, which goes on.
	if !slices.Equal(raw.seen, []client.Status{serving}) || status.Code(raw.err) != codes.Unavailable {
		t.Errorf("a Watch of an agent that stops saw %v and ended with %v", raw.seen, raw.err)
	}
	t.Logf("stopped in %s", time.Since(begun).Round(time.Millisecond))
	m.gone("stop/withdraw/" + agentInstance)
	m.reported("stop/not_serving", notServing)
	r := m.reported("stop/leave", serving)
	if id := r.GetReport().GetLeaseId(); id != "" {
		t.Errorf("what stays is attached to lease %s", id)
	}
	if m.agent.logged("panic") > 0 {
		t.Error("the agent panicked")
	}
}

// TestProcessAgentChecksItsFile: --check-config reads a file and runs nothing.
func TestProcessAgentChecksItsFile(t *testing.T) {
	beside(t, ofProcesses)
	a := newAgent(t, []string{"127.0.0.1:1"}, agentInstance)
	const services = "services:\n  - name: shop/checkout\n    checks: [{ tcp: { address: 127.0.0.1:1 } }]\n"
	check := func() (stdout, stderr string, code int) {
		return runBinary(t, "agent", "--config", a.file, "--check-config")
	}
	a.write(services)
	if out, errOut, code := check(); code != 0 || errOut != "" || out != a.file+": no fault: 1 service, 1 check\n" {
		t.Errorf("a good file: %d %q %q", code, out, errOut)
	}
	a.write(services + "    colour: red\n")
	lines := strings.Count(a.head+services, "\n")
	out, errOut, code := check()
	if want := fmt.Sprintf("rollcall: %s:%d:5: ", a.file, lines+1); code != 1 || out != "" || !strings.HasPrefix(errOut, want) || !strings.Contains(errOut, `"colour"`) {
		t.Errorf("an unknown key: %d %q %q, want %q", code, out, errOut, want)
	}
	// A file with a fault starts nothing.
	out, errOut, code = runBinary(t, "agent", "--config", a.file)
	if code != 1 || out != "" || !strings.Contains(errOut, "colour") {
		t.Errorf("an agent with a fault in its file: %d %q %q", code, out, errOut)
	}
}

// TestProcessAgentPortInUse: an agent that cannot serve says so, ends, and reports nothing.
func TestProcessAgentPortInUse(t *testing.T) {
	beside(t, ofProcesses)
	p := newProgram(t)
	a := newAgent(t, []string{"127.0.0.1:1"}, agentInstance)
	a.head = strings.Replace(a.head, a.http, p.Listener.Addr().String(), 1)
	a.write("services: [{ name: a, checks: [{ tcp: { address: 127.0.0.1:1 } }] }]\n")
	out, errOut, code := runBinary(t, "agent", "--config", a.file)
	if code != 1 || out != "" || !strings.Contains(errOut, "in use by another process") {
		t.Errorf("%d %q %q", code, out, errOut)
	}
}
