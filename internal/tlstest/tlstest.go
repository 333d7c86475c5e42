package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/certs"
)

// CA is an authority of its own.
type CA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string // its certificate, in PEM form
}

// NewCA makes an authority.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	ca := &CA{t: t, key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert = ca.sign(template, &ca.key.PublicKey, template)
	write(t, ca.File, "CERTIFICATE", ca.cert.Raw)
	return ca
}

// T is the test that the authority was made for.
func (ca *CA) T() testing.TB { return ca.t }

// PEM is the certificate of the authority.
func (ca *CA) PEM() []byte {
	b, err := os.ReadFile(ca.File)
	if err != nil {
		ca.t.Fatal(err)
	}
	return b
}

// Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// Expired makes a certificate that ended an hour ago.
func Expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

// ExpiresIn makes a certificate that ends soon.
func ExpiresIn(d time.Duration) Option {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(d) }
}

// Issue makes a certificate for names, which are DNS names, addresses or URIs, into new files.
func (ca *CA) Issue(names []string, options ...Option) certs.Files {
	ca.t.Helper()
	dir := ca.t.TempDir()
	files := certs.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: []string{ca.File}}
	ca.IssueTo(files, names, options...)
	return files
}

// IssueTo is Issue into the given files. The key is written before the certificate.
func (ca *CA) IssueTo(files certs.Files, names []string, options ...Option) {
	ca.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 90 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		switch uri, err := url.Parse(name); {
		case net.ParseIP(name) != nil:
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(name))
		case err == nil && strings.Contains(name, "://"):
			template.URIs = append(template.URIs, uri)
		default:
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	for _, o := range options {
		o(template)
	}
	key := newKey(ca.t)
	cert := ca.sign(template, &key.PublicKey, ca.cert)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	write(ca.t, files.Key, "PRIVATE KEY", der)
	write(ca.t, files.Cert, "CERTIFICATE", cert.Raw)
}

// Open is certs.Open of a node's files, which must be right.
func Open(t testing.TB, files certs.Files) *certs.Source {
	t.Helper()
	source, err := certs.Open(files, certs.Options{Use: certs.ForNode})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func (ca *CA) sign(template *x509.Certificate, key *ecdsa.PublicKey, parent *x509.Certificate) *x509.Certificate {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write replaces a file as a whole.
func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}
