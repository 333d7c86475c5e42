package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// Why a certificate is refused. The words are labels of a metric, too.
const (
	ReasonNoCertificate = "no_certificate"
	ReasonExpired       = "expired"
	ReasonNotYetValid   = "not_yet_valid"
	ReasonUnknownCA     = "unknown_ca"
	ReasonWrongName     = "wrong_name"
	ReasonWrongUsage    = "wrong_usage"
	ReasonNotAllowed    = "not_allowed" // its CA may not sign it: name constraints, path lengths
	ReasonInvalid       = "invalid"
)

// reasonOther is what Reason returns for what is no Refusal.
const reasonOther = "other"

// Refusal says why a certificate is not accepted. Its text is in plain words and of bounded length; what the
// certificate says is quoted in it, for a stranger may have chosen that.
type Refusal struct {
	Reason string // one of the constants
	text   string
}

func (r *Refusal) Error() string { return r.text }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, text: fmt.Sprintf(format, args...)}
}

// Reason returns why a handshake failed, as a label of a metric: one of the constants if err holds a Refusal,
// else "other".
func Reason(err error) string {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Reason
	}
	return reasonOther
}

// holder names the holder of a certificate, quoted and of bounded length.
func holder(cert *x509.Certificate) string { return fmt.Sprintf("%q", holderName(cert)) }

func holderName(cert *x509.Certificate) string {
	switch {
	case len(cert.URIs) > 0:
		return cut(cert.URIs[0].String())
	case len(cert.DNSNames) > 0:
		return cut(cert.DNSNames[0])
	case cert.Subject.CommonName != "":
		return cut(cert.Subject.CommonName)
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	}
	return cut(cert.Subject.String())
}

const dateFormat = "2006-01-02 15:04:05 UTC"

// inTime says what is wrong if a certificate is not valid at a time.
func inTime(cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return refuse(ReasonNotYetValid, "the certificate of %s is not valid before %s, and here it is %s; is a clock wrong?",
			holder(cert), cert.NotBefore.UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	}
	if now.After(cert.NotAfter) {
		return refuse(ReasonExpired, "the certificate of %s expired on %s, and here it is %s",
			holder(cert), cert.NotAfter.UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	}
	return nil
}

// verifyChain verifies the certificates that a side shows, its own first, and returns the chain to a root. A nil
// pool means the CAs of the system.
func verifyChain(shown []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, now time.Time) ([]*x509.Certificate, error) {
	if len(shown) == 0 {
		return nil, refuse(ReasonNoCertificate, "it shows no certificate")
	}
	leaf := shown[0]
	if err := inTime(leaf, now); err != nil {
		return nil, err
	}
	intermediates := x509.NewCertPool()
	for _, cert := range shown[1:] {
		intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil {
		return chains[0], nil
	}
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return nil, refuse(ReasonUnknownCA, "the certificate of %s is signed by no CA that is trusted here; its issuer is %q", holder(leaf), cut(leaf.Issuer.String()))
	}
	switch invalid.Reason {
	case x509.Expired:
		if err := inTime(invalid.Cert, now); err != nil {
			return nil, err
		}
		return nil, refuse(ReasonExpired, "a certificate in the chain of %s is not valid now", holder(leaf))
	case x509.IncompatibleUsage:
		return nil, refuse(ReasonWrongUsage, "the certificate of %s may not be used for TLS %s (extended key usage)", holder(leaf), usageWord(usage))
	case x509.NotAuthorizedToSign:
		return nil, refuse(ReasonNotAllowed, "the certificate of %s is signed with a certificate that is not one of a CA", holder(leaf))
	case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs, x509.UnconstrainedName:
		return nil, refuse(ReasonNotAllowed, "a CA of the certificate of %s may not sign for its names (name constraints)", holder(leaf))
	case x509.CANotAuthorizedForExtKeyUsage:
		return nil, refuse(ReasonWrongUsage, "a CA of the certificate of %s may not sign for TLS %s (extended key usage)", holder(leaf), usageWord(usage))
	case x509.TooManyIntermediates:
		return nil, refuse(ReasonNotAllowed, "there are more CAs above the certificate of %s than they allow (path length)", holder(leaf))
	}
	return nil, refuse(ReasonInvalid, "the certificate of %s is not valid", holder(leaf))
}

func usageWord(usage x509.ExtKeyUsage) string {
	if usage == x509.ExtKeyUsageServerAuth {
		return "servers"
	}
	return "clients"
}

// verifyHost says what is wrong if a certificate is not for a host name or an IP address.
func verifyHost(cert *x509.Certificate, host string) error {
	if cert.VerifyHostname(host) == nil {
		return nil
	}
	var names []string
	for _, n := range cert.DNSNames {
		names = append(names, cut(n))
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) > 10 {
		names = append(names[:10], "…")
	}
	kind := "name"
	if net.ParseIP(host) != nil {
		kind = "address"
	}
	return refuse(ReasonWrongName, "the certificate of %s is not for the %s %q; it is for %q", holder(cert), kind, host, names)
}
