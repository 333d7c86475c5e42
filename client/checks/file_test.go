package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestFileAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	c := FileAge("x", path, time.Hour)
	wantFailure(t, within(t, c, ample), path+": there is no such file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOK(t, within(t, c, ample))
	old := func(age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	old(59 * time.Minute)
	wantOK(t, within(t, c, ample))
	old(61 * time.Minute)
	wantFailure(t, within(t, c, ample), "last changed 1h1m", "at most 1h is allowed")
	old(-time.Hour)
	wantWarning(t, within(t, c, ample), "ahead of this machine's clock")
	wantFailure(t, within(t, FileAge("x", path+"/g", time.Hour), ample), "not a directory")
	refuses(t, FileAge("x", "", time.Hour), "path")
	refuses(t, FileAge("x", path, 0), "above zero")
	refuses(t, FileAge("x", path, -time.Second), "above zero")
}

// certificate returns one that is valid from now+from to now+to, in PEM and for a server.
func certificate(t *testing.T, name string, from, to time.Duration) ([]byte, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var certCases = map[string]struct {
	from, to   time.Duration
	opts       []CertOption
	fail, warn string
}{
	"fine":            {-day, 90 * day, nil, "", ""},
	"soon":            {-day, 13*day + time.Hour, nil, "", "the certificate of shop expires in 13d"},
	"expired":         {-9 * day, -3*day - time.Hour, nil, "the certificate of shop expired 3d ago", ""},
	"not yet":         {day, 90 * day, nil, "not valid yet", ""},
	"fails before":    {-day, 2*day + time.Hour, []CertOption{CertBefore(30*day, 3*day)}, "expires in 2d", ""},
	"warns by option": {-day, 20*day + time.Hour, []CertOption{CertBefore(30*day, 3*day)}, "", "expires in 20d"},
	"no warning":      {-day, time.Hour, []CertOption{CertBefore(0, 0)}, "", ""},
}

func TestCertificates(t *testing.T) {
	for name, tt := range certCases {
		t.Run(name, func(t *testing.T) {
			text, cert := certificate(t, "shop", tt.from, tt.to)
			path := filepath.Join(t.TempDir(), "c.pem")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			addr := listen(t, func(conn net.Conn) {
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
			})
			for _, c := range []Check{CertFile("x", path, tt.opts...), CertEndpoint("x", addr, tt.opts...)} {
				switch err := within(t, c, 5*time.Second); {
				case tt.fail != "":
					wantFailure(t, err, tt.fail)
				case tt.warn != "":
					wantWarning(t, err, tt.warn)
				default:
					wantOK(t, err)
				}
			}
		})
	}
}

func TestCertFileContents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.pem")
	leaf, _ := certificate(t, "leaf", -day, 90*day)
	middle, _ := certificate(t, "middle", -day, -time.Hour)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	for content, want := range map[string]string{
		string(key) + string(leaf) + string(middle): "the certificate of middle expired",
		"":          "there is no certificate",
		"garbage":   "there is no certificate",
		string(key): "there is no certificate",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): "its certificate 1 cannot be read",
		strings.Repeat("x", maxCertFile+1):                                              "longer than 1 MiB",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, within(t, CertFile("x", path), ample), path, want)
	}
	wantFailure(t, within(t, CertFile("x", path+"none"), ample), "there is no such file")
}

func TestCertEndpointFailures(t *testing.T) {
	wantFailure(t, within(t, CertEndpoint("x", closedPort(t)), 5*time.Second), "connection refused")
	wantFailure(t, within(t, CertEndpoint("x", listen(t, func(net.Conn) {})), 5*time.Second))
	wantFailure(t, within(t, CertEndpoint("x", listen(t, func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-x\r\n\r\n") })), 5*time.Second))
	wantLate(t, within(t, CertEndpoint("x", listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })), hang), "no answer")
}

func TestCertOfNothing(t *testing.T) {
	refuses(t, CertFile("x", ""), "path")
	refuses(t, CertFile("x", "p", CertTLS(&tls.Config{})), "CertEndpoint")
	refuses(t, CertFile("x", "p", CertBefore(-1, 0)), "zero or more")
	refuses(t, CertFile("x", "p", CertBefore(day, 2*day)), "at least fail")
	refuses(t, CertEndpoint("x", "h:443", CertTLS(nil)), "nil")
	config := &tls.Config{}
	CertEndpoint("x", "h:443", CertTLS(config))
	if config.InsecureSkipVerify || config.ServerName != "" {
		t.Error("the caller's configuration was changed")
	}
}
