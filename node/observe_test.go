package node

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/store/registry"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that are parallel wait most of the time: six at once on two cores.
	if f := flag.Lookup("test.parallel"); f.Value.String() == "2" {
		f.Value.Set("6")
	}
	goleak.VerifyTestMain(m)
}

// alone opens a cluster of one over a network in memory, and returns it leading and announced, with what
// it serves over HTTP.
func alone(t *testing.T, configure func(*Config)) (*Node, func(path string) (int, string)) {
	t.Helper()
	network := memnet.New()
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir = "n1", t.TempDir()
	cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:7600", PeerAddress: "127.0.0.1:7601"}}
	cfg.HTTPListen = "127.0.0.1:7602"
	cfg.Network = network.Host("n1")
	cfg.Logger = slog.New(slog.DiscardHandler)
	if configure != nil {
		configure(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	n, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return network.Dial(ctx, address) },
	}
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.HTTPAddress()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for !n.raft.Status().Leading {
		changed := n.raft.Changed()
		if n.raft.Status().Leading {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("nobody leads")
		}
	}
	// Until it has announced itself it writes without being asked.
	for revision := n.fsm.Revision(); n.fsm.Members()[cfg.Name].GetDirectoryId() == ""; revision = n.fsm.Revision() {
		if err := n.fsm.WaitRevision(ctx, revision+1); err != nil {
			t.Fatal("it does not announce itself: ", err)
		}
	}
	return n, get
}

// sample finds a metric in a scrape; -1: it is not there.
func sample(body, name string) float64 {
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		return -1
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return -1
	}
	return v
}

// TestMetricsAreLive: what happens in a node shows at its /metrics.
func TestMetricsAreLive(t *testing.T) {
	n, get := alone(t, nil)
	ctx := context.Background()
	for i := range 3 {
		cmd := &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{
			{Service: fmt.Sprint("svc", i), Status: logv1.Status_STATUS_SERVING},
		}}}}
		if _, err := n.server.Propose(ctx, cmd); err != nil {
			t.Fatal(err)
		}
	}
	watched := make(chan struct{}, 1) // for the only status
	ready, stop := n.fsm.WatchStatus("svc0", nil, func(server.Status) { watched <- struct{}{} })
	ready()
	<-watched
	if err := n.registryFile.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, body := get("/metrics")
	stop()
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d\n%s", code, body)
	}
	for name, want := range map[string]float64{
		"rollcall_is_leader":                  1,
		"rollcall_leader_known":               1,
		"rollcall_leader_changes_total":       1,
		`rollcall_services{status="SERVING"}`: 3,
		`rollcall_services{status="UNKNOWN"}`: 0,
		"rollcall_watchers":                   1,
		"rollcall_lag_entries":                0,
		"rollcall_leader_contact_age_seconds": 0,
		"rollcall_snapshot_restores_total":    0,
		"rollcall_revision":                   float64(n.fsm.Revision()),
	} {
		if got := sample(body, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name, least := range map[string]float64{
		"rollcall_term":                                  1,
		"rollcall_applied_index":                         4,
		"rollcall_commit_index":                          4,
		"rollcall_raft_store_duration_seconds_count":     4,
		"rollcall_raft_commit_duration_seconds_count":    3,
		"rollcall_raft_entry_commands_sum":               3,
		"rollcall_apply_duration_seconds_count":          1,
		"rollcall_apply_entries_sum":                     3,
		"rollcall_registry_flush_duration_seconds_count": 1,
	} {
		if got := sample(body, name); got < least {
			t.Errorf("%s is %v, want at least %v", name, got, least)
		}
	}
	if code, _ := get("/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	if code, _ := get("/nothing"); code != http.StatusNotFound {
		t.Errorf("/nothing: %d", code)
	}
}

func TestPprofIsOffUnlessAskedFor(t *testing.T) {
	_, get := alone(t, nil)
	if code, _ := get("/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("without the flag: %d", code)
	}
	_, get = alone(t, func(cfg *Config) { cfg.Pprof = true })
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if code, body := get(path); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d", path, code)
		}
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Pprof = "n1", os.TempDir(), true
	cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:1", PeerAddress: "127.0.0.1:2"}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("pprof without HTTP: %v", err)
	}
}

func TestPageIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	_, get := alone(t, nil)
	if code, body := get("/ui/"); code != http.StatusNotFound || !strings.Contains(body, "--web") {
		t.Errorf("without the flag: %d %q", code, body)
	}
	_, get = alone(t, func(cfg *Config) { cfg.Web = true })
	for _, path := range []string{"/", "/ui"} {
		if code, _ := get(path); code != http.StatusTemporaryRedirect {
			t.Errorf("%s: %d", path, code)
		}
	}
	for _, path := range []string{"/ui/", "/ui/events"} {
		if code, body := get(path); code != http.StatusOK || !strings.Contains(body, "/ui/app.js") {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := get("/nothing"); code != http.StatusNotFound {
		t.Errorf("/nothing: %d", code)
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Web = "n1", os.TempDir(), true
	cfg.Members = []Member{{Name: "n1", APIAddress: "127.0.0.1:1", PeerAddress: "127.0.0.1:2"}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("the page without HTTP: %v", err)
	}
}

func TestSlowDiskAndFullBacklogAreTold(t *testing.T) {
	log, said := lines()
	n := &Node{log: log, metrics: metrics.New("v0")}
	n.stored(1, slowDisk)
	n.flushed(registry.Flush{Took: time.Minute, Waiting: 32, Limit: 64})
	if got := said(); got != "" {
		t.Errorf("at the threshold: %s", got)
	}
	n.stored(7, 400*time.Millisecond)
	n.flushed(registry.Flush{Took: 2 * time.Second, Waiting: 33, Limit: 64})
	want := `level=WARN msg="disk is slow: heartbeats wait for it" took=400ms entries=7 threshold=300ms` + "\n" +
		`level=WARN msg="registry file falls behind: entries of the log wait for it" backlog_bytes=33 limit_bytes=64 took=2s`
	if got := said(); got != want {
		t.Errorf("said %s, want %s", got, want)
	}
}
