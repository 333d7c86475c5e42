package tlsport

import (
	"crypto/tls"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// TestAuthInfo: gRPC's servers are told who the certificate names, and whether the connection is secured.
func TestAuthInfo(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	port := New(Config{Name: "api", Mode: Permissive, Source: tlstest.Open(t, ca.Issue([]string{"n1"})), ClientCertificate: certs.Optional, Protocols: []string{"h2"}, Handshakes: NewHandshakes(10), Logger: slog.New(slog.DiscardHandler)})
	for name, test := range map[string]struct {
		files    *certs.Files // nil: plain text
		kind     string
		identity string
		level    credentials.SecurityLevel
	}{
		"a SPIFFE id":    {files(ca.Issue([]string{"spiffe://example.org/shop", "shop"})), "tls", "cert:spiffe://example.org/shop", credentials.PrivacyAndIntegrity},
		"a DNS name":     {files(ca.Issue([]string{"Alice.example.org"})), "tls", "cert:alice.example.org", credentials.PrivacyAndIntegrity},
		"no certificate": {&certs.Files{CA: []string{ca.File}}, "tls", "", credentials.PrivacyAndIntegrity},
		"plain text":     {nil, "insecure", "", credentials.NoSecurity},
	} {
		near, far := net.Pipe()
		done := make(chan error, 1)
		go func() {
			if test.files == nil {
				_, err := far.Write([]byte("PRI"))
				done <- err
				return
			}
			source, err := certs.Open(*test.files, certs.Options{})
			if err == nil {
				err = tls.Client(far, source.Client(certs.Dial{ServerName: "n1", NextProtos: []string{"h2"}})).Handshake()
			}
			done <- err
		}()
		conn, auth, err := port.Credentials().ServerHandshake(near)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		info, ok := auth.(*Info)
		if !ok || info.AuthType() != test.kind || info.Identity != test.identity || info.SecurityLevel != test.level {
			t.Errorf("%s: %+v", name, auth)
		}
		if test.files == nil {
			if b := make([]byte, 3); !reads(conn, b) || string(b) != "PRI" {
				t.Errorf("what follows is %q", b)
			}
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		far.Close()
		conn.Close()
	}
}

func files(f certs.Files) *certs.Files { return &f }

func reads(conn net.Conn, b []byte) bool {
	for len(b) > 0 {
		n, err := conn.Read(b)
		if err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}
