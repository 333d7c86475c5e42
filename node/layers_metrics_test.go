package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// TestLayersShowInMetrics: overrides, what they show, rules, and rules that were broken on purpose.
func TestLayersShowInMetrics(t *testing.T) {
	var network peerport.Network
	n, get := alone(t, func(cfg *Config) { network = cfg.Network })
	conn, err := grpc.NewClient("passthrough:///"+n.APIAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(network.Dial))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin := rollcallv1.NewAdminClient(conn)
	serving, notServing := healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING
	for i := range 5 {
		if _, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: fmt.Sprint("pay/", i), Status: &serving}); err != nil {
			t.Fatal(err)
		}
	}
	least := int64(3)
	for {
		_, err := admin.SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "pay-min", Pattern: "pay/*", MinServing: &least})
		if err == nil {
			break
		}
		if status.Code(err) != codes.FailedPrecondition { // the feature level has not risen yet
			t.Fatal(err)
		}
	}
	if _, err := admin.SetOverride(ctx, &rollcallv1.SetOverrideRequest{
		Pattern: "pay/*", Status: &notServing, Reason: "fire", BreakGlass: []string{"pay-min"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "pay/1", Status: &serving}); err != nil {
		t.Fatal(err)
	}
	_, body := get("/metrics")
	for name, want := range map[string]float64{
		`rollcall_services{status="SERVING"}`:                5,
		"rollcall_overrides":                                 2,
		`rollcall_overridden_services{status="NOT_SERVING"}`: 4,
		`rollcall_overridden_services{status="SERVING"}`:     1,
		`rollcall_overridden_services{status="UNKNOWN"}`:     0,
		`rollcall_rule_needed{rule="pay-min"}`:               3,
		`rollcall_rule_serving{rule="pay-min"}`:              1,
		"rollcall_break_glass_total":                         1,
	} {
		if got := sample(body, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
