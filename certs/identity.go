package certs

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

const (
	// IdentityPrefix begins every identity that comes from a certificate.
	IdentityPrefix = "cert:"

	// MaxIdentityBytes bounds an identity, prefix included.
	MaxIdentityBytes = limits.MaxActorBytes
)

// Identity returns who the holder of a verified certificate is: "cert:" and the first SPIFFE id among its URIs,
// else its first DNS name that is no wildcard, in lower case, else its common name. A certificate whose name
// cannot be an identity is refused, and the next name is not tried: names that are damaged, hold characters that
// do not show, or are too long (MaxIdentityBytes), and common names that look like a URI.
func Identity(cert *x509.Certificate) (string, error) {
	name, err := identityName(cert)
	if err != nil {
		return "", err
	}
	if len(IdentityPrefix)+len(name) > MaxIdentityBytes {
		return "", refuse(ReasonWrongName, "the name %q of the certificate is longer than %d bytes", cut(name), MaxIdentityBytes-len(IdentityPrefix))
	}
	return IdentityPrefix + name, nil
}

func identityName(cert *x509.Certificate) (string, error) {
	for _, uri := range cert.URIs {
		if strings.EqualFold(uri.Scheme, "spiffe") {
			return spiffeID(uri)
		}
	}
	for _, name := range cert.DNSNames {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		if !dnsName.MatchString(name) {
			return "", refuse(ReasonWrongName, "the name %q of the certificate is no DNS name", cut(name))
		}
		return strings.ToLower(strings.TrimSuffix(name, ".")), nil
	}
	name := cert.Subject.CommonName
	switch {
	case name == "" && len(cert.DNSNames) > 0:
		return "", refuse(ReasonWrongName, "the certificate is for %q only, which names nobody: it needs a name without *", cut(cert.DNSNames[0]))
	case name == "":
		return "", refuse(ReasonWrongName, "the certificate has no name: it needs a SPIFFE id, a DNS name or a common name")
	case limits.Actor(name) != nil && len(name) <= limits.MaxActorBytes:
		return "", refuse(ReasonWrongName, "the common name %q of the certificate holds characters that are not allowed", cut(name))
	case strings.Contains(name, "://"):
		return "", refuse(ReasonWrongName, "the common name %q of the certificate looks like a URI; put it among the URIs of the certificate", cut(name))
	case strings.TrimSpace(name) != name:
		return "", refuse(ReasonWrongName, "the common name %q of the certificate begins or ends with a space", cut(name))
	}
	return name, nil
}

var (
	dnsName       = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	trustDomain   = regexp.MustCompile(`^[a-z0-9._-]+$`)
	spiffeSegment = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// spiffeID returns a SPIFFE id as the standard writes it (SPIFFE-ID, section 2), or says what is wrong with it.
func spiffeID(uri *url.URL) (string, error) {
	wrong := func(what string) error {
		return refuse(ReasonWrongName, "%q is no SPIFFE id: %s", cut(uri.String()), what)
	}
	switch {
	case uri.User != nil || uri.RawQuery != "" || uri.ForceQuery || uri.Fragment != "" || uri.Opaque != "":
		return "", wrong("it has more than a trust domain and a path")
	case !trustDomain.MatchString(uri.Host):
		return "", wrong("its trust domain may have only a-z, 0-9, '.', '-' and '_'")
	case uri.RawPath != "":
		return "", wrong("its path may hold no percent signs")
	}
	if uri.Path != "" {
		for _, segment := range strings.Split(uri.Path[1:], "/") {
			if !spiffeSegment.MatchString(segment) || segment == "." || segment == ".." {
				return "", wrong("a part of its path is empty, \".\", \"..\" or has other characters than letters, digits, '.', '-' and '_'")
			}
		}
	}
	return fmt.Sprintf("spiffe://%s%s", uri.Host, uri.Path), nil
}
