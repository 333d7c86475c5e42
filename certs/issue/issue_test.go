package issue

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/certs"
)

var begin = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

func newCA(t testing.TB, now time.Time) Pair {
	t.Helper()
	ca, err := CA(3650, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// write writes a pair as NAME.crt and NAME.key.
func (p Pair) write(t testing.TB, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, data := range map[string][]byte{certFile: p.CertPEM(), keyFile: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestMemberVerifies(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, begin)
	caFile, _ := ca.write(t, dir, "ca")
	n1, err := ca.Member("n1", []string{"10.0.0.1", "N1.example.org", "::1", "10.0.0.1", "n1.example.org", "n1"}, 30, begin)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := n1.write(t, dir, "n1")
	for _, at := range []time.Time{begin.Add(-4 * time.Minute), begin, begin.Add(30*24*time.Hour - time.Second)} {
		s, err := certs.Open(certs.Files{Cert: certFile, Key: keyFile, CA: []string{caFile}}, certs.Options{Use: certs.ForNode, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatalf("at %s: %v", at, err)
		}
		if err := certs.DefaultPeerNames().Match(s.Certificate(), "n1"); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"n1", "n1.example.org", "10.0.0.1", "::1"} {
		if err := n1.Cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if len(n1.Cert.DNSNames) != 2 || len(n1.Cert.IPAddresses) != 2 {
		t.Errorf("names %v %v", n1.Cert.DNSNames, n1.Cert.IPAddresses)
	}
	if n1.Cert.SerialNumber.Sign() <= 0 || n1.Cert.SerialNumber.BitLen() != 127 {
		t.Errorf("serial %x", n1.Cert.SerialNumber)
	}
}

func TestClientVerifies(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, begin)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	for _, name := range []string{"ops", "alice@example.org", "Ünal, İpek", "spiffe://example.org/shop/cart", "spiffe://example.org"} {
		p, err := ca.Client(name, 1, begin)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := certs.Identity(p.Cert); err != nil || got != "cert:"+name {
			t.Errorf("%q, %v", got, err)
		}
		certFile, keyFile := p.write(t, dir, "client")
		if _, err := certs.Open(certs.Files{Cert: certFile, Key: keyFile}, certs.Options{Now: func() time.Time { return begin }}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
			if _, err := p.Cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: begin, KeyUsages: []x509.ExtKeyUsage{usage}}); (err == nil) != want {
				t.Errorf("%s, usage %d: %v", name, usage, err)
			}
		}
	}
}

// A client that is called like a member is none.
func TestAClientIsNoMember(t *testing.T) {
	p, err := newCA(t, begin).Client("n1", 1, begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.DefaultPeerNames().Match(p.Cert, "n1"); certs.Reason(err) != certs.ReasonWrongUsage {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	ca := newCA(t, begin)
	member := func(name string, hosts ...string) func() (Pair, error) {
		return func() (Pair, error) { return ca.Member(name, hosts, 1, begin) }
	}
	client := func(name string) func() (Pair, error) {
		return func() (Pair, error) { return ca.Client(name, 1, begin) }
	}
	for name, c := range map[string]struct {
		make  func() (Pair, error)
		holds string
	}{
		"no name":                    {member(""), "is not allowed"},
		"capital letters":            {member("N1"), "is not allowed"},
		"host without a name":        {member("n1", ""), "is empty"},
		"host with a port":           {member("n1", "n1.example.org:7600"), `is for "n1.example.org", at any port`},
		"address with a port":        {member("n1", "[::1]:7600"), `is for "::1", at any port`},
		"wildcard":                   {member("n1", "*.example.org"), "holds a *"},
		"host with a space":          {member("n1", "a b"), "no host name"},
		"address in brackets":        {member("n1", "[::1]"), "no host name"},
		"URL":                        {member("n1", "https://n1"), "no host name"},
		"Unicode":                    {member("n1", "münchen.example"), "no host name"},
		"empty label":                {member("n1", "a..b"), "no host name"},
		"long label":                 {member("n1", strings.Repeat("a", 64)), "no host name"},
		"long host":                  {member("n1", strings.Repeat("a.", 130)+"b"), "no host name"},
		"too many hosts":             {member("n1", make([]string, maxHosts+1)...), "too many"},
		"client without a name":      {client(""), "is empty"},
		"control character":          {client("a\nb"), "not allowed"},
		"character that is not seen": {client("a\u200bb"), "not allowed"},
		"no UTF-8":                   {client("a\xff"), "not allowed"},
		"long client":                {client(strings.Repeat("a", 65)), "longer than 64 bytes"},
		"longer client":              {client(strings.Repeat("a", 5000)), "longer than"},
		"URI":                        {client("https://a"), "looks like a URI"},
		"SPIFFE id without a domain": {client("spiffe:///a"), "trust domain"},
		"SPIFFE id with a query":     {client("spiffe://a/b?c"), "trust domain and a path"},
		"SPIFFE id with a slash":     {client("spiffe://a/b/"), "part of its path"},
		"SPIFFE id of no form":       {client("spiffe:a"), "SPIFFE id"},
		"SPIFFE id in capitals":      {client("spiffe://A/b"), "trust domain"},
		"no days":                    {func() (Pair, error) { return ca.Client("a", 0, begin) }, "use 1 to 36500"},
		"too many days":              {func() (Pair, error) { return CA(MaxDays+1, begin) }, "use 1 to 36500"},
		"longer than the CA":         {func() (Pair, error) { return ca.Client("a", 3651, begin) }, "use 3650 days at most"},
		"CA has ended":               {func() (Pair, error) { return ca.Client("a", 1, begin.Add(3650*24*time.Hour)) }, "make a new one"},
		"clock is behind":            {func() (Pair, error) { return ca.Client("a", 1, begin.Add(-time.Hour)) }, "is the clock wrong?"},
	} {
		if _, err := c.make(); err == nil || !strings.Contains(err.Error(), c.holds) || strings.Contains(err.Error(), "x509") || len(err.Error()) > 500 {
			t.Errorf("%s: %v, want %q", name, err, c.holds)
		}
	}
}

func TestReadCA(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, begin)
	got, err := ReadCA(ca.write(t, dir, "ca"))
	if err != nil || !got.Cert.Equal(ca.Cert) {
		t.Errorf("%v, %v", got.Cert, err)
	}
	n1, err := got.Member("n1", nil, 1, begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := n1.Cert.CheckSignatureFrom(ca.Cert); err != nil {
		t.Error(err)
	}
	if _, err := ReadCA(n1.write(t, dir, "n1")); err == nil || !strings.Contains(err.Error(), "is not one of a CA") {
		t.Error(err)
	}
	if _, err := ReadCA(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "n1.key")); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Error(err)
	}
	// A CA signs no other CA.
	other := newCA(t, begin)
	under, err := sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign}, &ca, 1, begin)
	if err != nil {
		t.Fatal(err)
	}
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca.Cert)
	middle.AddCert(under.Cert)
	leaf, err := under.Member("n1", nil, 1, begin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: begin}); err == nil {
		t.Error("a CA below the CA is accepted")
	}
	if other.Cert.Subject.CommonName == ca.Cert.Subject.CommonName || other.Cert.SerialNumber.Cmp(ca.Cert.SerialNumber) == 0 {
		t.Error("two CAs are called the same")
	}
}

