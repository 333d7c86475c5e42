package certs

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// nodeWord stands for the name of a member in a pattern.
const nodeWord = "{node}"

// PeerName is a pattern of the names that certificates of members have: "{node}" is the name of the member. In a
// DNS name "*" is one or more whole parts between dots: "{node}.*" is any name that begins with the member's. In a
// SPIFFE id "*" is the trust domain, or one part of the path: "spiffe://*/rollcall/{node}".
type PeerName struct{ pattern string }

// PeerNames are patterns, one of which must match.
type PeerNames []PeerName

// DefaultPeerNames is "{node}": the certificate has the name of the member itself.
func DefaultPeerNames() PeerNames { return PeerNames{{nodeWord}} }

// ParsePeerName reads a pattern, or says what is wrong with it.
func ParsePeerName(pattern string) (PeerName, error) {
	wrong := func(what string) (PeerName, error) {
		return PeerName{}, fmt.Errorf("pattern %q %s; use {node}, {node}.* or spiffe://*/rollcall/{node}, for example", cut(pattern), what)
	}
	switch {
	case len(pattern) > 1024:
		return wrong("is longer than 1024 bytes")
	case strings.Count(pattern, nodeWord) == 0:
		return wrong("does not hold {node}, so that one certificate would do for every member")
	case strings.Count(pattern, nodeWord) > 1:
		return wrong("holds {node} more than once")
	}
	parts, stars := strings.Split(pattern, "."), 0
	if path, ok := strings.CutPrefix(pattern, spiffeScheme); ok {
		parts = strings.Split(path, "/")
		if strings.Contains(parts[0], nodeWord) {
			return wrong("holds {node} in the trust domain; it belongs in the path")
		}
	}
	for i, part := range parts {
		if strings.Contains(part, "*") {
			stars++
			if part != "*" {
				return wrong("holds * beside other characters; it stands for whole parts")
			}
			continue
		}
		plain := strings.ReplaceAll(part, nodeWord, "x")
		if isSPIFFE := strings.HasPrefix(pattern, spiffeScheme); isSPIFFE && i == 0 && !trustDomain.MatchString(plain) || isSPIFFE && i > 0 && !spiffeSegment.MatchString(plain) || !isSPIFFE && !dnsName.MatchString(plain) {
			return wrong(fmt.Sprintf("has a part %q that no name has", cut(part)))
		}
	}
	if stars > 1 && !strings.HasPrefix(pattern, spiffeScheme) {
		return wrong("holds * more than once")
	}
	return PeerName{pattern}, nil
}

// ParsePeerNames reads patterns. None are DefaultPeerNames.
func ParsePeerNames(patterns []string) (PeerNames, error) {
	if len(patterns) == 0 {
		return DefaultPeerNames(), nil
	}
	var all PeerNames
	for _, p := range patterns {
		name, err := ParsePeerName(p)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return all, nil
}

func (p PeerName) String() string { return p.pattern }

const spiffeScheme = "spiffe://"

// Match says what is wrong if a verified certificate is not that of a member. It must be one for servers and for
// clients, so that no client's is taken for a member's, and one of its DNS names and URIs must match one of the
// patterns. The common name does not count.
func (p PeerNames) Match(cert *x509.Certificate, member string) error {
	if err := OfAnyMember(cert, member); err != nil {
		return err
	}
	for _, pattern := range p {
		if pattern.matchesAny(cert.DNSNames, cert.URIs, member) {
			return nil
		}
	}
	shown := slices.Clone(cert.DNSNames)
	for _, uri := range cert.URIs {
		shown = append(shown, uri.String())
	}
	for i := range shown {
		shown[i] = cut(shown[i])
	}
	if len(shown) > 10 {
		shown = append(shown[:10:10], "…")
	}
	return refuse(ReasonWrongName, "the certificate is not that of member %q: it is for %q, and must match %v", cut(member), shown, []PeerName(p))
}

// OfAnyMember says what is wrong if a verified certificate is not that of some member: it must be one for servers and for
// clients, so that no client's is taken for a member's. Names do not count.
func OfAnyMember(cert *x509.Certificate, member string) error {
	if forServersAndClients(cert) {
		return nil
	}
	return refuse(ReasonWrongUsage, "the certificate of %s is not that of member %q: a member's is for servers and for clients (extended key usage)", holder(cert), cut(member))
}

func forServersAndClients(cert *x509.Certificate) bool {
	has := func(usage x509.ExtKeyUsage) bool { return slices.Contains(cert.ExtKeyUsage, usage) }
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 || has(x509.ExtKeyUsageAny) || has(x509.ExtKeyUsageServerAuth) && has(x509.ExtKeyUsageClientAuth)
}

func (p PeerName) matchesAny(dns []string, uris []*url.URL, member string) bool {
	if strings.HasPrefix(p.pattern, spiffeScheme) {
		return slices.ContainsFunc(uris, func(uri *url.URL) bool { return p.matchesURI(uri, member) })
	}
	return slices.ContainsFunc(dns, func(name string) bool { return p.matchesDNS(name, member) })
}

func (p PeerName) matchesURI(uri *url.URL, member string) bool {
	if uri.Scheme != "spiffe" {
		return false
	}
	id, err := spiffeID(uri)
	if err != nil {
		return false
	}
	want := strings.Split(strings.ReplaceAll(p.pattern[len(spiffeScheme):], nodeWord, member), "/")
	have := strings.Split(id[len(spiffeScheme):], "/")
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == "*" && h != "" || w == h })
}

// matchesDNS compares exactly: members' names are in lower case, and two that differ in case only would be one.
func (p PeerName) matchesDNS(name, member string) bool {
	want := strings.ReplaceAll(p.pattern, nodeWord, member)
	before, after, star := strings.Cut(want, "*")
	if !star {
		return name == want
	}
	if len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return false
	}
	return dnsName.MatchString(name[len(before):len(name)-len(after)]) && !strings.HasSuffix(name, ".")
}

// Ambiguous says which members one certificate would do for: with "{node}.*", that of a member "n1.b" is also one
// of a member "n1".
func (p PeerNames) Ambiguous(members []string) error {
	for _, pattern := range p {
		if strings.HasPrefix(pattern.pattern, spiffeScheme) || !strings.Contains(pattern.pattern, "*") {
			continue
		}
		for _, a := range members {
			for _, b := range members {
				if a != b && pattern.matchesDNS(strings.ReplaceAll(strings.ReplaceAll(pattern.pattern, nodeWord, b), "*", "x"), a) {
					return fmt.Errorf("with %s, a certificate of member %q could be one of member %q; use {node}, or other names", pattern, b, a)
				}
			}
		}
	}
	return nil
}
