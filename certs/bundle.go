package certs

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// bundle is what the files held when they were last taken. It never changes.
type bundle struct {
	contents   contents
	generation uint64
	cert       *tls.Certificate    // nil: a client without one
	chain      []*x509.Certificate // from cert to its root, as verified; that of cert's file if it is not verified
	roots      []*x509.Certificate // of the CA files; nil: those of the system
	live       []*x509.Certificate // of roots, those that had not ended then
	pool       *x509.CertPool      // of roots; nil if roots is
}

// watched are the certificates whose end is warned of.
func (b *bundle) watched() []*x509.Certificate {
	var all []*x509.Certificate
	for _, cert := range append(slices.Clone(b.chain), b.live...) {
		if !slices.ContainsFunc(all, cert.Equal) {
			all = append(all, cert)
		}
	}
	return all
}

func fingerprint(cert *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(cert.Raw) }

// load makes a bundle and verifies it at a time.
func (f Files) load(c contents, use Use, now time.Time) (*bundle, error) {
	b := &bundle{contents: c}
	for i, path := range f.CA {
		cas, err := parseCertificates(path, c.ca[i])
		if err != nil {
			return nil, err
		}
		for _, ca := range cas {
			if err := isCA(path, ca); err != nil {
				return nil, err
			}
		}
		b.roots = append(b.roots, cas...)
	}
	if b.roots != nil {
		b.pool, b.live = x509.NewCertPool(), stillValid(b.roots, now)
		for _, ca := range b.roots {
			b.pool.AddCert(ca)
		}
	}
	if f.Cert == "" {
		return b, nil
	}
	certs, err := parseCertificates(f.Cert, c.cert)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(f.Key, c.key)
	if err != nil {
		return nil, err
	}
	if err := f.fits(certs, key); err != nil {
		return nil, err
	}
	b.cert = &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, cert := range certs {
		b.cert.Certificate = append(b.cert.Certificate, cert.Raw)
	}
	b.chain = certs
	if err := inTime(certs[0], now); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Cert, err)
	}
	if b.roots == nil || use == ForClient {
		return b, nil // the CAs are those of servers; servers may trust others
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		chain, err := verifyChain(certs, b.pool, usage, now)
		if err != nil {
			return nil, fmt.Errorf("%s does not verify against %s: %w", f.Cert, strings.Join(f.CA, ", "), err)
		}
		b.chain = chain
	}
	return b, nil
}

// isCA says what is wrong with a certificate that stands among the CAs.
func isCA(path string, cert *x509.Certificate) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("%s: the certificate of %s is not one of a CA; name the file of the CA that signed it", path, holder(cert))
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s: the certificate of %s may not sign certificates; it is of no use as a CA", path, holder(cert))
	}
	return nil
}

type publicKey interface{ Equal(crypto.PublicKey) bool }

// fits says what is wrong if the key does not belong to the first certificate.
func (f Files) fits(certs []*x509.Certificate, key crypto.Signer) error {
	own := key.Public().(publicKey) // of all kinds that readKey returns
	for i, cert := range certs {
		if !own.Equal(cert.PublicKey) {
			continue
		}
		if i == 0 {
			return nil
		}
		return fmt.Errorf("%s: the certificate of the key in %s is number %d; it must be the first, before those of the CAs", f.Cert, f.Key, i+1)
	}
	return fmt.Errorf("the key in %s does not belong to the certificate in %s", f.Key, f.Cert)
}

func (f Files) validate(use Use) error {
	switch {
	case f.Cert == "" && f.Key != "":
		return errors.New("a key is given and no certificate; give both")
	case f.Cert != "" && f.Key == "":
		return errors.New("a certificate is given and no key; give both")
	case f.Cert == "" && use == ForNode:
		return errors.New("a node needs a certificate and its key")
	}
	for _, path := range f.CA {
		if path == "" {
			return errors.New("the name of a file of CAs is empty")
		}
	}
	return nil
}

// ReadKeyPair reads a certificate, those of the CAs above it that stand in the same file, and its key. It verifies
// that they belong together, and nothing else.
func ReadKeyPair(certFile, keyFile string) ([]*x509.Certificate, crypto.Signer, error) {
	f := Files{Cert: certFile, Key: keyFile}
	c, err := f.readSteady(readFile)
	if err != nil {
		return nil, nil, err
	}
	certs, err := parseCertificates(certFile, c.cert)
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKey(keyFile, c.key)
	if err != nil {
		return nil, nil, err
	}
	return certs, key, f.fits(certs, key)
}
