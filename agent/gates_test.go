package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/agent/readinessgate"
	"github.com/rollcallhq/rollcall/client"
)

// fakeGate keeps what it is told.
type fakeGate struct {
	mu   sync.Mutex
	runs bool
	said []client.Status // each other than the one before
	why  string
}

func (g *fakeGate) Run(ctx context.Context) {
	g.do(func() { g.runs = true })
	<-ctx.Done()
	g.do(func() { g.runs = false })
}

func (g *fakeGate) do(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *fakeGate) Set(s client.Status, why string) {
	g.do(func() {
		if g.why = why; len(g.said) == 0 || g.said[len(g.said)-1] != s {
			g.said = append(g.said, s)
		}
	})
}

func (g *fakeGate) State() readinessgate.State {
	return readinessgate.State{Condition: "example.com/ready", Status: client.Serving, Pending: 3 * time.Second, Writes: 7, Failures: 2}
}

// told returns what the gate was told, the last reason, and whether it runs.
func (g *fakeGate) told() (said []client.Status, why string, runs bool) {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.said), g.why, g.runs
}

// heard fails if the gate was not told want.
func (g *fakeGate) heard(t *testing.T, want ...client.Status) {
	t.Helper()
	if said, _, _ := g.told(); !slices.Equal(said, want) {
		t.Errorf("the gate was told %v, want %v", said, want)
	}
}

// gated has an agent with a gate for a service.
func gated(service string, closed *bool) (*fakeGate, func(*Agent)) {
	g := &fakeGate{}
	return g, func(a *Agent) { a.gates = gatesOf(map[string]gate{service: g}, func() { *closed = true }) }
}

// TestAGateHearsWhatIsSettled: nothing before the first result; then each change, with its reason; and nothing of the
// agent's own end.
func TestAGateHearsWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, p, closed := newFakeRegistry(), &probe{}, false
		p.hangs.Store(true)
		g, with := gated("shop", &closed)
		a := start(t, reg, file(watched("shop", checked("c", "1", p))), with)
		time.Sleep(30 * time.Second)
		g.heard(t)
		p.hangs.Store(false)
		time.Sleep(3 * time.Minute)
		first, _, _ := g.told()
		if len(first) == 0 || first[len(first)-1] != serving {
			t.Fatalf("the gate was told %v", first)
		}
		reg.set("shop", serving)
		reg.override("shop", notServing)
		g.heard(t, append(first, notServing)...)
		if _, why, _ := g.told(); !strings.Contains(why, "maintenance") {
			t.Errorf("the reason is %q", why)
		}
		reg.override("shop", missing)
		g.heard(t, append(first, notServing, serving)...)
		a.stop()
		g.heard(t, append(first, notServing, serving)...)
		if _, _, runs := g.told(); runs || !closed {
			t.Errorf("after the end the gate runs: %v; its connections are closed: %v", runs, closed)
		}
	})
}

// TestAGateHearsNothingInTheInitialWait: NOT_SERVING that is only shown until the registry is heard would take a pod out of
// its Services at each restart of the agent.
func TestAGateHearsNothingInTheInitialWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, closed := newFakeRegistry(), false
		reg.hush(true)
		g, with := gated("shop", &closed)
		a := start(t, reg, file(watched("shop", checked("c", "1", &probe{}))), with)
		a.shows("shop", notServing)
		g.heard(t)
		time.Sleep(waitUnheard + gateUnsettled)
		a.shows("shop", serving)
		g.heard(t, serving)
	})
}

// TestAGateHearsThatTheServiceIsOff though that shows as what the initial wait showed.
func TestAGateHearsThatTheServiceIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, closed := newFakeRegistry(), false
		reg.set("shop", notServing)
		g, with := gated("shop", &closed)
		start(t, reg, file(watched("shop", checked("c", "1", &probe{}))), with)
		time.Sleep(gateUnsettled)
		g.heard(t, notServing)
	})
}

// brokenPort is a port that cannot be served after a while.
type brokenPort struct{ net.Listener }

func (brokenPort) Accept() (net.Conn, error) {
	time.Sleep(time.Minute)
	return nil, errors.New("no more files")
}
func (brokenPort) Close() error   { return nil }
func (brokenPort) Addr() net.Addr { return &net.TCPAddr{} }

// TestAGateHearsNothingOfAnAgentThatFails: the condition stays as it is.
func TestAGateHearsNothingOfAnAgentThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, closed := newFakeRegistry(), false
		cfg := file(watched("shop", checked("c", "1", &probe{})))
		cfg.GRPC = "broken"
		g, with := gated("shop", &closed)
		a := newAgent(cfg, reg.registry(), slog.New(slog.DiscardHandler))
		with(a)
		var err error
		if a.ports, err = listen(cfg, a.board, newHTTP(a, cfg), func(string) (net.Listener, error) { return brokenPort{}, nil }); err != nil {
			t.Fatal(err)
		}
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no more files") {
			t.Errorf("Run returns %v", err)
		}
		g.heard(t, serving)
		if _, _, runs := g.told(); runs || !closed {
			t.Errorf("after the end the gate runs: %v; its connections are closed: %v", runs, closed)
		}
	})
}

// TestAGateOfAPushedServiceWaitsForAPush.
func TestAGateOfAPushedServiceWaitsForAPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, closed := newFakeRegistry(), false
		g, with := gated("shop", &closed)
		a := start(t, reg, file(watched("shop")), with)
		time.Sleep(time.Hour)
		g.heard(t)
		if err := a.push("shop", notServing, "out of stock"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(gateUnsettled)
		g.heard(t, notServing)
		if err := a.push("shop", notServing, "out of paper"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(gateReasons)
		if _, why, _ := g.told(); !strings.Contains(why, "out of paper") {
			t.Errorf("the reason is %q", why)
		}
	})
}

func TestNewGates(t *testing.T) {
	getenv := func(string) string { return "" }
	if g, err := newGates(&config.Config{Services: []config.Service{{Name: "shop"}}}, getenv, nil); g != nil || err != nil {
		t.Errorf("without a gate: %v, %v", g, err)
	}
	_, err := New(&config.Config{Endpoints: []string{"127.0.0.1:1"}, Services: []config.Service{{Name: "shop", Instance: address, ReadinessGate: "example.com/ready"}}}, Options{Getenv: getenv})
	if err == nil || !strings.Contains(err.Error(), `service "shop" has a readiness gate`) || !strings.Contains(err.Error(), "KUBERNETES_SERVICE_HOST") {
		t.Errorf("outside of Kubernetes: %v", err)
	}
}

func TestMetricsOfGates(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(gatesOf(map[string]gate{"shop": &fakeGate{}}, nil)); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		if l := m.GetLabel(); len(l) != 2 || l[0].GetValue() != "example.com/ready" || l[1].GetValue() != "shop" {
			t.Errorf("%s: labels %v", f.GetName(), l)
		}
	}
	for name, want := range map[string]float64{"status": 1, "pending_seconds": 3, "writes_total": 7, "failures_total": 2} {
		if got["rollcall_agent_readiness_gate_"+name] != want {
			t.Errorf("%s: %v, want %v", name, got["rollcall_agent_readiness_gate_"+name], want)
		}
	}
}