// A CA that was made on a machine whose clock is ahead signs nothing that is valid before it.
func TestNothingIsValidBeforeItsCA(t *testing.T) {
	ca := newCA(t, begin)
	p, err := ca.Client("ops", 1, begin.Add(-2*time.Minute))
	if err != nil || !p.Cert.NotBefore.Equal(ca.Cert.NotBefore) {
		t.Errorf("%v, %v", p.Cert.NotBefore, err)
	}
}

// OpenSSL accepts what is made here, in its strictest mode.
func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not on the PATH")
	}
	dir := t.TempDir()
	now := time.Now()
	ca := newCA(t, now)
	caFile, _ := ca.write(t, dir, "ca")
	n1, err := ca.Member("n1", []string{"10.0.0.1", "n1.example.org"}, 30, now)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := ca.Client("ops", 30, now)
	if err != nil {
		t.Fatal(err)
	}
	n1File, n1Key := n1.write(t, dir, "n1")
	opsFile, _ := ops.write(t, dir, "ops")
	for _, c := range []struct {
		ok   bool
		args []string
	}{
		{true, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver", "-verify_hostname", "n1", n1File}},
		{true, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver", "-verify_hostname", "n1.example.org", n1File}},
		{true, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver", "-verify_ip", "10.0.0.1", n1File}},
		{true, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslclient", n1File}},
		{true, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslclient", opsFile}},
		{true, []string{"pkey", "-in", n1Key, "-check", "-noout"}},
		{false, []string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver", opsFile}},
		{false, []string{"verify", "-x509_strict", "-CAfile", caFile, "-verify_hostname", "n2", n1File}},
		{false, []string{"verify", "-x509_strict", "-CAfile", opsFile, n1File}},
	} {
		out, err := exec.Command(openssl, c.args...).CombinedOutput()
		if (err == nil) != c.ok {
			t.Errorf("openssl %s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
	}
}
