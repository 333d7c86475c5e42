package cluster_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

// pageServices is how many services a page shows at most.
const pageServices = 100_000

// startWithServices is a node with very many services. In each batch of 1,000 they have one time.
func startWithServices(b *testing.B, count int) (n *node.Node, conn *grpc.ClientConn) {
	b.Helper()
	api, n := startSolo(b, func(c *node.Config) { c.HTTPListen, c.MaxHTTPConnections = "127.0.0.1:0", 512 })
	conn, err := grpc.NewClient(api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	const batch = 1000
	for from := 0; from < count; from += batch {
		req := &rollcallv1.BatchSetServingStatusRequest{Reason: "load"}
		for i := from; i < min(from+batch, count); i++ {
			req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("group-%03d/service-%05d", i%500, i), Status: serving.Enum()})
		}
		if _, err := rollcallv1.NewAdminClient(conn).BatchSetServingStatus(context.Background(), req, grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
	}
	return n, conn
}

// BenchmarkSSEFirstState: what the first picture of a page takes: bytes on the wire, and time.
func BenchmarkSSEFirstState(b *testing.B) {
	n, _ := startWithServices(b, pageServices)
	for _, view := range []string{"status", "full"} {
		for _, gzipped := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/gzip-%t", view, gzipped), func(b *testing.B) {
				var bytes int64
				for b.Loop() {
					r := openSSE(b, "http://"+n.HTTPAddress()+"/api/v1/services:watch?view="+view, "", gzipped)
					s := sseState{}
					s.read(r, 1)
					if len(s.statuses) != pageServices {
						b.Fatalf("%d services", len(s.statuses))
					}
					bytes = r.bytes.n.Load()
					r.close()
				}
				b.ReportMetric(float64(bytes)/1e6, "MB")
			})
		}
	}
}

// BenchmarkCheckBesideSSE: what a Check takes while a hundred pages are open on a node and nothing changes, compared with
// none, in turns on one node. It counts the time of processors, which says the same on a machine that is busy with other
// things. The median of the ratios is reported, and the part of one processor that the pages take while nobody calls.
func BenchmarkCheckBesideSSE(b *testing.B) {
	const pages, callers, turn = 100, 8, 500 * time.Millisecond
	n, conn := startWithServices(b, 1000)
	health := healthpb.NewHealthClient(conn)
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	checks := func() float64 {
		var all sync.WaitGroup
		var mu sync.Mutex
		sum := 0
		runtime.GC()
		began, before := time.Now(), used()
		for range callers {
			all.Go(func() {
				done := 0
				for time.Since(began) < turn {
					if _, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{Service: "group-001/service-00001"}); err != nil {
						b.Error(err)
						return
					}
					done++
				}
				mu.Lock()
				defer mu.Unlock()
				sum += done
			})
		}
		all.Wait()
		return float64(used()-before) / float64(sum)
	}
	checks() // to warm up
	idle := func() float64 {
		const long = time.Second
		before := used()
		time.Sleep(long)
		return float64(used()-before) / float64(long)
	}
	var ratios, idles []float64
	for b.Loop() {
		without, alone := checks(), idle()
		var readers []*sseReader
		var reading sync.WaitGroup
		for range pages {
			r := openSSE(b, "http://"+n.HTTPAddress()+"/api/v1/services:watch?view=status", "", true)
			(&sseState{}).read(r, 1)
			readers = append(readers, r)
			reading.Go(func() {
				for {
					if _, err := r.next(); err != nil {
						return
					}
				}
			})
		}
		with := checks()
		idles = append(idles, idle()-alone)
		for _, r := range readers {
			r.close()
		}
		reading.Wait()
		again := checks()
		ratios = append(ratios, (without+again)/(2*with)) // as that of calls in a time: below 1 is slower
	}
	slices.Sort(ratios)
	slices.Sort(idles)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(idles[len(idles)/2]*100, "%idle")
}
