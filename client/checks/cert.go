package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"time"
)

const (
	defaultCertWarning = 14 * 24 * time.Hour
	maxCertFile        = 1 << 20 // bytes
)

// CertOption is an option of CertFile and CertEndpoint.
type CertOption func(*certCheck)

// CertBefore has the check warn for the time warn before a certificate ends, and fail for the time fail before.
// The defaults are 14 days and 0: it fails when the certificate has expired.
func CertBefore(warn, fail time.Duration) CertOption {
	return func(c *certCheck) { c.warn, c.fail = warn, fail }
}

// CertTLS has CertEndpoint use config, of which it keeps a copy: for another ServerName, or a certificate of the
// client's. CertFile refuses it.
func CertTLS(config *tls.Config) CertOption {
	return func(c *certCheck) { c.tls, c.tlsSet = config.Clone(), true }
}

type certCheck struct {
	readymade
	warn, fail time.Duration
	tls        *tls.Config
	tlsSet     bool
}

func newCertCheck(name string, opts []CertOption) *certCheck {
	c := &certCheck{warn: defaultCertWarning}
	c.name = name
	err := apply(c, opts)
	switch {
	case err != nil:
		c.err = err
	case c.warn < 0 || c.fail < 0:
		c.err = errors.New("CertBefore needs times of zero or more")
	case c.fail > c.warn:
		c.err = errors.New("CertBefore needs a warning no later than the failure: warn at least fail")
	case c.tlsSet && c.tls == nil:
		c.err = errors.New("CertTLS needs a configuration; it is nil")
	}
	return c
}

// CertFile returns a check of the certificates in the PEM file at path, all of them, so that an intermediate one
// counts too. It fails when one has expired, or is not valid yet, and warns before, see CertBefore. It reads the file
// at each run, 1 MiB at most.
func CertFile(name, path string, opts ...CertOption) Check {
	c := newCertCheck(name, opts)
	switch {
	case path == "":
		c.err = errors.New("CertFile needs a path; it is empty")
	case c.tlsSet:
		c.err = errors.New("CertTLS is an option of CertEndpoint, not of CertFile")
	}
	c.run = func(context.Context) error {
		certs, err := readCerts(path)
		if err != nil {
			return err
		}
		return c.judge(path, certs)
	}
	return c
}

// CertEndpoint returns a check of the certificates that a server at addr, HOST:PORT, shows in a TLS handshake. It fails
// when one has expired, or is not valid yet, and warns before, see CertBefore. It looks at the dates only: who signed
// a certificate, and for which name, is not its matter.
//
// A check of another host is not critical by default; one of this host, by a loopback address, is.
func CertEndpoint(name, addr string, opts ...CertOption) Check {
	c := newCertCheck(name, opts)
	if err := hostPort(addr); err != nil {
		c.err = err
	}
	host, _, _ := net.SplitHostPort(addr)
	c.nonCritical = otherHost(host)
	config := c.tls
	if config == nil {
		config = &tls.Config{}
	}
	config.InsecureSkipVerify = true // an expired certificate must be seen, not refused
	if config.ServerName == "" {
		config.ServerName = host
	}
	c.run = func(ctx context.Context) error {
		a := begin(ctx)
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return &wordedError{addr + ": it closed the connection in the TLS handshake", err}
			}
			return a.network(addr, err)
		}
		defer conn.Close()
		return c.judge(addr, conn.(*tls.Conn).ConnectionState().PeerCertificates)
	}
	return c
}

func readCerts(path string) ([]*x509.Certificate, error) {
	// To open a pipe, or to read a device, may never end.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file, but %s", path, kindOf(info))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCertFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(data) > maxCertFile {
		return nil, fmt.Errorf("%s: longer than 1 MiB; is it a file of certificates?", path)
	}
	var certs []*x509.Certificate
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: its certificate %d cannot be read", path, len(certs)+1)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// kindOf names what is not a regular file.
func kindOf(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func (c *certCheck) judge(where string, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return fmt.Errorf("%s: there is no certificate", where)
	}
	first := certs[0]
	now := time.Now()
	for _, cert := range certs {
		if now.Before(cert.NotBefore) {
			return fmt.Errorf("%s: the certificate of %s is not valid yet, not before %s", where, subject(cert), date(cert.NotBefore))
		}
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	left := max(first.NotAfter.Sub(now), -math.MaxInt64) // so that it has an opposite
	expires := fmt.Errorf("%s: the certificate of %s expires in %s, on %s", where, subject(first), span(left), date(first.NotAfter))
	switch {
	case left <= 0:
		return fmt.Errorf("%s: the certificate of %s expired %s ago, on %s", where, subject(first), span(-left), date(first.NotAfter))
	case left <= c.fail:
		return expires
	case left <= c.warn:
		return Degraded(expires)
	}
	return nil
}

func subject(cert *x509.Certificate) string {
	switch {
	case cert.Subject.CommonName != "":
		return foreign(cert.Subject.CommonName)
	case len(cert.DNSNames) > 0:
		return foreign(cert.DNSNames[0])
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	}
	return "no name"
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
