package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	ca := newCA(t, "ca one")
	other := newCA(t, "ca two")
	n1 := ca.node(t, "n1")
	with := func(change func(*x509.Certificate)) *issued {
		template := nodeTemplate("n1")
		change(template)
		return sign(t, ca, template)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, c := range map[string]struct {
		prepare func(d directory)
		holds   []string
		reason  string
	}{
		"key of another certificate": {func(d directory) { d.write(d.files.Key, ca.node(t, "n1").keyPEM(t)) }, []string{"the key in", "does not belong to the certificate in"}, reasonOther},
		"expired": {func(d directory) {
			d.put(with(func(c *x509.Certificate) { c.NotAfter = begin.Add(-time.Minute) }), ca)
		}, []string{`of "n1" expired on 2030-05-01 11:59:00 UTC`}, ReasonExpired},
		"not yet valid": {func(d directory) {
			d.put(with(func(c *x509.Certificate) { c.NotBefore = begin.Add(time.Minute) }), ca)
		}, []string{`of "n1" is not valid before 2030-05-01 12:01:00 UTC`, "clock"}, ReasonNotYetValid},
		"expired intermediate": {func(d directory) {
			template := caTemplate("middle")
			template.NotAfter = begin.Add(-time.Minute)
			middle := sign(t, ca, template)
			leaf := middle.node(t, "n1")
			d.put(leaf, ca)
			d.write(d.files.Cert, pemOf(leaf, middle))
		}, []string{`of "middle" expired on`}, ReasonExpired},
		"intermediate is missing":   {func(d directory) { d.put(sign(t, ca, caTemplate("middle")).node(t, "n1"), ca) }, []string{`of "n1" is signed by no CA that is trusted here`, `issuer is "CN=middle"`}, ReasonUnknownCA},
		"wrong CA":                  {func(d directory) { d.put(n1, other) }, []string{"does not verify against", "ca.crt", `issuer is "CN=ca one"`}, ReasonUnknownCA},
		"wrong CA of the same name": {func(d directory) { d.put(n1, newCA(t, "ca one")) }, []string{"is signed by no CA that is trusted here"}, ReasonUnknownCA},
		"expired CA": {func(d directory) {
			template := caTemplate("old")
			template.NotAfter = begin.Add(-time.Minute)
			old := sign(t, nil, template)
			d.put(old.node(t, "n1"), old)
		}, []string{`of "old" expired on`}, ReasonExpired},
		"CAs in the wrong order": {func(d directory) {
			middle := sign(t, ca, caTemplate("middle"))
			leaf := middle.node(t, "n1")
			d.put(leaf, ca)
			d.write(d.files.Cert, pemOf(middle, leaf))
		}, []string{"is number 2; it must be the first"}, reasonOther},
		"no CA":            {func(d directory) { d.put(n1, ca, n1) }, []string{`the certificate of "n1" is not one of a CA`}, reasonOther},
		"itself as its CA": {func(d directory) { self := sign(t, nil, nodeTemplate("n1")); d.put(self, self) }, []string{"is not one of a CA"}, reasonOther},
		"CA that may not sign": {func(d directory) {
			template := caTemplate("crl only")
			template.KeyUsage = x509.KeyUsageCRLSign
			d.put(n1, ca, sign(t, nil, template))
		}, []string{`of "crl only" may not sign`}, reasonOther},
		"signed by a leaf": {func(d directory) {
			leaf := sign(t, n1, nodeTemplate("n1"))
			d.put(leaf, ca)
			d.write(d.files.Cert, pemOf(leaf, n1))
		}, []string{"is signed by no CA that is trusted here"}, ReasonUnknownCA},
		"name constraints": {func(d directory) {
			template := caTemplate("narrow")
			template.PermittedDNSDomains = []string{"example.com"}
			template.PermittedDNSDomainsCritical = true
			middle := sign(t, ca, template)
			leaf := middle.node(t, "n1")
			d.put(leaf, ca)
			d.write(d.files.Cert, pemOf(leaf, middle))
		}, []string{"name constraints"}, ReasonNotAllowed},
		"path too long": {func(d directory) {
			template := caTemplate("last")
			template.MaxPathLenZero = true
			last := sign(t, nil, template)
			middle := sign(t, last, caTemplate("middle"))
			leaf := middle.node(t, "n1")
			d.put(leaf, last)
			d.write(d.files.Cert, pemOf(leaf, middle))
		}, []string{"path length"}, ReasonNotAllowed},
		"for servers only": {func(d directory) {
			d.put(with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), ca)
		}, []string{"may not be used for TLS clients"}, ReasonWrongUsage},
		"for clients only": {func(d directory) {
			d.put(with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), ca)
		}, []string{"may not be used for TLS servers"}, ReasonWrongUsage},
		"no certificate file": {func(d directory) { os.Remove(d.files.Cert) }, []string{"tls.crt cannot be read: no such file or directory"}, reasonOther},
		"no key file":         {func(d directory) { os.Remove(d.files.Key) }, []string{"tls.key cannot be read: no such file or directory"}, reasonOther},
		"no CA file":          {func(d directory) { os.Remove(d.files.CA[0]) }, []string{"ca.crt cannot be read: no such file or directory"}, reasonOther},
		"symlink to itself": {func(d directory) {
			os.Remove(d.files.Key)
			if err := os.Symlink(d.files.Key, d.files.Key); err != nil {
				t.Fatal(err)
			}
		}, []string{"tls.key cannot be read: too many levels of symbolic links"}, reasonOther},
		"directory": {func(d directory) { os.Remove(d.files.Cert); os.Mkdir(d.files.Cert, 0o700) }, []string{"tls.crt is a directory"}, reasonOther},
		"named pipe": {func(d directory) {
			os.Remove(d.files.Cert)
			if err := syscall.Mkfifo(d.files.Cert, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"is not a regular file"}, reasonOther},
		"empty certificate":  {func(d directory) { d.write(d.files.Cert, nil) }, []string{"tls.crt is empty"}, reasonOther},
		"empty key":          {func(d directory) { d.write(d.files.Key, []byte(" \n")) }, []string{"tls.key is empty"}, reasonOther},
		"empty CA":           {func(d directory) { d.write(d.files.CA[0], nil) }, []string{"ca.crt is empty"}, reasonOther},
		"certificate in DER": {func(d directory) { d.write(d.files.Cert, n1.cert.Raw) }, []string{"tls.crt is in DER form", "openssl x509 -inform DER"}, reasonOther},
		"CA in DER":          {func(d directory) { d.write(d.files.CA[0], ca.cert.Raw) }, []string{"ca.crt is in DER form"}, reasonOther},
		"key in DER":         {func(d directory) { der, _ := x509.MarshalPKCS8PrivateKey(n1.key); d.write(d.files.Key, der) }, []string{"tls.key is in DER or PKCS #12 form"}, reasonOther},
		"text":               {func(d directory) { d.write(d.files.Cert, []byte("hello")) }, []string{"tls.crt is not in PEM form"}, reasonOther},
		"cut off":            {func(d directory) { d.write(d.files.Cert, n1.certPEM()[:300]) }, []string{"tls.crt is cut off or damaged: 1 PEM blocks begin, and 0 can be read"}, reasonOther},
		"CAs cut off":        {func(d directory) { all := pemOf(ca, other); d.write(d.files.CA[0], all[:len(all)-40]) }, []string{"ca.crt is cut off or damaged: 2 PEM blocks begin, and 1 can be read"}, reasonOther},
		"damaged in the midst": {func(d directory) {
			d.write(d.files.CA[0], []byte(strings.Replace(string(pemOf(other, ca)), "MII", "M!I", 1)))
		}, []string{"cut off or damaged"}, reasonOther},
		"damaged inside":                    {func(d directory) { d.write(d.files.Cert, block("CERTIFICATE", n1.cert.Raw[:200])) }, []string{"certificate 1 cannot be read"}, reasonOther},
		"key where the certificate belongs": {func(d directory) { d.write(d.files.Cert, n1.keyPEM(t)) }, []string{"tls.crt holds a key and no certificate"}, reasonOther},
		"certificate where the key belongs": {func(d directory) { d.write(d.files.Key, n1.certPEM()) }, []string{"tls.key holds no key"}, reasonOther},
		"request":                           {func(d directory) { d.write(d.files.Cert, block("CERTIFICATE REQUEST", []byte{1})) }, []string{"holds a request for a certificate"}, reasonOther},
		"form of OpenSSL's own":             {func(d directory) { d.write(d.files.CA[0], block("TRUSTED CERTIFICATE", []byte{1})) }, []string{"in a form of OpenSSL's own"}, reasonOther},
		"something else":                    {func(d directory) { d.write(d.files.CA[0], block("X509 CRL", []byte{1})) }, []string{`a PEM block "X509 CRL", which is no certificate`}, reasonOther},
		"encrypted key, PKCS #8":            {func(d directory) { d.write(d.files.Key, block("ENCRYPTED PRIVATE KEY", []byte{1})) }, []string{"is encrypted", "openssl pkey"}, reasonOther},
		"encrypted key, old form": {func(d directory) {
			d.write(d.files.Key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}}))
		}, []string{"is encrypted"}, reasonOther},
		"key of SSH":  {func(d directory) { d.write(d.files.Key, block("OPENSSH PRIVATE KEY", []byte{1})) }, []string{"holds a key of SSH"}, reasonOther},
		"two keys":    {func(d directory) { d.write(d.files.Key, append(n1.keyPEM(t), ca.keyPEM(t)...)) }, []string{"holds several keys"}, reasonOther},
		"damaged key": {func(d directory) { d.write(d.files.Key, block("EC PRIVATE KEY", []byte{1, 2})) }, []string{"the key in", "cannot be read"}, reasonOther},
		"too large":   {func(d directory) { d.write(d.files.CA[0], make([]byte, maxFileBytes+1)) }, []string{"larger than 1 MiB"}, reasonOther},
		"unusual curve": {func(d directory) {
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			d.write(d.files.Key, (&issued{nil, key}).keyPEM(t))
		}, []string{"P-224"}, reasonOther},
		"short RSA key": {func(d directory) {
			key, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				t.Fatal(err)
			}
			d.write(d.files.Key, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)))
		}, []string{"an RSA key of 1024 bits"}, reasonOther},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t)
			d.put(n1, ca)
			c.prepare(d)
			_, err := Open(d.files, nodeAt(begin))
			if err == nil {
				t.Fatal("opened")
			}
			for _, text := range c.holds {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v\ndoes not hold %q", err, text)
				}
			}
			for _, text := range []string{"x509:", "asn1", "%!", "pem:"} {
				if strings.Contains(err.Error(), text) {
					t.Errorf("%v\nholds %q", err, text)
				}
			}
			if Reason(err) != c.reason {
				t.Errorf("reason %q, want %q", Reason(err), c.reason)
			}
		})
	}
}

func TestOpenUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may read everything; what a file system answers to others is the same error.
		_, err := Files{CA: []string{"x"}}.read(readFile)
		if err == nil {
			t.Error("read a file that does not exist")
		}
		if got := unreadable("f", &os.PathError{Op: "open", Path: "f", Err: syscall.EACCES}).Error(); got != "f cannot be read: permission denied" {
			t.Error(got)
		}
		return
	}
	d := newDirectory(t)
	ca := newCA(t, "ca")
	d.put(ca.node(t, "n1"), ca)
	if err := os.Chmod(d.files.Key, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.files, nodeAt(begin)); err == nil || !strings.HasSuffix(err.Error(), "tls.key cannot be read: permission denied") {
		t.Error(err)
	}
}

func TestOpenChecksWhatIsGiven(t *testing.T) {
	for name, c := range map[string]struct {
		files Files
		use   Use
		holds string
	}{
		"key alone":            {Files{Key: "k"}, ForClient, "no certificate"},
		"certificate alone":    {Files{Cert: "c"}, ForClient, "no key"},
		"node without":         {Files{CA: []string{"ca"}}, ForNode, "a node needs a certificate"},
		"empty name of a file": {Files{CA: []string{""}}, ForClient, "is empty"},
	} {
		if _, err := Open(c.files, Options{Use: c.use}); err == nil || !strings.Contains(err.Error(), c.holds) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenTakes(t *testing.T) {
	ca, other := newCA(t, "ca one"), newCA(t, "ca two")
	n1 := ca.node(t, "n1")
	old := sign(t, nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: begin.Add(-time.Minute)})
	middle := sign(t, ca, caTemplate("middle"))
	below := middle.node(t, "n1")
	for name, prepare := range map[string]func(d *directory){
		"one CA":               func(*directory) {},
		"several CAs":          func(d *directory) { d.put(n1, other, ca) },
		"one that has expired": func(d *directory) { d.put(n1, old, ca) },
		"files of CAs": func(d *directory) {
			second := filepath.Join(filepath.Dir(d.files.Cert), "second.crt")
			d.write(second, ca.certPEM())
			d.write(d.files.CA[0], other.certPEM())
			d.files.CA = append(d.files.CA, second)
		},
		"intermediate":                   func(d *directory) { d.put(below, ca); d.write(d.files.Cert, pemOf(below, middle)) },
		"intermediate, and the root too": func(d *directory) { d.put(below, ca); d.write(d.files.Cert, pemOf(below, middle, ca)) },
		"intermediate as CA":             func(d *directory) { d.put(below, middle) },
		"one file": func(d *directory) {
			d.write(d.files.Cert, append(n1.keyPEM(t), n1.certPEM()...))
			d.files.Key = d.files.Cert
		},
		"text around": func(d *directory) { d.write(d.files.CA[0], append([]byte("# our CA\r\n\r\n"), ca.certPEM()...)) },
		"key of the old form": func(d *directory) {
			der, err := x509.MarshalECPrivateKey(n1.key.(*ecdsa.PrivateKey))
			if err != nil {
				t.Fatal(err)
			}
			d.write(d.files.Key, append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...))
		},
		"no CA": func(d *directory) { d.files.CA = nil },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t)
			d.put(n1, ca)
			prepare(&d)
			s, err := Open(d.files, nodeAt(begin))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Certificate().DNSNames[0]; got != "n1" || s.Generation() != 1 {
				t.Errorf("%s, generation %d", got, s.Generation())
			}
		})
	}
}

