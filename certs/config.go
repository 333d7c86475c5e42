package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// ClientCertificate says whether a server asks clients for a certificate.
type ClientCertificate int

// A certificate that is shown must verify, in both cases.
const (
	Required ClientCertificate = iota // the zero value
	Optional
)

// Accept says whom a server lets in.
type Accept struct {
	ClientCertificate ClientCertificate

	// NextProtos are the protocols for ALPN, "h2" for gRPC; none if empty.
	NextProtos []string

	// Verify is asked about a certificate that is shown and verifies; nil: nothing more is asked. Its error ends
	// the handshake. It may be called by several goroutines.
	Verify func(leaf *x509.Certificate) error
}

// Server returns a configuration for connections that come in. It may be used as long as the Source lives: each
// handshake uses the files that were taken last.
func (s *Source) Server(a Accept) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             a.NextProtos,
		SessionTicketsDisabled: true,
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.serverConfig(a), nil },
	}
}

func (s *Source) serverConfig(a Accept) *tls.Config {
	b := s.current.Load()
	cfg := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             a.NextProtos,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
	}
	if b.cert != nil {
		cfg.Certificates = []tls.Certificate{*b.cert}
	}
	if a.ClientCertificate == Optional {
		cfg.ClientAuth = tls.RequestClientCert
	}
	// RequireAndVerifyClientCert would only say "bad certificate", and Go's clients would not even show one that
	// another CA has signed.
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 && a.ClientCertificate == Optional {
			return nil
		}
		if err := b.verify(state.PeerCertificates, x509.ExtKeyUsageClientAuth, s.now()); err != nil {
			return err
		}
		if a.Verify == nil {
			return nil
		}
		return a.Verify(state.PeerCertificates[0])
	}
	return cfg
}

// Verify says what is wrong with the certificates that the other side of a connection has shown, its own first, by
// the CAs that were taken last. usage is ExtKeyUsageClientAuth for a connection that came in, ExtKeyUsageServerAuth
// for one that went out. Names are not looked at.
func (s *Source) Verify(shown []*x509.Certificate, usage x509.ExtKeyUsage) error {
	return s.current.Load().verify(shown, usage, s.now())
}

func (b *bundle) verify(shown []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if b.pool == nil && usage == x509.ExtKeyUsageClientAuth {
		return refuse(ReasonUnknownCA, "no CAs are given here, so no certificate of a client is accepted")
	}
	_, err := verifyChain(shown, b.pool, usage, now)
	return err
}

// Dial says whom a client talks to.
type Dial struct {
	// ServerName is the host name or IP address that the server's certificate must be for. If it is empty the
	// names are left to Verify, which must be set then.
	ServerName string

	// NextProtos are the protocols for ALPN, "h2" for gRPC; none if empty.
	NextProtos []string

	// Verify is asked about a certificate that verifies; nil: nothing more is asked. Its error ends the handshake.
	Verify func(leaf *x509.Certificate) error
}

// Client returns a configuration for one connection that goes out. Make one for each: it holds the files that
// were taken last.
func (s *Source) Client(d Dial) *tls.Config {
	b := s.current.Load()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ServerName:             d.ServerName,
		NextProtos:             d.NextProtos,
		SessionTicketsDisabled: true,
		// A certificate is shown whatever CAs the server names, so that it can say why it does not accept it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if b.cert == nil {
				return &tls.Certificate{}, nil
			}
			return b.cert, nil
		},
		InsecureSkipVerify: true, // VerifyConnection verifies, and says what is wrong
		VerifyConnection: func(state tls.ConnectionState) error {
			if d.ServerName == "" && d.Verify == nil {
				return errors.New("nothing says which name the server's certificate must have")
			}
			if err := b.verify(state.PeerCertificates, x509.ExtKeyUsageServerAuth, s.now()); err != nil {
				return err
			}
			if d.ServerName != "" {
				if err := verifyHost(state.PeerCertificates[0], d.ServerName); err != nil {
					return err
				}
			}
			if d.Verify == nil {
				return nil
			}
			return d.Verify(state.PeerCertificates[0])
		},
	}
}
