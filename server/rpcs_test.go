package server

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcstats"
)

func TestRPCsAreCounted(t *testing.T) {
	n := single(t)
	n.registry.set("svc", serving)
	ctx := patient(t)
	for range 3 {
		if _, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	_, _ = n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: ""})
	_, _ = n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "svc", Status: serving.Enum()})
	w, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "a\x00b"})
	if err == nil {
		_, _ = w.Recv() // until it has ended
	}
	got := map[string]uint64{}
	for _, c := range n.RPCs() {
		got[fmt.Sprint(c.Method, " ", c.Code)] = c.Count
	}
	want := map[string]uint64{
		"grpc.health.v1.Health/Check OK":                     3,
		"grpc.health.v1.Health/Check NotFound":               1,
		"grpc.health.v1.Health/Watch InvalidArgument":        1,
		"rollcall.v1.Admin/SetServingStatus InvalidArgument": 1,
		"rollcall.v1.Admin/SetServingStatus OK":              1,
	}
	for key, count := range want {
		if got[key] != count {
			t.Errorf("%s is counted %d times, want %d; all: %v", key, got[key], count, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted: %v", got)
	}
}

// registrar catches what is registered.
type registrar struct{ desc *grpc.ServiceDesc }

func (r *registrar) RegisterService(desc *grpc.ServiceDesc, _ any) { r.desc = desc }

// checkHandlers returns what gRPC calls for a Check, as generated and counted.
func checkHandlers() (plain, counted grpc.MethodHandler) {
	r := &registrar{}
	rpcstats.New().On(r).RegisterService(&healthpb.Health_ServiceDesc, nil)
	return healthpb.Health_ServiceDesc.Methods[0].Handler, r.desc.Methods[0].Handler
}

func decodeInto(name string) func(any) error {
	return func(m any) error {
		m.(*healthpb.HealthCheckRequest).Service = name
		return nil
	}
}

// TestCountingDoesNotAllocate compares with the generated handler, which allocates the request.
func TestCountingDoesNotAllocate(t *testing.T) {
	h, ctx := hotHealth()
	plain, counted := checkHandlers()
	for _, name := range []string{"svc", "none"} {
		dec := decodeInto(name)
		allocs := func(handler grpc.MethodHandler) float64 {
			return testing.AllocsPerRun(1000, func() { _, _ = handler(h, ctx, dec, nil) })
		}
		if was, is := allocs(plain), allocs(counted); is != was {
			t.Errorf("Check of %q allocates %v times where it is counted, %v where it is not", name, is, was)
		}
	}
}

// BenchmarkCountedCheck is what counting costs, alone and with all cores on one counter.
func BenchmarkCountedCheck(b *testing.B) {
	h, ctx := hotHealth()
	plain, counted := checkHandlers()
	for _, bc := range []struct {
		name    string
		handler grpc.MethodHandler
	}{{"plain", plain}, {"counted", counted}} {
		for _, name := range []string{"svc", "none"} {
			dec := decodeInto(name)
			b.Run(bc.name+"-"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = bc.handler(h, ctx, dec, nil)
				}
			})
		}
		dec := decodeInto("svc")
		b.Run(bc.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = bc.handler(h, ctx, dec, nil)
				}
			})
		})
	}
}
