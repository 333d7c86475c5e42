package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
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
		if err := s.verifyClient(b, state.PeerCertificates); err != nil {
			return err
		}
		if a.Verify == nil {
			return nil
		}
		return a.Verify(state.PeerCertificates[0])
	}
	return cfg
}

func (s *Source) verifyClient(b *bundle, shown []*x509.Certificate) error {
	if b.pool == nil {
		return refuse(ReasonUnknownCA, "no CAs are given here, so no certificate of a client is accepted")
	}
	_, err := verifyChain(shown, b.pool, x509.ExtKeyUsageClientAuth, s.now())
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
			if _, err := verifyChain(state.PeerCertificates, b.pool, x509.ExtKeyUsageServerAuth, s.now()); err != nil {
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
