package healthserver

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// BenchmarkCheck compares Check with the original's, which allocates the answer.
func BenchmarkCheck(b *testing.B) {
	src := newFakeSource()
	src.say(map[string]opinion{service: absent()})
	on := mustNew(b, withRegistry(src, &fakeLease{}))
	srcOff := newFakeSource()
	srcOff.say(map[string]opinion{service: report(client.NotServing, "")})
	off := mustNew(b, withRegistry(srcOff, &fakeLease{}))
	for _, bench := range []struct {
		name   string
		server healthpb.HealthServer
		asked  string
	}{
		{"original", health.NewServer(), ""},
		{"on", on, ""},
		{"off", off, ""},
		{"original NOT_FOUND", health.NewServer(), "nobody"},
		{"NOT_FOUND", on, "nobody"},
		{"service, not set", on, service},
	} {
		b.Run(bench.name, func(b *testing.B) {
			in := &healthpb.HealthCheckRequest{Service: bench.asked}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = bench.server.Check(context.Background(), in)
			}
		})
	}
}

func BenchmarkGate(b *testing.B) {
	src := newFakeSource()
	src.say(map[string]opinion{service: absent()})
	on := mustNew(b, withRegistry(src, &fakeLease{}))
	srcOff := newFakeSource()
	srcOff.say(map[string]opinion{service: report(client.NotServing, "")})
	off := mustNew(b, withRegistry(srcOff, &fakeLease{}))
	handler := func(context.Context, any) (any, error) { return nil, nil }
	info := &grpc.UnaryServerInfo{FullMethod: method}
	for name, s := range map[string]*Server{"on": on, "off": off} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.UnaryGate(context.Background(), nil, info, handler)
			}
		})
	}
}
