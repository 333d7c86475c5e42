package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// halfSent is a request whose client sends so many bytes of it, each step in a frame of its own, and then
// waits.
type halfSent struct {
	prefix []byte
	bytes  int // after the prefix: zeros
	step   int
	sent   func()
	wait   <-chan struct{}
}

func (h *halfSent) Read(p []byte) (int, error) {
	if len(h.prefix) > 0 {
		n := copy(p, h.prefix)
		h.prefix = h.prefix[n:]
		return n, nil
	}
	if h.bytes > 0 {
		n := min(len(p), h.bytes, h.step)
		clear(p[:n])
		h.bytes -= n
		return n, nil
	}
	h.sent()
	<-h.wait
	return 0, io.ErrUnexpectedEOF
}

func messagePrefix(compressed byte, size int) []byte {
	return binary.BigEndian.AppendUint32([]byte{compressed}, uint32(size))
}

// peakHeap calls do and returns by how many bytes the heap in use grew at most.
func peakHeap(do func()) int64 {
	for range 3 { // what pools hold survives two
		runtime.GC()
	}
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapInuse))
			select {
			case <-done:
				return
			case <-look.C:
			}
		}
	})
	do()
	close(done)
	watching.Wait()
	return int64(peak.Load()) - int64(before.HeapInuse)
}

// TestP8HalfSentRequestsAreBounded: clients begin many calls and never end their requests, or send what takes
// far more memory here than on the way. The node's memory is bounded in bytes, and other clients are answered.
func TestP8HalfSentRequestsAreBounded(t *testing.T) {
	const batch, check, watch = "/rollcall.v1.Admin/BatchSetServingStatus", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
	// The node's part, and as much again and more for what this client needs, and for garbage.
	const limit = MinClientMemory/4 + 200<<20
	var unencrypted http.Protocols
	unencrypted.SetUnencryptedHTTP2(true)
	for name, tt := range map[string]struct {
		path, encoding     string
		connections, calls int
		body               halfSent
		unbounded          int64 // about how much it would be
	}{
		"all but the last byte":         {batch, "", 6, 60, halfSent{prefix: messagePrefix(0, 4<<20), bytes: 4<<20 - 1, step: 1 << 20}, 1_300 << 20},
		"of a small request's method":   {check, "", 6, 60, halfSent{prefix: messagePrefix(0, 4<<20), bytes: 4<<20 - 1, step: 1 << 20}, 1_300 << 20},
		"of a watch":                    {watch, "", 6, 60, halfSent{prefix: messagePrefix(0, 4<<20), bytes: 4<<20 - 1, step: 1 << 20}, 1_300 << 20},
		"all but the end of the call":   {batch, "", 6, 60, halfSent{prefix: messagePrefix(0, 4<<20), bytes: 4 << 20, step: 1 << 20}, 1_300 << 20},
		"a byte a frame":                {batch, "", 4, 50, halfSent{prefix: messagePrefix(0, 4<<20), bytes: 64 << 10, step: 1}, 660 << 20},
		"a second request":              {batch, "", 6, 60, halfSent{prefix: append(messagePrefix(0, 0), messagePrefix(0, 4<<20)...), bytes: 4<<20 - 1, step: 1 << 20}, 1_300 << 20},
		"inflated, the call stays open": {batch, "gzip", 6, 60, halfSent{}, 1_600 << 20},
		"empty changes":                 {batch, "", 6, 15, halfSent{}, 8_000 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "inflated, the call stays open":
				message := deflate(t, make([]byte, 4<<20))
				tt.body.prefix = append(messagePrefix(1, len(message)), message...)
			case "empty changes":
				tt.body.prefix = messagePrefix(0, 4<<20)
				for range 2 << 20 {
					tt.body.prefix = append(tt.body.prefix, 1<<3|2, 0) // field 1, no bytes
				}
			}
			n := single(t, func(cfg *Config) { cfg.ClientMemory = MinClientMemory })
			n.registry.set("svc", serving)
			wait := make(chan struct{})
			var calls sync.WaitGroup
			var refused atomic.Int64
			grown := peakHeap(func() {
				var settled sync.WaitGroup
				for range tt.connections {
					client := &http.Transport{
						DisableCompression: true, MaxConnsPerHost: 1, Protocols: &unencrypted,
						DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.apiLis.DialContext(ctx) },
					}
					for range tt.calls {
						settled.Add(1)
						calls.Go(func() {
							once := sync.OnceFunc(settled.Done)
							defer once()
							body := tt.body
							body.sent, body.wait = once, wait
							req, err := http.NewRequest(http.MethodPost, "http://n1"+tt.path, &body)
							if err != nil {
								t.Error(err)
								return
							}
							req.Header.Set("Content-Type", "application/grpc")
							req.Header.Set("Te", "trailers")
							if tt.encoding != "" {
								req.Header.Set("Grpc-Encoding", tt.encoding)
							}
							res, err := client.RoundTrip(req)
							if err != nil {
								return // its body ended early
							}
							if status := res.Header.Get("Grpc-Status"); status == "8" { // RESOURCE_EXHAUSTED
								refused.Add(1)
							}
							res.Body.Close()
						})
					}
					defer client.CloseIdleConnections()
				}
				settled.Wait()
				ctx := patient(t)
				for i := range 20 {
					if res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"}); err != nil || res.GetStatus() != serving {
						t.Errorf("Check beside them: %v, %v", res, err)
					}
					req := &rollcallv1.BatchSetServingStatusRequest{}
					for j := range 1_000 {
						req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: fmt.Sprintf("a-service-with-a-name/%d/%d", i, j), Status: serving.Enum()})
					}
					if _, err := n.admin().BatchSetServingStatus(ctx, req); err != nil {
						t.Errorf("a batch beside them: %v", err)
					}
				}
			})
			t.Logf("%d calls took %d MiB of about %d, %d were refused", tt.connections*tt.calls, grown>>20, tt.unbounded>>20, refused.Load())
			if grown > limit {
				t.Errorf("it took %d MiB; with its client it may take %d", grown>>20, limit>>20)
			}
			close(wait)
			calls.Wait()
		})
	}
}
