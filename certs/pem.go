package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// blocks returns the PEM blocks of a file. pem.Decode passes over what it cannot read; here that is an error,
// because a CA that is lost at the end of a half-written file would lock out all whom that CA has signed.
func blocks(path string, data []byte) ([]*pem.Block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	begun := bytes.Count(data, []byte("-----BEGIN "))
	if begun == 0 {
		return nil, notPEM(path, data)
	}
	var found []*pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		found, data = append(found, block), rest
	}
	if len(found) != begun {
		return nil, fmt.Errorf("%s is cut off or damaged: %d PEM blocks begin, and %d can be read", path, begun, len(found))
	}
	return found, nil
}

func notPEM(path string, data []byte) error {
	if data[0] == 0x30 { // a SEQUENCE: certificates and keys in DER form begin with one
		if _, err := x509.ParseCertificates(data); err == nil {
			return fmt.Errorf("%s is in DER form; convert it to PEM: openssl x509 -inform DER -in FILE -out FILE.pem", path)
		}
		return fmt.Errorf("%s is in DER or PKCS #12 form; convert it to PEM: openssl pkey -inform DER, or openssl pkcs12", path)
	}
	return fmt.Errorf("%s is not in PEM form: it has no line that begins with -----BEGIN", path)
}

// parseCertificates returns the certificates of a file, at least one. Keys in the file are passed over: a
// certificate and its key may share a file.
func parseCertificates(path string, data []byte) ([]*x509.Certificate, error) {
	found, err := blocks(path, data)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, b := range found {
		switch {
		case b.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: certificate %d cannot be read: %s", path, len(certs)+1, strings.TrimPrefix(err.Error(), "x509: "))
			}
			certs = append(certs, cert)
		case strings.HasSuffix(b.Type, "PRIVATE KEY"), b.Type == "EC PARAMETERS", b.Type == "DH PARAMETERS":
		case b.Type == "CERTIFICATE REQUEST", b.Type == "NEW CERTIFICATE REQUEST":
			return nil, fmt.Errorf("%s holds a request for a certificate; have a CA sign it, and use the certificate", path)
		case b.Type == "TRUSTED CERTIFICATE":
			return nil, fmt.Errorf("%s holds a certificate in a form of OpenSSL's own; convert it: openssl x509 -in FILE -out FILE.pem", path)
		default:
			return nil, fmt.Errorf("%s holds a PEM block %q, which is no certificate", path, cut(b.Type))
		}
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds a key and no certificate", path)
	}
	return certs, nil
}

// parseKey returns the private key of a file.
func parseKey(path string, data []byte) (crypto.Signer, error) {
	found, err := blocks(path, data)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	for _, b := range found {
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, fmt.Errorf("the key in %s is encrypted, and nobody is asked for a passphrase; decrypt it: openssl pkey -in FILE -out FILE.pem", path)
		case b.Type == "OPENSSH PRIVATE KEY":
			return nil, fmt.Errorf("%s holds a key of SSH; a key for TLS is needed", path)
		case !strings.HasSuffix(b.Type, "PRIVATE KEY"):
			continue
		case key != nil:
			return nil, fmt.Errorf("%s holds several keys; leave the one of the certificate", path)
		}
		if key, err = readKey(b); err != nil {
			return nil, fmt.Errorf("the key in %s %w", path, err)
		}
	}
	if key == nil {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	return key, nil
}

func readKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, errors.New("cannot be read; it may be damaged, or of a kind that TLS does not use")
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P224() {
			return nil, errors.New("is on the curve P-224, which TLS 1.3 does not use; make one on P-256")
		}
		return k, nil
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("is an RSA key of %d bits; use at least 2048", k.N.BitLen())
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("is of a kind that cannot sign; use ECDSA, Ed25519 or RSA")
}

// cut bounds a text that a stranger may have chosen.
func cut(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}
