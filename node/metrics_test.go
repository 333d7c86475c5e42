package node

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// TestClientsShowInMetrics: connections, watches by kind, the time of writes and of linearizable reads, and the
// services that were asked for; and docs/metrics.md knows everything that a node exposes.
func TestClientsShowInMetrics(t *testing.T) {
	var network peerport.Network
	n, get := alone(t, func(cfg *Config) {
		cfg.MetricServices = []string{"shop/", "shop/cart", "pay/"}
		network = cfg.Network
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+n.APIAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(network.Dial))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	serving := healthpb.HealthCheckResponse_SERVING
	for i := range 10 {
		if _, err := rollcallv1.NewAdminClient(conn).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{
			Service: fmt.Sprintf("shop/cart/%d", i), Status: serving.Enum(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	health := healthpb.NewHealthClient(conn)
	for _, consistency := range []string{"linearizable", "local"} {
		asked := metadata.AppendToOutgoingContext(ctx, "rollcall-consistency", consistency)
		if _, err := health.Check(asked, &healthpb.HealthCheckRequest{Service: "shop/cart/1"}); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{Service: "shop/cart/1"})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	registry := rollcallv1.NewRegistryClient(conn)
	for range 2 {
		events, err := registry.WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
		if err == nil {
			_, err = events.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	state, err := registry.WatchServices(ctx, &rollcallv1.WatchServicesRequest{})
	if err == nil {
		_, err = state.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := n.raft.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	_, body := get("/metrics")
	for name, want := range map[string]float64{
		"rollcall_watches":                                                4,
		"rollcall_watches_limit":                                          200_000,
		"rollcall_event_watchers":                                         2,
		"rollcall_state_watchers":                                         1,
		`rollcall_connections{port="http"}`:                               1,
		`rollcall_connections_limit{port="http"}`:                         256,
		"rollcall_write_duration_seconds_count":                           10,
		"rollcall_linearizable_read_duration_seconds_count":               1,
		"rollcall_ready":                                                  1,
		"rollcall_reads_ready":                                            1,
		"rollcall_service_status_truncated":                               0,
		`rollcall_service_status{service="shop/cart/2",status="SERVING"}`: 1,
	} {
		if got := sample(body, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"rollcall_registry_file_bytes", "rollcall_log_bytes", "rollcall_snapshots_bytes", "rollcall_disk_free_bytes"} {
		if got := sample(body, name); got <= 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
	if age := sample(body, "rollcall_last_snapshot_age_seconds"); age < 0 || age > 600 {
		t.Errorf("the last snapshot is %v s old", age)
	}
	for i := range 3 {
		var w logv1.Write
		for j := range metrics.MaxServiceSeries / 2 {
			w.Changes = append(w.Changes, &logv1.Change{Service: fmt.Sprintf("pay/%d/%d", i, j), Status: logv1.Status_STATUS_SERVING})
		}
		if _, err := n.server.Propose(ctx, &logv1.Command{Kind: &logv1.Command_Write{Write: &w}}); err != nil {
			t.Fatal(err)
		}
	}
	_, body = get("/metrics")
	if series := strings.Count(body, "\nrollcall_service_status{"); series != metrics.MaxServiceSeries || sample(body, "rollcall_service_status_truncated") != 1 {
		t.Errorf("%d services have a series, truncated: %v", series, sample(body, "rollcall_service_status_truncated"))
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	families := regexp.MustCompile(`(?m)^# TYPE (rollcall_\S+) `).FindAllStringSubmatch(body, -1)
	if len(families) < 40 {
		t.Errorf("only %d families", len(families))
	}
	for _, f := range families {
		if !strings.Contains(string(page), "| `"+f[1]+"` |") {
			t.Errorf("docs/metrics.md does not know %s", f[1])
		}
	}
}
