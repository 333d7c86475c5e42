package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// BenchmarkUnrelatedWrites measures what a write costs, in processor time of the whole process, beside very many
// watches of other services: none, 10,000 watches of the standard, 10,000 names on 100 watches of services and on
// 10,000, and for comparison watches by prefixes. The clients are in this process, too. Only those by prefixes
// receive anything. docs/benchmarks.md has the figures.
func BenchmarkUnrelatedWrites(b *testing.B) {
	const names = 10_000
	name := func(i int) string { return fmt.Sprintf("watched/%05d", i) }
	byNames := func(streams int) func(i int) *rollcallv1.WatchServicesRequest {
		return func(i int) *rollcallv1.WatchServicesRequest {
			req := &rollcallv1.WatchServicesRequest{}
			for j := range names / streams {
				req.Services = append(req.Services, name(i*(names/streams)+j))
			}
			return req
		}
	}
	byPrefix := func(i int) *rollcallv1.WatchServicesRequest {
		return &rollcallv1.WatchServicesRequest{Prefixes: []string{name(i)}}
	}
	for _, tt := range []struct {
		name    string
		watches int // of the standard
		streams int // of WatchServices
		request func(i int) *rollcallv1.WatchServicesRequest
	}{
		{"none", 0, 0, nil},
		{"health-10000", names, 0, nil},
		{"names-100x100", 0, 100, byNames(100)},
		{"names-10000x1", 0, 10_000, byNames(10_000)},
		{"prefixes-100", 0, 100, byPrefix},
		{"prefixes-1000", 0, 1000, byPrefix},
	} {
		b.Run(tt.name, func(b *testing.B) {
			api, n := startSolo(b, nil)
			ctx, cancel := context.WithCancel(context.Background())
			dial := func() *grpc.ClientConn {
				conn, err := grpc.NewClient(api, grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { conn.Close() })
				return conn
			}
			b.Cleanup(cancel)
			admin := rollcallv1.NewAdminClient(dial())
			write := func(i int) {
				req := &rollcallv1.SetServingStatusRequest{Service: "unrelated", Status: []healthpb.HealthCheckResponse_ServingStatus{serving, notServing}[i%2].Enum()}
				if _, err := admin.SetServingStatus(ctx, req, grpc.WaitForReady(true)); err != nil {
					b.Fatal(err)
				}
			}
			write(0)
			const perConnection = 1000
			var conn *grpc.ClientConn
			for i := range tt.watches + tt.streams {
				if i%perConnection == 0 {
					conn = dial()
				}
				var recv func() error
				if i < tt.watches {
					stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: name(i)})
					if err != nil {
						b.Fatal(err)
					}
					recv = func() error { _, err := stream.Recv(); return err }
				} else {
					stream, err := rollcallv1.NewRegistryClient(conn).WatchServices(ctx, tt.request(i))
					if err != nil {
						b.Fatal(err)
					}
					recv = func() error { _, err := stream.Recv(); return err }
				}
				if err := recv(); err != nil {
					b.Fatal(err)
				}
				go func() {
					for recv() == nil {
					}
				}()
			}
			if got := n.OpenWatches(); got != tt.watches+tt.streams {
				b.Fatalf("%d watches are open", got)
			}
			for i := range 200 {
				write(i + 1)
			}
			used := func() time.Duration {
				var u unix.Rusage
				if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
					b.Fatal(err)
				}
				return time.Duration(u.Utime.Nano() + u.Stime.Nano())
			}
			// The median of parts, because others use this machine, too.
			const part = 100
			var parts []float64
			writes, before := 0, used()
			for b.Loop() {
				writes++
				write(writes)
				if writes%part == 0 {
					now := used()
					parts = append(parts, float64((now-before).Nanoseconds())/part/1000)
					before = now
				}
			}
			if slices.Sort(parts); len(parts) > 0 {
				b.ReportMetric(parts[len(parts)/2], "cpu-µs/op")
			}
		})
	}
}
