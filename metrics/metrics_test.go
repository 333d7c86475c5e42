package metrics

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// full is a reading that has a sample of every metric.
func full() Reading {
	return Reading{
		LeaderKnown: true, LeaderContact: time.Now().Add(-time.Minute), Term: 7, CommitIndex: 12, AppliedIndex: 10,
		LeaderChanges: 3, FastFailovers: 2, Revision: 9, FeatureLevel: 1, MaxFeatureLevel: 2, HistoryOldest: 4, RegistryBacklogBytes: 4096,
		Services:  map[string]int64{"SERVING": 5, "NOT_SERVING": 1},
		Overrides: 2, Overridden: map[string]int64{"NOT_SERVING": 4}, Rules: []Rule{{"pay-min", 1, 3}}, BreakGlass: 6,
		Leases: 52, LeasesLate: 41, LeaseGuard: true, LeaseRenewals: 9000, LeasesExpired: 12,
		Watchers: 4, Wakes: 8, Restores: 1,
		Peers: map[string]bool{"n2": true, "n3": false}, MemberPhases: map[string]string{"n4": "joining"}, ClockOffsets: map[string]time.Duration{"n2": -1500 * time.Millisecond},
		RPCs:         []RPC{{"grpc.health.v1.Health/Check", "OK", 11}, {"grpc.health.v1.Health/Check", "NotFound", 2}},
		SSE:          SSE{Services: 6, Events: 7, RefusedAll: 8, RefusedAddress: 9, Stalled: 10},
		HTTPRequests: []HTTPRequests{{"GET /api/v1/services/{service}", 404, 3}},
		Budgets:      []Budget{{"answer-bytes", 4096, 268435456, 3}},
		Ready:        true, Storage: &Storage{Registry: 1 << 20, Log: 2 << 20, Snapshots: 3 << 20, Free: 4 << 20}, LastSnapshot: time.Now().Add(-time.Hour),
		Connections: []Connections{{"api", 7, 10_000}, {"http", 1, 256}},
		Watches:     9, EventWatches: 3, StateWatches: 2, LeaseStreams: 4, WriteStreams: 5, WatchesLimit: 200_000,
		AuthFailures: map[string]uint64{"token_unknown": 6}, Denied: map[string]uint64{"report": 3}, Tokens: 17,
		Audit:         &Audit{Written: 7, Lost: 5, LeftOut: 2},
		RateLimited:   11,
		TLS:           &TLS{Expiries: map[string]time.Time{"ca": time.Unix(2_000_000_000, 0)}, ReloadsTaken: 3, ReloadsRefused: 1, Failed: []FailedHandshakes{{"peer", "expired", 4}}},
		ServicesAsked: true, ServiceStatuses: []ServiceStatus{{"shop/cart", "SERVING"}},
	}
}

// ours gathers what is not client_golang's own.
func ours(t *testing.T, m *Metrics) []*dto.MetricFamily {
	t.Helper()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "rollcall_") })
}

