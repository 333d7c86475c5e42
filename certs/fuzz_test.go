package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// Whatever a certificate holds: an identity is one line of bounded length that the API takes as an actor, it comes
// from no name but its own, and nothing of it is lost.
func FuzzIdentity(f *testing.F) {
	f.Add("ops", "ops.example.org", "spiffe://example.org/shop")
	f.Add("a\nb", "*.x", "https://x")
	f.Add("spiffe://a/b", "", "spiffe:a")
	f.Fuzz(func(t *testing.T, cn, dns, uri string) {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
		if dns != "" {
			cert.DNSNames = []string{dns}
		}
		if parsed, err := url.Parse(uri); err == nil && uri != "" {
			cert.URIs = []*url.URL{parsed}
		}
		got, err := Identity(cert)
		if err != nil {
			if got != "" || Reason(err) != ReasonWrongName || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q, %q", got, err)
			}
			return
		}
		name, ok := strings.CutPrefix(got, IdentityPrefix)
		if !ok || name == "" || len(got) > MaxIdentityBytes || limits.Actor(got) != nil {
			t.Fatalf("%q", got)
		}
		switch isSPIFFE := strings.HasPrefix(name, "spiffe://"); {
		case isSPIFFE && (len(cert.URIs) == 0 || !strings.EqualFold(strings.SplitN(uri, "/", 4)[2], strings.SplitN(name, "/", 4)[2])):
			t.Fatalf("%q comes from no URI: %q %q %q", got, cn, dns, uri)
		case !isSPIFFE && name != cn && name != strings.ToLower(strings.TrimSuffix(dns, ".")):
			t.Fatalf("%q comes from nowhere: %q %q %q", got, cn, dns, uri)
		}
	})
}

// Whatever pattern is taken: a certificate of the member's own name matches where the pattern is filled in, that of
// another member does not, and matching is the same as by a second, naive way.
func FuzzPeerName(f *testing.F) {
	f.Add("{node}", "n1", "n1", "n2")
	f.Add("{node}.*", "n1.example.org", "n1", "n1.example")
	f.Add("spiffe://*/rollcall/{node}", "spiffe://a/rollcall/n1", "n1", "n2")
	f.Add("a-{node}.*.x", "a-n1.b.c.x", "n1", "n1.b")
	f.Fuzz(func(t *testing.T, pattern, name, member, other string) {
		p, err := ParsePeerName(pattern)
		if err != nil {
			if len(err.Error()) > 1500 || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Fatalf("%q", err)
			}
			return
		}
		if !limits.NodeName(member) || !limits.NodeName(other) || member == other {
			return
		}
		cert := &x509.Certificate{DNSNames: []string{name}}
		if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
			cert = &x509.Certificate{URIs: []*url.URL{uri}}
		}
		got := PeerNames{p}.Match(cert, member) == nil
		if want := naivePeerMatch(pattern, name, member); got != want {
			t.Fatalf("%q %q member %q: %v, naive %v", pattern, name, member, got, want)
		}
		if got && (PeerNames{p}).Match(cert, other) == nil && (PeerNames{p}).Ambiguous([]string{member, other}) == nil {
			t.Fatalf("%q %q is both of %q and of %q", pattern, name, member, other)
		}
		filled := strings.ReplaceAll(strings.ReplaceAll(pattern, "{node}", member), "*", "x")
		self := named("", filled)
		if err := (PeerNames{p}).Match(self, member); err != nil && len(filled) < 200 {
			t.Fatalf("%q does not match %q: %v", filled, pattern, err)
		}
	})
}

// naivePeerMatch compares part by part.
func naivePeerMatch(pattern, name, member string) bool {
	rest, isSPIFFE := strings.CutPrefix(pattern, "spiffe://")
	if !isSPIFFE {
		if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
			return false
		}
		want, have := strings.Split(strings.ReplaceAll(pattern, "{node}", member), "."), strings.Split(name, ".")
		star := -1
		for i, part := range want {
			if part == "*" {
				star = i
			}
		}
		if star < 0 {
			return strings.Join(want, ".") == name
		}
		after := len(want) - star - 1
		if len(have) < len(want) {
			return false
		}
		for i, part := range have {
			switch {
			case i < star:
				if part != want[i] {
					return false
				}
			case i >= len(have)-after:
				if part != want[len(want)-(len(have)-i)] {
					return false
				}
			default:
				if part == "" || strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" || part[0] == '-' || part[len(part)-1] == '-' {
					return false
				}
			}
		}
		return true
	}
	uri, err := url.Parse(name)
	if err != nil || uri.Scheme != "spiffe" {
		return false
	}
	id, err := spiffeID(uri)
	if err != nil {
		return false
	}
	want, have := strings.Split(strings.ReplaceAll(rest, "{node}", member), "/"), strings.Split(strings.TrimPrefix(id, "spiffe://"), "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return true
}

// Whatever a file holds: an error is one line in plain words, and what is taken is whole.
func FuzzFiles(f *testing.F) {
	ca := newCA(f, "ca")
	n1 := ca.node(f, "n1")
	f.Add(n1.certPEM(), n1.keyPEM(f), ca.certPEM())
	f.Add(n1.certPEM()[:100], n1.keyPEM(f)[:20], append(ca.certPEM(), n1.certPEM()...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte{0x30}, []byte{})
	f.Fuzz(func(t *testing.T, cert, key, cas []byte) {
		files := Files{Cert: "cert", Key: "key", CA: []string{"ca"}}
		b, err := files.load(contents{cert: cert, key: key, ca: [][]byte{cas}}, ForNode, begin)
		if err == nil {
			if b.cert == nil || len(b.chain) == 0 || len(b.roots) == 0 {
				t.Fatal("taken, though it is not whole")
			}
			return
		}
		if len(err.Error()) > 3000 || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
			t.Fatalf("%q", err)
		}
	})
}
