package cluster_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

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
	if service == nil {
		return r.call("/grpc.health.v1.Health/Watch", nil)
	}
	return r.call("/grpc.health.v1.Health/Watch", &healthpb.HealthCheckRequest{Service: *service})
}

// call begins a call and returns its stream. A nil request is never sent.
func (r *raw) call(method string, request proto.Message) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next += 2
	r.head.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "n1"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := r.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return 0, err
		}
	}
	if err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.head.Bytes(), EndHeaders: true}); err != nil {
		return 0, err
	}
	if request == nil {
		return id, nil
	}
	msg, err := proto.Marshal(request)
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
