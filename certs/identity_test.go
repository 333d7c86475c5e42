package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
)

// named makes a certificate of a common name, DNS names and URIs; it is not signed.
func named(cn string, names ...string) *x509.Certificate {
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
	for _, name := range names {
		if strings.Contains(name, ":") {
			uri, err := url.Parse(name)
			if err != nil {
				panic(err)
			}
			cert.URIs = append(cert.URIs, uri)
			continue
		}
		cert.DNSNames = append(cert.DNSNames, name)
	}
	return cert
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		cert *x509.Certificate
		want string // "": refused
	}{
		{named("ops"), "cert:ops"},
		{named("alice@example.org"), "cert:alice@example.org"},
		{named("Ünal"), "cert:Ünal"},
		{named("token:abc"), "cert:token:abc"},
		{named("ops", "ops.example.org"), "cert:ops.example.org"},
		{named("ops", "Ops.Example.org."), "cert:ops.example.org"},
		{named("ops", "*.example.org", "ops.example.org"), "cert:ops.example.org"},
		{named("ops", "*.example.org"), "cert:ops"},
		{named("", "_a.b-c"), "cert:_a.b-c"},
		{named("ops", "ops.example.org", "https://x/y", "spiffe://example.org/shop", "spiffe://example.org/other"), "cert:spiffe://example.org/shop"},
		{named("", "spiffe://example.org"), "cert:spiffe://example.org"},
		{named("", "SPIFFE://example.org/a_B.c-1"), "cert:spiffe://example.org/a_B.c-1"},
		{named("", "https://example.org/a", "a.example.org"), "cert:a.example.org"},
		{named(strings.Repeat("a", MaxIdentityBytes-len(IdentityPrefix))), "cert:" + strings.Repeat("a", MaxIdentityBytes-len(IdentityPrefix))},

		{named(""), ""},
		{named("", "*.example.org"), ""},
		{named(strings.Repeat("a", MaxIdentityBytes-len(IdentityPrefix)+1)), ""},
		{named(strings.Repeat("a", 100_000)), ""},
		{named("a\nb"), ""},
		{named("a\tb"), ""},
		{named("a\x00b"), ""},
		{named("a\x7fb"), ""},
		{named("a\u202eb"), ""}, // turns the direction of what follows
		{named("a\u200bb"), ""},
		{named("e\u0301"), ""}, // not in Normalization Form C: looks as é
		{named("a\xff"), ""},
		{named(" a"), ""},
		{named("a "), ""},
		{named("spiffe://example.org/admin"), ""},
		{named("a", "b c"), ""},
		{named("a", "b\n"), ""},
		{named("a", ""), ""},
		{named("a", "a..b"), ""},
		{named("a", "a*b"), ""},
		{named("a", "é.example.org"), ""},
		{named("a", "a\x00.example.org"), ""},
		{named("a", "spiffe:///b"), ""},
		{named("a", "spiffe://Example.org/b"), ""},
		{named("a", "spiffe://example.org:1/b"), ""},
		{named("a", "spiffe://u@example.org/b"), ""},
		{named("a", "spiffe://example.org/b?c"), ""},
		{named("a", "spiffe://example.org/b?"), ""},
		{named("a", "spiffe://example.org/b#c"), ""},
		{named("a", "spiffe://example.org/"), ""},
		{named("a", "spiffe://example.org/b//c"), ""},
		{named("a", "spiffe://example.org/b/../c"), ""},
		{named("a", "spiffe://example.org/./c"), ""},
		{named("a", "spiffe://example.org/%62"), ""},
		{named("a", "spiffe://example.org/b%2fc"), ""},
		{named("a", "spiffe://example.org/é"), ""},
		{named("a", "spiffe:b"), ""},
		{named("a", "spiffe://"+strings.Repeat("a", 300)), ""},
	} {
		got, err := Identity(c.cert)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q %q %v: %q, %v; want %q", cut(c.cert.Subject.CommonName), c.cert.DNSNames, c.cert.URIs, got, err, c.want)
		}
		if err != nil && (Reason(err) != ReasonWrongName || len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\n\x00")) {
			t.Errorf("%q", err)
		}
	}
}

