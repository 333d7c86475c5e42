package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

// solo is a cluster of one in this process, on real sockets, so that its memory can be looked at.
type solo struct {
	t    *testing.T
	node *node.Node
	api  string
	conn *grpc.ClientConn
}

func startSolo(t testing.TB, configure func(*node.Config)) (api string, n *node.Node) {
	t.Helper()
	cfg := node.DefaultConfig()
	cfg.Name = "n1"
	cfg.DataDir = filepath.Join(dataDir(t), "n1")
	cfg.Members = []node.Member{{Name: "n1", APIAddress: "127.0.0.1:0", PeerAddress: "127.0.0.1:1"}}
	cfg.PeerListen = "127.0.0.1:0"
	cfg.DrainDelay = 0
	cfg.Logger = slog.New(slog.DiscardHandler)
	if configure != nil {
		configure(&cfg)
	}
	n, err := node.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n.APIAddress(), n
}

func newSolo(t *testing.T, configure func(*node.Config)) *solo {
	t.Helper()
	s := &solo{t: t}
	s.api, s.node = startSolo(t, configure)
	conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.conn = conn
	eventually(t, "the node to be ready", func(ctx context.Context) bool { return s.check(ctx, "") == serving })
	return s
}

func (s *solo) check(ctx context.Context, service string) healthpb.HealthCheckResponse_ServingStatus {
	resp, err := healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		return unknown
	}
	return resp.GetStatus()
}

func (s *solo) set(service string, to healthpb.HealthCheckResponse_ServingStatus) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := rollcallv1.NewAdminClient(s.conn).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: service, Status: to.Enum()}); err != nil {
		s.t.Fatalf("set %s: %v", service, err)
	}
}

func (s *solo) watch(service string) grpc.ServerStreamingClient[healthpb.HealthCheckResponse] {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience+time.Duration(*hostileFlips)*10*time.Millisecond)
	s.t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(s.conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		s.t.Fatal(err)
	}
	return stream
}

func (s *solo) next(stream grpc.ServerStreamingClient[healthpb.HealthCheckResponse], want healthpb.HealthCheckResponse_ServingStatus) {
	s.t.Helper()
	if resp, err := stream.Recv(); err != nil || resp.GetStatus() != want {
		s.t.Fatalf("an honest watcher got %v %v, want %v", resp, err, want)
	}
}

// flip makes n flips, one after the other, each seen by an honest watcher before the next is made: a
// hostile client that could hold up an apply, a write, a read or another watcher would hang it.
func (s *solo) flip(service string, n int, honest grpc.ServerStreamingClient[healthpb.HealthCheckResponse]) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(n)*10*time.Millisecond)
	defer cancel()
	for i := range n {
		to := serving
		if i%2 == 0 {
			to = notServing
		}
		s.set(service, to)
		if got := s.check(ctx, service); got != to {
			s.t.Fatalf("Check answers %v, %v was set", got, to)
		}
		s.next(honest, to)
	}
}

// watches waits until n watches are open.
func (s *solo) watches(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d watches", n), func(context.Context) bool { return s.node.OpenWatches() == n })
}

// footprint is what must be back when the hostile are gone.
type footprint struct {
	goroutines int
	heap       int64 // and stacks
}

func measure() footprint {
	runtime.GC()
	runtime.GC() // what sync.Pools hold survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), int64(m.HeapAlloc + m.StackInuse)}
}

// goroutineBytes is what Go keeps of a goroutine that has ended, for the next. With the race detector, or
// another load, ends of streams come faster than they are dealt with.
const goroutineBytes = 512

// peakGoroutines returns what tells how many goroutines there were at once, and ends.
func peakGoroutines() (peak func() int64) {
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		n := 0
		for {
			n = max(n, runtime.NumGoroutine())
			select {
			case <-tick.C:
			case <-stop:
				most <- int64(n)
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most
	}
}

// settles waits until no more goroutines run, and not much more memory is in use, than before.
func (s *solo) settles(before footprint, slack int64) (now footprint) {
	s.t.Helper()
	eventually(s.t, "goroutines and memory to be back", func(context.Context) bool {
		now = measure()
		return now.goroutines <= before.goroutines && now.heap <= before.heap+slack
	})
	s.t.Logf("goroutines %d -> %d, heap %d -> %d KiB", before.goroutines, now.goroutines, before.heap>>10, now.heap>>10)
	return now
}
