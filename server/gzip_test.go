package server

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestClientsMayCompress: a client that does, grpc_health_probe with -gzip for one, is answered by every
// call as any other. UNIMPLEMENTED would read as "this server has no health service".
func TestClientsMayCompress(t *testing.T) {
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		t.Run(fmt.Sprint(len(opts) > 0), func(t *testing.T) {
			n := single(t)
			for i := range 100 {
				n.registry.layers.overrides = append(n.registry.layers.overrides, &rollcallv1.Override{Pattern: fmt.Sprintf("s/%02d", i), Reason: strings.Repeat("r", 200)})
				n.registry.layers.rules = append(n.registry.layers.rules, &rollcallv1.Rule{Name: fmt.Sprint(i), Reason: strings.Repeat("r", 200)})
			}
			n.registry.reason = strings.Repeat("a reason that is worth compressing ", 20)
			ctx := patient(t)
			var all []string
			for i := range 20 {
				name := fmt.Sprintf("svc%d", i)
				n.registry.set(name, serving)
				all = append(all, name)
			}
			n.leases.put(time.Minute, all...)
			first := func(stream interface{ RecvMsg(any) error }, err error, m any) error {
				if err != nil {
					return err
				}
				return stream.RecvMsg(m)
			}
			for name, call := range map[string]func() error{
				"Check": func() error {
					res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "svc1"}, opts...)
					if err == nil && res.GetStatus() != serving {
						t.Errorf("Check: %v", res)
					}
					return err
				},
				"List": func() error {
					_, err := n.health().List(ctx, &healthpb.HealthListRequest{}, opts...)
					return err
				},
				"Watch": func() error {
					w, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "svc2"}, opts...)
					res := &healthpb.HealthCheckResponse{}
					if err := first(w, err, res); err != nil || res.GetStatus() != serving {
						t.Errorf("Watch: %v", res)
						return err
					}
					n.registry.set("svc2", notServing)
					return w.RecvMsg(res)
				},
				"Set": func() error {
					_, err := n.admin().SetServingStatus(ctx, setRequest("new", serving), opts...)
					return err
				},
				"Batch": func() error {
					req := &rollcallv1.BatchSetServingStatusRequest{Reason: "all"}
					for _, name := range all {
						req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: name, Status: serving.Enum()})
					}
					_, err := n.admin().BatchSetServingStatus(ctx, req, opts...)
					return err
				},
				"Delete": func() error {
					_, err := n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "svc3"}, opts...)
					return err
				},
				"SetOverride": func() error {
					_, err := n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "*", Status: serving.Enum(), ValidateOnly: true}, opts...)
					return err
				},
				"SetRule": func() error {
					_, err := n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "r", Pattern: "*", MinServing: ptr(int64(1))}, opts...)
					return err
				},
				"ListOverrides": func() error {
					res, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{}, opts...)
					if len(res.GetOverrides()) != 100 {
						t.Errorf("%d overrides", len(res.GetOverrides()))
					}
					return err
				},
				"GrantLease": func() error {
					_, err := n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)}, opts...)
					return err
				},
				"KeepAlive": func() error {
					s, err := n.admin().KeepAlive(ctx, opts...)
					if err != nil {
						return err
					}
					for range 3 {
						if res := ask(t, s, all...); len(res.GetRenewedLeaseIds()) != len(all) {
							t.Errorf("%d of %d leases are renewed", len(res.GetRenewedLeaseIds()), len(all))
						}
					}
					return s.CloseSend()
				},
				"ListLeases": func() error {
					res, err := n.reads().ListLeases(ctx, &rollcallv1.ListLeasesRequest{}, opts...)
					if len(res.GetLeases()) != len(all) {
						t.Errorf("%d of %d leases are listed", len(res.GetLeases()), len(all))
					}
					return err
				},
				"ListRules": func() error {
					res, err := n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{}, opts...)
					if len(res.GetRules()) != 100 {
						t.Errorf("%d rules", len(res.GetRules()))
					}
					return err
				},
				"GetService": func() error {
					_, err := n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "svc4"}, opts...)
					return err
				},
				"ListServices": func() error {
					_, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{}, opts...)
					return err
				},
				"ListEvents": func() error {
					_, err := n.reads().ListEvents(ctx, &rollcallv1.ListEventsRequest{}, opts...)
					return err
				},
				"WatchEvents": func() error {
					w, err := n.reads().WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1}, opts...)
					return first(w, err, &rollcallv1.WatchEventsResponse{})
				},
				"WatchServices": func() error {
					w, err := n.reads().WatchServices(ctx, &rollcallv1.WatchServicesRequest{}, opts...)
					return first(w, err, &rollcallv1.WatchServicesResponse{})
				},
				"GetStatus": func() error {
					_, err := n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{}, opts...)
					return err
				},
				"Verify": func() error {
					_, err := n.cluster().Verify(ctx, &rollcallv1.VerifyRequest{}, opts...)
					return err
				},
				"reflection": func() error {
					r, err := reflectionpb.NewServerReflectionClient(n.conn).ServerReflectionInfo(ctx, opts...)
					if err != nil {
						return err
					}
					err = r.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
					if err == nil {
						_, err = r.Recv()
					}
					_ = r.CloseSend()
					return err
				},
			} {
				if err := call(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// rawCall is a connection of nothing but frames.
type rawCall struct {
	t    *testing.T
	conn net.Conn
	fr   *http2.Framer
	head bytes.Buffer
	enc  *hpack.Encoder
	next uint32
}

func newRawCall(t *testing.T, n *testNode) *rawCall {
	t.Helper()
	conn, err := n.apiLis.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &rawCall{t: t, conn: conn, fr: http2.NewFramer(conn, conn), next: 1}
	r.enc = hpack.NewEncoder(&r.head)
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return r
}

// begin greets.
func (r *rawCall) begin() error {
	if _, err := io.WriteString(r.conn, http2.ClientPreface); err != nil {
		return err
	}
	return r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
}

// send makes a call with one message.
func (r *rawCall) send(path, encoding string, message []byte) error {
	r.head.Reset()
	headers := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "n1"}, {"content-type", "application/grpc"}, {"te", "trailers"}}
	prefix := make([]byte, 5)
	if encoding != "" {
		headers = append(headers, [2]string{"grpc-encoding", encoding})
		prefix[0] = 1
	}
	for _, h := range headers {
		if err := r.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	id := r.next
	r.next += 2
	if err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.head.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	data := append(prefix, message...)
	for len(data) > 16<<10 {
		if err := r.fr.WriteData(id, false, data[:16<<10]); err != nil {
			return err
		}
		data = data[16<<10:]
	}
	return r.fr.WriteData(id, true, data)
}

// answers reads until so many calls have ended, and returns the grpc-encoding and grpc-status of each.
func (r *rawCall) answers(count int) (encodings, statuses []string) {
	r.t.Helper()
	for len(statuses) < count {
		frame, err := r.fr.ReadFrame()
		if err != nil {
			r.t.Fatal(err)
		}
		h, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		for _, f := range h.RegularFields() {
			switch f.Name {
			case "grpc-encoding":
				encodings = append(encodings, f.Value)
			case "grpc-status":
				statuses = append(statuses, f.Value)
			}
		}
	}
	return encodings, statuses
}

func deflate(t *testing.T, message []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAnswersAreCompressedOnlyIfAsked: and never those that the node has to count until they have left.
func TestAnswersAreCompressedOnlyIfAsked(t *testing.T) {
	n := single(t)
	n.registry.reason = strings.Repeat("r", 1_000)
	n.exporter.content, n.exporter.closed = bytes.Repeat([]byte("rollcall"), 1<<10), make(chan struct{}, 10)
	for i := range 20 {
		n.registry.set(fmt.Sprint("svc", i), serving)
	}
	request := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		path, asked, want string
		request           []byte
	}{
		{"/rollcall.v1.Registry/GetService", "", "", request(&rollcallv1.GetServiceRequest{Service: "svc1"})},
		{"/rollcall.v1.Registry/GetService", "gzip", "gzip", request(&rollcallv1.GetServiceRequest{Service: "svc1"})},
		{"/rollcall.v1.Registry/ListServices", "", "", nil},
		{"/rollcall.v1.Registry/ListServices", "gzip", "identity", nil}, // 20 KB: see flowcontrol.SendUncompressed
		{"/rollcall.v1.Cluster/ExportSnapshot", "", "", nil},
		{"/rollcall.v1.Cluster/ExportSnapshot", "gzip", "gzip", nil}, // gRPC holds 64 KiB of it at most
	} {
		r := newRawCall(t, n)
		go func() {
			message := tt.request
			if tt.asked != "" {
				message = deflate(t, message)
			}
			if err := r.begin(); err == nil {
				_ = r.send(tt.path, tt.asked, message)
			}
		}()
		encodings, statuses := r.answers(1)
		if got := strings.Join(encodings, " "); got != tt.want || statuses[0] != "0" {
			t.Errorf("%s compressed with %q is answered with %q, status %s; want %q", tt.path, tt.asked, got, statuses[0], tt.want)
		}
	}
}

// TestP8BombsAreBounded: messages of 16 KB that inflate to 16 MiB each, as many at a time as a connection's
// window holds.
func TestP8BombsAreBounded(t *testing.T) {
	const bombs, limit = 48, 80 << 20
	n := single(t)
	n.registry.set("svc", serving)
	bomb := deflate(t, make([]byte, 16<<20))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(time.Millisecond)
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
	for _, path := range []string{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/rollcall.v1.Admin/BatchSetServingStatus", "/rollcall.v1.Registry/WatchEvents"} {
		r := newRawCall(t, n)
		go func() {
			err := r.begin()
			for range bombs {
				if err == nil {
					err = r.send(path, "gzip", bomb)
				}
			}
		}()
		_, statuses := r.answers(bombs)
		for _, s := range statuses {
			if s != fmt.Sprint(int(codes.ResourceExhausted)) {
				t.Fatalf("%s: a bomb is answered with status %s", path, s)
			}
		}
		r.conn.Close()
	}
	close(done)
	watching.Wait()
	t.Logf("%d bombs at a time took %d bytes at most", bombs, peak.Load()-before.HeapInuse)
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > limit {
		t.Errorf("%d bombs at a time took %d bytes", bombs, grown)
	}
	if _, err := n.health().Check(patient(t), &healthpb.HealthCheckRequest{Service: "svc"}); err != nil {
		t.Errorf("Check after them: %v", err)
	}
}
