package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// begin is when the certificates of these tests are made.
var begin = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate from a template; a nil parent signs itself.
func sign(t testing.TB, parent *issued, template *x509.Certificate) *issued {
	t.Helper()
	key := newKey(t)
	signer := issued{template, key}
	if parent != nil {
		signer = *parent
	}
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		if err != nil {
			t.Fatal(err)
		}
		template.SerialNumber = serial
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = begin.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = begin.Add(365 * day)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key}
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

func newCA(t testing.TB, name string) *issued { return sign(t, nil, caTemplate(name)) }

func nodeTemplate(names ...string) *x509.Certificate {
	return &x509.Certificate{DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
}

func (ca *issued) node(t testing.TB, names ...string) *issued {
	return sign(t, ca, nodeTemplate(names...))
}

func (i *issued) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *issued) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pemOf(all ...*issued) []byte {
	var out []byte
	for _, i := range all {
		out = append(out, i.certPEM()...)
	}
	return out
}

// directory is where the files of a test are.
type directory struct {
	t     testing.TB
	files Files
}

func newDirectory(t testing.TB) directory {
	dir := t.TempDir()
	return directory{t, Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: []string{filepath.Join(dir, "ca.crt")}}}
}

func (d directory) write(path string, data []byte) {
	d.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// put writes a certificate, its key, and CAs.
func (d directory) put(leaf *issued, cas ...*issued) {
	d.t.Helper()
	d.write(d.files.Cert, leaf.certPEM())
	d.write(d.files.Key, leaf.keyPEM(d.t))
	d.write(d.files.CA[0], pemOf(cas...))
}

// lines collect a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// clock is a clock that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func nodeAt(now time.Time) Options {
	return Options{Use: ForNode, Now: func() time.Time { return now }}
}
