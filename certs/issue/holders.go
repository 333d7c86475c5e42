package issue

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/certs"
)

// CA makes a CA. Its name has a random part, so that a CA and the one that replaces it can be told apart.
func CA(days int, now time.Time) (Pair, error) {
	tag := make([]byte, 4)
	rand.Read(tag)
	return sign(&x509.Certificate{
		Subject:        pkix.Name{CommonName: "Rollcall CA " + hex.EncodeToString(tag)},
		IsCA:           true,
		MaxPathLenZero: true,
		KeyUsage:       x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, days, now)
}

// Member makes the certificate of a member of a cluster: for its name, and for hosts, which are the host names and
// IP addresses at which clients call it. It is for servers and for clients, because members call each other.
func (p Pair) Member(name string, hosts []string, days int, now time.Time) (Pair, error) {
	if !limits.NodeName(name) {
		return Pair{}, fmt.Errorf("member name %q is not allowed; use %s", name, limits.NodeNameRule)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if len(hosts) > maxHosts {
		return Pair{}, fmt.Errorf("%d hosts are too many; use at most %d", len(hosts), maxHosts)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
			continue
		}
		if err := checkHost(host); err != nil {
			return Pair{}, err
		}
		if host = strings.ToLower(host); !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(template, &p, days, now)
}

const maxHosts = 100

// hostName is a host name (RFC 1123), which may have "_" too, as names in containers do.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

var anyPort = regexp.MustCompile(`^[0-9]+$`)

func checkHost(host string) error {
	switch bare, port, err := net.SplitHostPort(host); {
	case host == "":
		return errors.New("the name of a host is empty")
	case err == nil && anyPort.MatchString(port) && (net.ParseIP(bare) != nil || hostName.MatchString(bare)):
		return fmt.Errorf("host %q has a port; a certificate is for %q, at any port", cut(host), cut(bare))
	case strings.Contains(host, "*"):
		return fmt.Errorf("host %q holds a *; name each host, for a certificate is for one member", cut(host))
	case !hostName.MatchString(host) || len(host) > 253:
		return fmt.Errorf("host %q is no host name and no IP address", cut(host))
	}
	return nil
}

// MaxClientNameBytes bounds the name of a client that is no SPIFFE id (RFC 5280, ub-common-name).
const MaxClientNameBytes = 64

// Client makes the certificate of a client. It is for clients only. Its identity is "cert:" and the name, which may
// be a SPIFFE id.
func (p Pair) Client(name string, days int, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if strings.HasPrefix(name, "spiffe:") {
		id, err := url.Parse(name)
		if err != nil {
			return Pair{}, fmt.Errorf("%q is no SPIFFE id", cut(name))
		}
		template.URIs = []*url.URL{id}
	} else {
		template.Subject.CommonName = name
	}
	switch identity, err := certs.Identity(template); {
	case name == "":
		return Pair{}, errors.New("the name of the client is empty")
	case err != nil:
		return Pair{}, fmt.Errorf("name %q is not allowed: %w", cut(name), err)
	case identity != certs.IdentityPrefix+name:
		return Pair{}, fmt.Errorf("%q is not written as SPIFFE ids are; write %q", cut(name), strings.TrimPrefix(identity, certs.IdentityPrefix))
	case template.URIs == nil && len(name) > MaxClientNameBytes:
		return Pair{}, fmt.Errorf("name %q is longer than %d bytes", cut(name), MaxClientNameBytes)
	}
	return sign(template, &p, days, now)
}

func cut(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}
