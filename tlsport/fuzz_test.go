package tlsport

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// FuzzFirstBytes: whatever a stranger begins with, a port that needs TLS answers at most with a TLS record, and one that
// accepts plain text too hands plain text on as it came.
func FuzzFirstBytes(f *testing.F) {
	for _, seed := range []string{"", "\x16", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RCP\x01", "\x15\x03\x01\x00\x02\x02\x28", "\x80\x2e\x01"} {
		f.Add([]byte(seed))
	}
	ca := tlstest.NewCA(f, "ca")
	source := tlstest.Open(f, ca.Issue([]string{"n1"}))
	ports := map[Mode]*Port{}
	for _, mode := range []Mode{Permissive, Required} {
		ports[mode] = New(Config{Name: "fuzz", Mode: mode, Source: source, ClientCertificate: certs.Required, Protocols: []string{"h2"}, Handshakes: NewHandshakes(10), Logger: slog.New(slog.DiscardHandler)})
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		for mode, port := range ports {
			near, far := net.Pipe()
			answer := make(chan []byte, 1)
			go func() {
				go func() {
					_, _ = far.Write(first)
					far.Close()
				}()
				b, _ := io.ReadAll(far)
				answer <- b
			}()
			conn := port.Accept(near)
			read, err := io.ReadAll(conn)
			conn.Close()
			plain := len(first) > 0 && first[0] != firstTLSByte && mode == Permissive
			switch {
			case plain && (err != nil || !bytes.Equal(read, first)):
				t.Errorf("%v: read %q of %q, %v", mode, read, first, err)
			case !plain && (err == nil || len(read) > 0):
				t.Errorf("%v: read %q of %q, %v", mode, read, first, err)
			}
			if b := <-answer; len(b) > 0 && (plain || first[0] != firstTLSByte || b[0] != 0x15 && b[0] != firstTLSByte) {
				t.Errorf("%v: answers %q to %q", mode, b, first)
			}
			if h := port.cfg.Handshakes; len(h.of) != 0 {
				t.Errorf("%v: %v are not over", mode, h.of)
			}
		}
	})
}
