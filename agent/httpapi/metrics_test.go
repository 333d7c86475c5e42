package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func TestMetrics(t *testing.T) {
	f := newFake("a", "b", "db")
	f.fixed["db"] = true
	now := time.Now()
	f.services["a"].Status, f.services["a"].Own.Status = client.NotServing, client.Serving
	f.services["a"].Whole = off("a", "*", "ann", "", now, 0)
	f.services["b"].Rival = &rollcallv1.ServiceRecord{}
	f.services["b"].Refused = &Refusal{Reason: "DENIED"}
	f.refused = &Refusal{Reason: "TOKEN_REVOKED"}
	f.silent = 1500 * time.Millisecond
	extra := prometheus.NewGauge(prometheus.GaugeOpts{Name: "more", Help: "More."})
	_, address := serve(t, f, Options{Collectors: []prometheus.Collector{extra}})
	for _, r := range []string{
		request("PUT", "/v1/status/b", "SERVING"), request("PUT", "/v1/status/b", "SERVING"), request("PUT", "/v1/status/x", "SERVING"),
		request("PUT", "/v1/status/b", "rubbish"), request("PUT", "/v1/status/b", "SERVING", "Origin: http://evil.example"), request("PUT", "/v1/status/db", "SERVING"),
	} {
		raw(t, address, r)
	}
	code, header, body := raw(t, address, request("GET", "/metrics", ""))
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatal(code, header)
	}
	for _, line := range []string{
		`rollcall_agent_services{status="NOT_SERVING"} 1`, `rollcall_agent_services{status="SERVING"} 1`, `rollcall_agent_services{status="UNKNOWN"} 1`,
		`rollcall_agent_service_serving{service="a"} 0`, `rollcall_agent_service_serving{service="b"} 1`,
		`rollcall_agent_service_own_serving{service="a"} 1`, `rollcall_agent_service_own_serving{service="db"} 0`,
		`rollcall_agent_service_off{service="a"} 1`, `rollcall_agent_service_off{service="b"} 0`,
		`rollcall_agent_service_rival{service="a"} 0`, `rollcall_agent_service_rival{service="b"} 1`,
		`rollcall_agent_service_refused{service="a"} 0`, `rollcall_agent_service_refused{service="b"} 1`, `rollcall_agent_reports_refused{reason="TOKEN_REVOKED"} 1`,
		`rollcall_agent_last_push_timestamp_seconds{service="b"} `,
		`rollcall_agent_registry_silent_seconds 1.5`, `rollcall_agent_ready 1`, `rollcall_agent_http_connections `, `rollcall_agent_http_connections_limit 1000`,
		`rollcall_agent_pushes_total{result="accepted"} 2`, `rollcall_agent_pushes_total{result="unknown_service"} 1`,
		`rollcall_agent_pushes_total{result="bad"} 1`, `rollcall_agent_pushes_total{result="refused"} 2`, "more 0",
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no %s in\n%s", line, body)
		}
	}
	if strings.Contains(body, `timestamp_seconds{service="a"}`) {
		t.Error("a service that was not pushed has the time of a push")
	}
}

// TestMetricsAreWellNamed: they keep Prometheus' own rules.
func TestMetricsAreWellNamed(t *testing.T) {
	f := newFake("a")
	if err := f.Push("a", client.Serving, ""); err != nil {
		t.Fatal(err)
	}
	m := newMetrics(f, newConnections(1, nil))
	families, err := m.registry(nil).Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
