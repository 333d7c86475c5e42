package cluster_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
)

var (
	hostileFlips  = flag.Int("hostile-flips", 1_000, "flips in TestP8NeverReading")
	hostileNames  = flag.Int("hostile-names", 50_000, "names in TestP8RandomNames")
	hostileResets = flag.Int("hostile-resets", 50_000, "streams in TestP8RapidResets")
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
	cfg.DataDir = filepath.Join(t.TempDir(), "n1")
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

// raw is a client that says what it likes in HTTP/2.
type raw struct {
	t    testing.TB
	conn net.Conn
	fr   *http2.Framer
	mu   sync.Mutex // guards writing, and what follows
	head bytes.Buffer
	enc  *hpack.Encoder
	next uint32 // stream
}

func newRaw(t testing.TB, conn net.Conn, settings ...http2.Setting) *raw {
	t.Helper()
	r := &raw{t: t, conn: conn, fr: http2.NewFramer(conn, conn), next: 1}
	r.enc = hpack.NewEncoder(&r.head)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

func dialRaw(t testing.TB, api string, settings ...http2.Setting) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", api)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newRaw(t, conn, settings...)
}

// open begins a watch and returns its stream. Without a name, the request is never sent.
func (r *raw) open(service *string) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next += 2
	r.head.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/grpc.health.v1.Health/Watch"}, {":authority", "n1"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := r.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return 0, err
		}
	}
	if err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.head.Bytes(), EndHeaders: true}); err != nil {
		return 0, err
	}
	if service == nil {
		return id, nil
	}
	msg, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: *service})
	if err != nil {
		return 0, err
	}
	framed := append([]byte{0, 0, 0, byte(len(msg) >> 8), byte(len(msg))}, msg...) // uncompressed, length
	return id, r.fr.WriteData(id, true, framed)
}

func (r *raw) mustOpen(service *string) uint32 {
	r.t.Helper()
	id, err := r.open(service)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *raw) reset(id uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fr.WriteRSTStream(id, http2.ErrCodeCancel)
}

// listen reads until the connection ends, answers settings and pings as an honest client would, gives
// the connection window back, and calls data, if given, for each answer.
func (r *raw) listen(wg *sync.WaitGroup, data func()) {
	wg.Go(func() {
		var taken, bytes uint32
		for {
			f, err := r.fr.ReadFrame()
			if err != nil {
				return
			}
			r.mu.Lock()
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					r.fr.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !f.IsAck() {
					r.fr.WritePing(true, f.Data)
				}
			case *http2.DataFrame:
				if taken += f.Length; taken > 16<<10 {
					r.fr.WriteWindowUpdate(0, taken)
					taken = 0
				}
			}
			r.mu.Unlock()
			if d, ok := f.(*http2.DataFrame); ok && data != nil {
				// An answer is seven bytes, a prefix of five and a status, and may come in pieces.
				for bytes += d.Length; bytes >= 7; bytes -= 7 {
					data()
				}
			}
		}
	})
}

// TestP8NeverReading has watchers that never take an answer: some do not read at all, some answer
// every ping but give the server no window.
func TestP8NeverReading(t *testing.T) {
	needProcesses(t)
	const each = 300
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest) // warm
	before := measure()

	deaf := dialRaw(t, s.api)
	var wg sync.WaitGroup
	mean := dialRaw(t, s.api, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	mean.listen(&wg, nil)
	name := "payments"
	for range each {
		deaf.mustOpen(&name)
		mean.mustOpen(&name)
	}
	s.watches(2*each + 1)

	s.flip("payments", *hostileFlips, honest)

	full := measure()
	hostile := s.node.OpenWatches() - 1
	if hostile < each {
		t.Errorf("%d hostile watches are left; those that answer pings should be", hostile)
	}
	deaf.conn.Close()
	mean.conn.Close()
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	// The registry keeps the newest events in memory.
	after := s.settles(before, 8<<20+int64(*hostileFlips)*250)
	perWatch := (full.heap - after.heap) / int64(max(1, hostile))
	t.Logf("%d flips: each of %d watches that never read had %d bytes", *hostileFlips, hostile, perWatch)
	// One that reads has about 12,000. gRPC alone would keep some 150 more for each flip.
	if perWatch > 30_000 {
		t.Errorf("each watch that never reads has %d bytes after %d flips", perWatch, *hostileFlips)
	}
}

// TestVirtualP8HalfOpen has clients that go without a word, at every stage. In virtual time, as finding them
// takes up to 40 s.
func TestVirtualP8HalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newVirtual(t, 1, nil)
		defer c.close()
		n := c.nodes[0]
		n.start()
		c.waitReady()
		c.leader()
		synctest.Wait()
		before := runtime.NumGoroutine()
		dial := func() net.Conn {
			conn, err := c.dialer(c.ctx, n.api)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		name := "payments"
		for range 10 {
			dial()                                                          // not a word
			newRaw(t, dial())                                               // a greeting
			newRaw(t, dial()).mustOpen(&name)                               // a watch
			newRaw(t, dial()).mustOpen(nil)                                 // the beginning of one
			if _, err := io.WriteString(dial(), "PRI * HTTP"); err != nil { // half a greeting
				t.Fatal(err)
			}
		}
		c.until("20 watches", func() bool { return n.node.OpenWatches() == 20 })
		took := c.until("all watches to be found", func() bool { return n.node.OpenWatches() == 0 })
		if took > 41*time.Second {
			t.Errorf("they were found after %s", took)
		}
		// Goroutines of the node's own come and go meanwhile, so this is not timed.
		c.until("their goroutines to end", func() bool {
			synctest.Wait()
			return runtime.NumGoroutine() <= before
		})
		if n.check(rollcallv1.OwnReads) != serving {
			t.Error("the node does not serve")
		}
	})
}

