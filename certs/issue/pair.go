package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/rollcallhq/rollcall/certs"
)

// MaxDays is the longest life of a certificate, about 100 years.
const MaxDays = 36_500

// backdate is how much earlier than now a certificate is valid from: clocks of others may be behind.
const backdate = 5 * time.Minute

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// CertPEM returns the certificate as a file holds it.
func (p Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
}

// KeyPEM returns the key as a file holds it: PKCS #8, not encrypted.
func (p Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ReadCA reads a CA and its key from files.
func ReadCA(certFile, keyFile string) (Pair, error) {
	cas, key, err := certs.ReadKeyPair(certFile, keyFile)
	if err != nil {
		return Pair{}, err
	}
	ca := cas[0]
	if !ca.BasicConstraintsValid || !ca.IsCA || ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0 {
		return Pair{}, fmt.Errorf("the certificate in %s is not one of a CA", certFile)
	}
	return Pair{ca, key}, nil
}

// sign makes a key, and a certificate of it that parent signs; a nil parent: that signs itself.
func sign(template *x509.Certificate, parent *Pair, days int, now time.Time) (Pair, error) {
	if days < 1 || days > MaxDays {
		return Pair{}, fmt.Errorf("%d days are not possible; use 1 to %d", days, MaxDays)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	serial := make([]byte, 16) // RFC 5280, 4.1.2.2: positive, 20 bytes at most
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40
	template.SerialNumber = new(big.Int).SetBytes(serial)
	template.BasicConstraintsValid = true
	template.NotBefore = now.Add(-backdate).UTC().Truncate(time.Second)
	template.NotAfter = now.Add(time.Duration(days) * 24 * time.Hour).UTC().Truncate(time.Second)
	issuer := Pair{template, key}
	if parent != nil {
		issuer = *parent
		if err := mayIssue(parent.Cert, template, now); err != nil {
			return Pair{}, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Cert, key.Public(), issuer.Key)
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, err
	}
	return Pair{cert, key}, nil
}

// mayIssue refuses certificates that would not verify, or end later than their CA.
func mayIssue(ca, template *x509.Certificate, now time.Time) error {
	left := int(ca.NotAfter.Sub(now) / (24 * time.Hour))
	switch {
	case now.Before(ca.NotBefore):
		return fmt.Errorf("the CA is not valid before %s; is the clock wrong?", ca.NotBefore.UTC().Format(time.RFC3339))
	case left < 1:
		return fmt.Errorf("the CA ends on %s; make a new one", ca.NotAfter.UTC().Format(time.RFC3339))
	case template.NotAfter.After(ca.NotAfter):
		return fmt.Errorf("the CA ends on %s; use %d days at most, or make a new CA", ca.NotAfter.UTC().Format(time.RFC3339), left)
	}
	if template.NotBefore.Before(ca.NotBefore) {
		template.NotBefore = ca.NotBefore
	}
	return nil
}