func TestScrape(t *testing.T) {
	m := New("v1.2.3")
	reading := full()
	m.Collect(func() Reading { return reading })
	m.Stored(3 * time.Millisecond)
	m.Committed(5, 40*time.Millisecond)
	m.Applied(2, time.Microsecond)
	m.Flushed(time.Second)
	m.Wrote(2 * time.Second)
	m.ReadLinearizable(3 * time.Second)
	scrape := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	body := scrape()
	for _, line := range []string{
		"rollcall_is_leader 0",
		"rollcall_leader_known 1",
		"rollcall_term 7",
		"rollcall_lag_entries 2",
		"rollcall_leader_changes_total 3",
		"rollcall_revision 9",
		"rollcall_feature_level 1",
		"rollcall_feature_level_max 2",
		`rollcall_services{status="SERVING"} 5`,
		`rollcall_services{status="NOT_SERVING"} 1`,
		"rollcall_overrides 2",
		`rollcall_overridden_services{status="NOT_SERVING"} 4`,
		`rollcall_rule_serving{rule="pay-min"} 3`,
		`rollcall_rule_needed{rule="pay-min"} 1`,
		"rollcall_break_glass_total 6",
		`rollcall_peer_up{member="n2"} 1`,
		`rollcall_member_phase{member="n4",phase="joining"} 1`,
		`rollcall_tls_certificate_expiry_timestamp_seconds{use="ca"} 2e+09`,
		`rollcall_tls_reloads_total{result="taken"} 3`,
		`rollcall_auth_failures_total{reason="token_unknown"} 6`,
		`rollcall_denied_total{verb="report"} 3`,
		`rollcall_tokens 17`,
		`rollcall_audit_lines_total 7`,
		`rollcall_audit_dropped_total{why="not-written"} 5`,
		`rollcall_audit_dropped_total{why="too-many"} 2`,
		`rollcall_rate_limited_total 11`,
		`rollcall_tls_reloads_total{result="refused"} 1`,
		`rollcall_tls_handshakes_failed_total{port="peer",reason="expired"} 4`,
		`rollcall_clock_offset_seconds{member="n2"} -1.5`,
		`rollcall_peer_up{member="n3"} 0`,
		`rollcall_client_memory_used_bytes{budget="answer-bytes"} 4096`,
		`rollcall_client_memory_limit_bytes{budget="answer-bytes"} 2.68435456e+08`,
		`rollcall_client_memory_refused_total{budget="answer-bytes"} 3`,
		`rollcall_rpcs_total{code="NotFound",method="grpc.health.v1.Health/Check"} 2`,
		"rollcall_registry_backlog_bytes 4096",
		`rollcall_raft_store_duration_seconds_bucket{le="0.0025"} 0`,
		`rollcall_raft_store_duration_seconds_bucket{le="0.005"} 1`,
		`rollcall_raft_entry_commands_bucket{le="4"} 0`,
		`rollcall_raft_entry_commands_bucket{le="8"} 1`,
		"rollcall_raft_commit_duration_seconds_sum 0.04",
		"rollcall_apply_duration_seconds_count 1",
		"rollcall_apply_entries_sum 2",
		"rollcall_registry_flush_duration_seconds_sum 1",
		`version="v1.2.3"} 1`,
		`rollcall_build_info{commit="`,
		"rollcall_ready 1",
		"rollcall_reads_ready 0",
		"rollcall_registry_file_bytes 1.048576e+06",
		"rollcall_disk_free_bytes 4.194304e+06",
		`rollcall_connections{port="api"} 7`,
		`rollcall_connections_limit{port="http"} 256`,
		"rollcall_watches 9",
		"rollcall_watches_limit 200000",
		"rollcall_event_watchers 3",
		"rollcall_state_watchers 2",
		"rollcall_lease_streams 4",
		"rollcall_write_streams 5",
		`rollcall_sse_streams{watch="services"} 6`,
		`rollcall_sse_streams{watch="events"} 7`,
		`rollcall_sse_refused_total{limit="node"} 8`,
		`rollcall_sse_refused_total{limit="address"} 9`,
		"rollcall_sse_stalled_total 10",
		`rollcall_service_status{service="shop/cart",status="SERVING"} 1`,
		"rollcall_service_status_truncated 0",
		"rollcall_write_duration_seconds_sum 2",
		"rollcall_linearizable_read_duration_seconds_sum 3",
		"go_goroutines ",
	} {
		if !strings.Contains(body, line+"\n") && !((strings.HasSuffix(line, " ") || strings.HasSuffix(line, `"`)) && strings.Contains(body, line)) {
			t.Errorf("no %q in\n%s", line, body)
		}
	}
	reading = Reading{Leading: true, CommitIndex: 3, AppliedIndex: 4}
	body = scrape()
	for _, line := range []string{"rollcall_is_leader 1", "rollcall_lag_entries 0", "rollcall_leader_contact_age_seconds 0"} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %q on a leader", line)
		}
	}
	reading = Reading{}
	if body = scrape(); strings.Contains(body, "\nrollcall_leader_contact_age_seconds ") {
		t.Error("a node that never heard from a leader gives an age")
	}
}

// TestTwoNodesDoNotMix: nothing is global.
func TestTwoNodesDoNotMix(t *testing.T) {
	a, b := New("a"), New("b")
	a.Collect(func() Reading { return Reading{Term: 1} })
	b.Collect(func() Reading { return Reading{Term: 2} })
	a.Stored(time.Second)
	for _, f := range ours(t, b) {
		if f.GetName() == "rollcall_raft_store_duration_seconds" && f.GetMetric()[0].GetHistogram().GetSampleCount() != 0 {
			t.Error("one node's append is in the other's histogram")
		}
	}
}

func TestNamesFollowTheRules(t *testing.T) {
	m := New("v0")
	m.Collect(full)
	everythingOfRaft(t, m)
	problems, err := promlint.NewWithMetricFamilies(ours(t, m)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

const docPath = "../docs/metrics.md"

// TestMetricsDoc compares docs/metrics.md with the registry; -update writes it.
func TestMetricsDoc(t *testing.T) {
	m := New("v0")
	m.Collect(full)
	everythingOfRaft(t, m)
	all := ours(t, m)
	seen := map[string]bool{}
	var b strings.Builder
	b.WriteString("# Metrics\n\nGenerated from the registry: `go test ./metrics -run TestMetricsDoc -update`.\n\n" + preface)
	b.WriteString(alertRows() + "\n| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range all {
		seen[f.GetName()] = true
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	for _, f := range families {
		if !seen[f.name] {
			t.Errorf("full() has no sample of %s, so the page would miss it", f.name)
		}
	}
	if *update {
		if err := os.WriteFile(docPath, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what the registry says: go test ./metrics -run TestMetricsDoc -update", docPath)
	}
}

const preface = `` + "`GET /metrics` on the HTTP port (`serve --http`; 7602 in `dev`), in Prometheus' text format, with client_golang's `go_*` and `process_*` besides. Units are seconds and bytes. Labels are bounded: members, statuses, gRPC methods and codes, safety rules (at most 1,000); never the name of a client, and that of a service only with `serve --metric-services PREFIX`." + `

What to alert on is in ` + "`docs/alerts.yml`, rules for Prometheus; take the ones you need. They, and the dashboard of `deploy/grafana`, take each job of Prometheus for one cluster (docs/operations.md, \"Probes and metrics over HTTP\")." + `

| when | for | what it means |
|---|---|---|
`