func TestPeerNames(t *testing.T) {
	for _, c := range []struct {
		pattern string
		names   []string
		member  string
		want    bool
	}{
		{"{node}", []string{"n1"}, "n1", true},
		{"{node}", []string{"10.0.0.1", "n1"}, "n1", true},
		{"{node}", []string{"n1"}, "n2", false},
		{"{node}", []string{"n11"}, "n1", false},
		{"{node}", []string{"n1.example.org"}, "n1", false},
		{"{node}", []string{"n1.example.org"}, "n1.example.org", true},
		{"{node}", []string{"N1"}, "n1", false},
		{"{node}", []string{"*"}, "n1", false},
		{"{node}", []string{"n1."}, "n1", false},
		{"{node}", []string{"spiffe://x/n1"}, "n1", false},
		{"{node}", nil, "n1", false},
		{"{node}.*", []string{"n1.example.org"}, "n1", true},
		{"{node}.*", []string{"n1.rollcall.svc.cluster.local"}, "n1", true},
		{"{node}.*", []string{"n1.x"}, "n1", true},
		{"{node}.*", []string{"n1"}, "n1", false},
		{"{node}.*", []string{"n1."}, "n1", false},
		{"{node}.*", []string{"n1.."}, "n1", false},
		{"{node}.*", []string{"n1.*"}, "n1", false},
		{"{node}.*", []string{"n1.a."}, "n1", false},
		{"{node}.*", []string{"n11.example.org"}, "n1", false},
		{"{node}.*", []string{"x.n1.example.org"}, "n1", false},
		{"{node}.*.org", []string{"n1.example.org"}, "n1", true},
		{"{node}.*.org", []string{"n1.org"}, "n1", false},
		{"{node}.rollcall", []string{"n1.rollcall"}, "n1", true},
		{"{node}.rollcall", []string{"n1xrollcall"}, "n1", false},
		{"rollcall-{node}.example.org", []string{"rollcall-n1.example.org"}, "n1", true},
		{"rollcall-{node}.example.org", []string{"n1.example.org"}, "n1", false},
		{"*.{node}", []string{"a.b.n1"}, "n1", true},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/n1"}, "n1", true},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/n1.a"}, "n1.a", true},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/n2"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/a/rollcall/n1"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/n1/a"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/N1"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"spiffe:///rollcall/n1"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"https://example.org/rollcall/n1"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"n1"}, "n1", false},
		{"spiffe://*/rollcall/{node}", []string{"spiffe://example.org/rollcall/n1?x"}, "n1", false},
		{"spiffe://example.org/ns/*/sa/{node}", []string{"spiffe://example.org/ns/prod/sa/n1"}, "n1", true},
		{"spiffe://example.org/ns/*/sa/{node}", []string{"spiffe://example.com/ns/prod/sa/n1"}, "n1", false},
		{"spiffe://example.org/ns/*/sa/{node}", []string{"spiffe://example.org/ns/a/b/sa/n1"}, "n1", false},
	} {
		p, err := ParsePeerNames([]string{c.pattern})
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		err = p.Match(named("n1", c.names...), c.member)
		if (err == nil) != c.want {
			t.Errorf("%s, %v, member %s: %v, want %v", c.pattern, c.names, c.member, err, c.want)
		}
		if err != nil && Reason(err) != ReasonWrongName {
			t.Error(err)
		}
	}
	both, err := ParsePeerNames([]string{"{node}", "{node}.*"})
	if err != nil {
		t.Fatal(err)
	}
	if both.Match(named("", "n1"), "n1") != nil || both.Match(named("", "n1.a"), "n1") != nil || both.Match(named("", "n2"), "n1") == nil {
		t.Error("one of several patterns must match")
	}
	if got := both.Match(named("", "n2"), "n1").Error(); got != `the certificate is not that of member "n1": it is for ["n2"], and must match [{node} {node}.*]` {
		t.Error(got)
	}
}

func TestAMembersCertificateIsForBoth(t *testing.T) {
	for _, c := range []struct {
		usages []x509.ExtKeyUsage
		want   bool
	}{
		{nil, true},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, true},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, true},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, false},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, false},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, false},
	} {
		cert := named("", "n1")
		cert.ExtKeyUsage = c.usages
		if err := DefaultPeerNames().Match(cert, "n1"); (err == nil) != c.want {
			t.Errorf("%v: %v", c.usages, err)
		}
		cert.DNSNames = nil
		if err := OfAnyMember(cert, "n1"); (err == nil) != c.want {
			t.Errorf("%v, of any member: %v", c.usages, err)
		}
	}
}

func TestPeerNamesThatAreNone(t *testing.T) {
	for pattern, holds := range map[string]string{
		"":                                   "does not hold {node}",
		"n1":                                 "does not hold {node}",
		"*":                                  "does not hold {node}",
		"{Node}":                             "does not hold {node}",
		"{node}.{node}":                      "more than once",
		"{node}*":                            "beside other characters",
		"{node}.a*":                          "beside other characters",
		"*.{node}.*":                         "more than once",
		"{node}..a":                          `a part ""`,
		".{node}":                            `a part ""`,
		"{node}.":                            `a part ""`,
		"{node}.a b":                         `a part "a b"`,
		"{node}.é":                           "a part",
		"{node}.{x}":                         "a part",
		"{node}\n":                           "a part",
		"spiffe://{node}/a":                  "in the trust domain",
		"spiffe:///{node}":                   `a part ""`,
		"spiffe://a/{node}/":                 `a part ""`,
		"spiffe://A/{node}":                  `a part "A"`,
		"spiffe://a/..*/{node}":              "beside other characters",
		"https://a/{node}":                   "a part",
		"{node}" + strings.Repeat("a", 2000): "longer than",
	} {
		if _, err := ParsePeerName(pattern); err == nil || !strings.Contains(err.Error(), holds) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
			t.Errorf("%q: %v, want %q", pattern, err, holds)
		}
	}
	if p, err := ParsePeerNames(nil); err != nil || len(p) != 1 || p[0].String() != "{node}" {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := ParsePeerNames([]string{"{node}", "x"}); err == nil {
		t.Error("the second pattern is not looked at")
	}
}

func TestAmbiguousMembers(t *testing.T) {
	for _, c := range []struct {
		pattern string
		members []string
		want    bool
	}{
		{"{node}.*", []string{"n1", "n2", "n3"}, false},
		{"{node}.*", []string{"n1", "n11"}, false},
		{"{node}.*", []string{"n1", "n1.b"}, true},
		{"{node}.*", []string{"n1.b", "n1"}, true},
		{"*.{node}", []string{"n1", "b.n1"}, true},
		{"{node}.*.x", []string{"n1", "n1.b"}, true},
		{"{node}", []string{"n1", "n1.b"}, false},
		{"spiffe://*/rollcall/{node}", []string{"n1", "n1.b"}, false},
	} {
		p, err := ParsePeerNames([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Ambiguous(c.members); (err != nil) != c.want {
			t.Errorf("%s %v: %v", c.pattern, c.members, err)
		}
	}
}
