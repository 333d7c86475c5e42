package cluster_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestProcessMetrics scrapes the binary: one node leads, all count the same services, and profiles
// are there because --pprof was given.
func TestProcessMetrics(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{args: []string{"--pprof"}})
	c.set("payments", serving)
	c.set("orders", notServing)
	eventually(t, "one leader and the services in the metrics of all nodes", func(ctx context.Context) bool {
		leaders := 0
		for _, p := range c.nodes {
			body := p.get(ctx, "/metrics")
			if strings.Contains(body, "\nrollcall_is_leader 1\n") {
				leaders++
				for _, other := range c.others(p) {
					if !strings.Contains(body, "\n"+`rollcall_raft_peer_rpc_duration_seconds_count{member="`+other.name+`",rpc="append_entries"} `) {
						return false
					}
				}
			}
			for _, line := range []string{
				`rollcall_leader_known 1`, `rollcall_services{status="SERVING"} 1`, `rollcall_services{status="NOT_SERVING"} 1`, `rollcall_lag_entries 0`,
			} {
				if !strings.Contains(body, "\n"+line+"\n") {
					return false
				}
			}
		}
		return leaders == 1
	})
	eventually(t, "profiles", func(ctx context.Context) bool {
		return strings.Contains(c.nodes[0].get(ctx, "/debug/pprof/goroutine?debug=1"), "goroutine profile")
	})
}

// TestProcessRaftMetrics: the binary shows what raft says of itself, of an election and of writes.
func TestProcessRaftMetrics(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{nodes: 1, args: []string{"--log-store", "boltdb"}})
	for range 10 {
		c.set("payments", serving)
		c.set("payments", notServing)
	}
	positive := func(body, metric string) bool {
		_, after, ok := strings.Cut(body, "\n"+metric+" ")
		line, _, _ := strings.Cut(after, "\n")
		value, err := strconv.ParseFloat(line, 64)
		return ok && err == nil && value > 0
	}
	eventually(t, "raft's own metrics", func(ctx context.Context) bool {
		body := c.nodes[0].get(ctx, "/metrics")
		for _, metric := range []string{
			`rollcall_raft_states_entered_total{state="follower"}`,
			`rollcall_raft_states_entered_total{state="candidate"}`,
			`rollcall_raft_states_entered_total{state="leader"}`,
			`rollcall_raft_heartbeat_timeouts_total`,
			`rollcall_raft_log_written_bytes_total`,
		} {
			if !positive(body, metric) {
				return false
			}
		}
		return strings.Contains(body, "\n"+`rollcall_raft_thread_saturation_ratio{thread="main"} `) &&
			!strings.Contains(body, "raft_fsm_apply") && !strings.Contains(body, "num_goroutines")
	})
}

// get returns the body of an answer, after a line break, or what is wrong.
func (p *process) get(ctx context.Context, path string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.http+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return "\n" + string(body)
}
