package node

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// TestLeasesShowInMetrics: those that live, those that were renewed, and those that expired.
func TestLeasesShowInMetrics(t *testing.T) {
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
	grant := func(ttl time.Duration) string {
		t.Helper()
		for {
			lease, err := admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(ttl)})
			if err == nil {
				return lease.GetLeaseId()
			}
			if status.Code(err) != codes.FailedPrecondition { // the feature level has not risen yet
				t.Fatal(err)
			}
		}
	}
	long, short := grant(time.Hour), grant(time.Second)
	stream, err := admin.KeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: []string{long, short}}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || len(answer.GetRenewedLeaseIds()) != 2 {
		t.Fatal(answer, err)
	}
	_, body := get("/metrics")
	for sample(body, "rollcall_leases_expired_total") == 0 && ctx.Err() == nil {
		_, body = get("/metrics")
	}
	for name, want := range map[string]float64{
		"rollcall_leases":               1,
		"rollcall_leases_late":          0,
		"rollcall_lease_guard_engaged":  0,
		"rollcall_lease_renewals_total": 2,
		"rollcall_leases_expired_total": 1,
	} {
		if got := sample(body, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if s := n.lessor.Stats(); s.Live != 1 || s.Expired != 1 {
		t.Errorf("the lessor counts %+v", s)
	}
}
