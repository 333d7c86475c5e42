package cluster_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestProcessMetrics scrapes the binary: one node leads, all count the same services, and profiles
// are there because --pprof was given.
func TestProcessMetrics(t *testing.T) {
	c := startProcesses(t, processOptions{args: []string{"--pprof"}})
	c.set("payments", serving)
	c.set("orders", notServing)
	transport := &http.Transport{DisableKeepAlives: true}
	get := func(ctx context.Context, p *process, path string) string {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.http+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
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
	eventually(t, "one leader and the services in the metrics of all nodes", func(ctx context.Context) bool {
		leaders := 0
		for _, p := range c.nodes {
			body := get(ctx, p, "/metrics")
			if strings.Contains(body, "\nrollcall_is_leader 1\n") {
				leaders++
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
		return strings.Contains(get(ctx, c.nodes[0], "/debug/pprof/goroutine?debug=1"), "goroutine profile")
	})
}