// The CAs of a client are those of servers. Its own certificate may be of another CA, which only servers know.
func TestAClientsCertificateMayBeOfAnotherCA(t *testing.T) {
	servers, clients := newCA(t, "servers"), newCA(t, "clients")
	ops, d := opened(t, ForClient, clientOf(clients, t, "ops"), servers)
	nodeDirectory := newDirectory(t)
	nodeDirectory.put(servers.node(t, "n1"), servers, clients)
	n1, err := Open(nodeDirectory.files, nodeAt(begin))
	if err != nil {
		t.Fatal(err)
	}
	if s, c := shake(t, n1.Server(Accept{}), ops.Client(Dial{ServerName: "n1"})); s.err != nil || c.err != nil {
		t.Errorf("%v; %v", s.err, c.err)
	}
	if _, err := Open(d.files, nodeAt(begin)); Reason(err) != ReasonUnknownCA {
		t.Errorf("for a node: %v", err)
	}
	if _, err := Open(d.files, Options{Now: func() time.Time { return begin.Add(999 * day) }}); Reason(err) != ReasonExpired {
		t.Errorf("expired: %v", err)
	}
}

func TestCheckIsAsked(t *testing.T) {
	d := newDirectory(t)
	ca := newCA(t, "ca")
	d.put(ca.node(t, "n2"), ca)
	opts := nodeAt(begin)
	opts.Check = func(leaf *x509.Certificate) error { return DefaultPeerNames().Match(leaf, "n1") }
	_, err := Open(d.files, opts)
	if r := (*Refusal)(nil); !errors.As(err, &r) || r.Reason != ReasonWrongName || !strings.Contains(err.Error(), `not that of member "n1": it is for ["n2"], and must match [{node}]`) {
		t.Error(err)
	}
}
