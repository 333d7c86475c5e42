//go:build unix

package server

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// rawWatches are watches of a client that keeps nothing for any of them and does next to nothing for
// an answer, so that what is measured is the server.
type rawWatches struct {
	conns    []net.Conn
	received atomic.Int64 // answers
	last     atomic.Int64 // when the newest came, Unix nanoseconds
	awaited  atomic.Int64
	reached  chan struct{} // capacity 1: received has come to awaited
	readers  sync.WaitGroup
}

// openWatches opens each watches of name on each of so many connections, and waits for the first
// answer to all.
func openWatches(b testing.TB, addr, name string, connections, each int) *rawWatches {
	b.Helper()
	w := &rawWatches{reached: make(chan struct{}, 1)}
	b.Cleanup(w.close)
	for range connections {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		w.conns = append(w.conns, conn)
		fr := http2.NewFramer(conn, conn)
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			b.Fatal(err)
		}
		// As grpc-go's client does, but with room for all answers: nobody gives windows back.
		if err := fr.WriteSettings(); err != nil {
			b.Fatal(err)
		}
		if err := fr.WriteWindowUpdate(0, 1<<30); err != nil {
			b.Fatal(err)
		}
		var mu sync.Mutex // guards writing
		w.readers.Go(func() { w.read(fr, &mu) })
		if each > 0 {
			w.await(w.received.Load()+int64(each), func() { sendWatches(b, conn, &mu, name, each) })
		}
	}
	return w
}

func sendWatches(b testing.TB, conn net.Conn, mu *sync.Mutex, name string, n int) {
	b.Helper()
	var out, head bytes.Buffer
	fr, enc := http2.NewFramer(&out, nil), hpack.NewEncoder(&head)
	msg, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: name})
	if err != nil {
		b.Fatal(err)
	}
	framed := append([]byte{0, 0, 0, 0, byte(len(msg))}, msg...)
	for i := range n {
		head.Reset()
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", "/grpc.health.v1.Health/Watch"}, {":authority", "127.0.0.1:7600"},
			{"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.85.0"}, {"te", "trailers"},
		} {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		id := uint32(1 + 2*i)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		_ = fr.WriteData(id, true, framed)
	}
	mu.Lock()
	defer mu.Unlock()
	if _, err := conn.Write(out.Bytes()); err != nil {
		b.Error(err)
	}
}

func (w *rawWatches) read(fr *http2.Framer, mu *sync.Mutex) {
	fr.SetReuseFrames()
	var bytes uint32
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				mu.Lock()
				_ = fr.WriteSettingsAck()
				mu.Unlock()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				mu.Lock()
				_ = fr.WritePing(true, f.Data)
				mu.Unlock()
			}
		case *http2.DataFrame:
			const answer = 7 // a prefix of five bytes and a status; it may come in pieces
			for bytes += f.Length; bytes >= answer; bytes -= answer {
				if w.received.Add(1) == w.awaited.Load() {
					w.last.Store(time.Now().UnixNano())
					w.reached <- struct{}{}
				}
			}
		}
	}
}

// await does something and returns when so many answers have come in all, and the time of the last.
func (w *rawWatches) await(received int64, do func()) time.Time {
	w.awaited.Store(received)
	do()
	<-w.reached
	return time.Unix(0, w.last.Load())
}

func (w *rawWatches) close() {
	for _, c := range w.conns {
		c.Close()
	}
	w.readers.Wait()
}