// TestP8RapidResets opens and resets streams as fast as it can.
func TestP8RapidResets(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()

	var wg sync.WaitGroup
	name := "payments"
	conns := []*raw{dialRaw(t, s.api), dialRaw(t, s.api)}
	for _, r := range conns {
		r.listen(&wg, nil)
		wg.Go(func() {
			for range *hostileResets / len(conns) {
				id, err := r.open(&name)
				if err == nil {
					err = r.reset(id)
				}
				if err != nil {
					return // the server may well hang up on it
				}
			}
		})
	}
	s.flip("payments", 100, honest)
	eventually(t, "the resets to be over", func(context.Context) bool {
		for _, r := range conns {
			r.mu.Lock()
			next := r.next
			r.mu.Unlock()
			if int(next/2) < *hostileResets/len(conns) {
				return false
			}
		}
		return true
	})
	for _, r := range conns {
		r.conn.Close()
	}
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	s.settles(before, 8<<20)
}

// TestP8RandomNames watches names that do not exist, a batch at a time.
func TestP8RandomNames(t *testing.T) {
	needProcesses(t)
	const batch = 1_000
	s := newSolo(t, nil)
	s.set("payments", serving)
	honest := s.watch("payments")
	s.next(honest, serving)
	s.flip("payments", 2, honest)
	before := measure()

	var wg sync.WaitGroup
	r := dialRaw(t, s.api)
	answers := make(chan struct{}, batch) // as many as may come before they are counted
	r.listen(&wg, func() { answers <- struct{}{} })
	random := rand.NewChaCha8([32]byte{1})
	for done := 0; done < *hostileNames; done += batch {
		ids := make([]uint32, batch)
		for i := range ids {
			name := fmt.Sprintf("random/%0100x", random.Uint64())
			ids[i] = r.mustOpen(&name)
		}
		for range ids {
			<-answers
		}
		for _, id := range ids {
			if err := r.reset(id); err != nil {
				t.Fatal(err)
			}
		}
		if done%(10*batch) == 0 {
			s.flip("payments", 2, honest)
		}
	}
	r.conn.Close()
	wg.Wait()
	s.watches(1)
	s.flip("payments", 2, honest)
	// 100 bytes for each name would be seen.
	s.settles(before, min(int64(*hostileNames)*100, 8<<20))
}

// TestP8Limits opens more than is allowed: what is over is refused and named, what is below goes on.
func TestP8Limits(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, func(c *node.Config) {
		c.MaxWatches, c.MaxWatchesPerConnection, c.MaxConnections = 25, 10, 5
	})
	s.set("payments", serving)
	first := s.watch("payments")
	s.next(first, serving)
	dial := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	open := func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	refused := func(err error, quota string) {
		t.Helper()
		if got := quotaOf(err); status.Code(err) != codes.ResourceExhausted || got != quota {
			t.Errorf("got %v with quota %q, want RESOURCE_EXHAUSTED with %q", err, got, quota)
		}
	}
	greedy, leave := context.WithCancel(ctx)
	one, two, three := dial(), dial(), dial()
	for range 10 {
		if err := open(greedy, one); err != nil {
			t.Fatal(err)
		}
	}
	refused(open(ctx, one), "watches-per-connection")
	// The connection's limit leaves room for its calls.
	if resp, err := healthpb.NewHealthClient(one).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || resp.GetStatus() != serving {
		t.Errorf("Check on a connection that is full of watches: %v %v", resp, err)
	}
	for range 10 {
		if err := open(greedy, two); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if err := open(ctx, three); err != nil {
			t.Fatal(err)
		}
	}
	refused(open(ctx, three), "watches")
	s.watches(25)

	// One connection more is accepted, the next is not; a closed one makes room.
	if err := open(ctx, dial()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the last connection got %v", err)
	}
	over := dial()
	if err := open(ctx, over); status.Code(err) != codes.Unavailable {
		t.Errorf("a connection too many got %v, want UNAVAILABLE", err)
	}
	leave()
	one.Close()
	s.watches(5)
	eventually(t, "room for a connection", func(ctx context.Context) bool {
		return open(ctx, dial()) == nil // a new one, which has no backoff
	})
	s.set("payments", notServing)
	s.next(first, notServing)
}

// TestP8ManyHeaders is refused by its size, and costs nobody else anything.
func TestP8ManyHeaders(t *testing.T) {
	needProcesses(t)
	s := newSolo(t, nil)
	honest := s.watch("payments")
	s.next(honest, noService)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := dialRaw(t, s.api)
	var wg sync.WaitGroup
	r.listen(&wg, nil)
	// Headers that never end: continuation after continuation.
	r.mu.Lock()
	r.head.Reset()
	if err := r.enc.WriteField(hpack.HeaderField{Name: "x-long", Value: string(bytes.Repeat([]byte{'x'}, 8<<10))}); err != nil {
		t.Fatal(err)
	}
	err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.head.Bytes()})
	r.mu.Unlock()
	for n := 0; err == nil; n++ {
		if n > 10_000 {
			t.Fatal("the server reads headers without end")
		}
		r.mu.Lock()
		err = r.fr.WriteContinuation(1, false, r.head.Bytes())
		r.mu.Unlock()
	}
	wg.Wait() // it hung up
	if got := s.check(ctx, ""); got != serving {
		t.Errorf("Check answers %v", got)
	}
	s.set("payments", serving)
	s.next(honest, serving)
}

// quotaOf is the subject of an error's QuotaFailure.
func quotaOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if q, ok := d.(*errdetails.QuotaFailure); ok && len(q.GetViolations()) > 0 {
			return q.GetViolations()[0].GetSubject()
		}
	}
	return ""
}
