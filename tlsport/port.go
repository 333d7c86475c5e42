package tlsport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/certs"
)

// Config is what a Port is made of. All fields but Protocols are required.
type Config struct {
	Name   string // of the port, in logs and metrics: "api", "peer", "http"
	Mode   Mode   // Permissive or Required
	Source *certs.Source
	// ClientCertificate says whether those who connect must show a certificate.
	ClientCertificate certs.ClientCertificate
	// Protocols are what may be spoken over TLS (ALPN): the other side must name one. None: it is not asked.
	Protocols []string
	// Handshakes bounds those that are not over. The ports of a process share it.
	Handshakes *Handshakes
	Logger     *slog.Logger
}

// Port secures the connections of one port, those that it accepts and those that are dialed from it.
type Port struct {
	cfg      Config
	server   *tls.Config
	open     *certs.Connections
	ending   *ending
	refusals refusals
}

// New returns a Port. Run should run beside it.
func New(cfg Config) *Port {
	log := cfg.Logger.With("port", cfg.Name)
	return &Port{
		cfg:      cfg,
		server:   cfg.Source.Server(certs.Accept{ClientCertificate: cfg.ClientCertificate, NextProtos: cfg.Protocols}),
		open:     certs.NewConnections(cfg.Source, log),
		ending:   newEnding(),
		refusals: refusals{log: log},
	}
}

// Run ends the connections whose certificates are not accepted any more after the CAs have changed, within a minute, in
// moments in which they carry nothing.
func (p *Port) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { p.open.Run(ctx) })
	parts.Go(func() { p.ending.run(ctx) })
	<-ctx.Done()
	parts.Wait()
}

// Name is the port's, as Config gives it.
func (p *Port) Name() string { return p.cfg.Name }

// Mode says whether the port accepts plain text too.
func (p *Port) Mode() Mode { return p.cfg.Mode }

// Accept returns what conn, which was just accepted, will be. It waits for nothing; see Conn. A deadline of conn should
// bound the handshake.
func (p *Port) Accept(conn net.Conn) *Conn {
	c := &Conn{Conn: conn, port: p, gone: make(chan struct{})}
	c.handshake = p.cfg.Handshakes.open(c)
	return c
}

// secure does the handshake of a connection that came. Its error is a *HandshakeError.
func (p *Port) secure(c *Conn) error {
	first, conn, err := peek(c.Conn)
	if err != nil {
		return p.failed(c, err)
	}
	if first != firstTLSByte {
		if p.cfg.Mode == Required {
			return p.failed(c, errPlainText)
		}
		c.secured = conn
		return nil
	}
	f := &flight{Conn: c.Conn, handshake: c.handshake, buffer: []byte{first}, read: 1, limit: maxHelloBytes}
	begun := time.Now()
	if err := f.hello(); err != nil {
		return p.failed(c, err)
	}
	if !c.handshake.ready(HandshakeTimeout - time.Since(begun)) {
		return p.failed(c, errCrowded)
	}
	secured := tls.Server(f, p.server)
	err = secured.Handshake()
	f.over = true
	if err != nil {
		return p.failed(c, err)
	}
	if err := p.secured(c, secured); err != nil {
		return p.failed(c, err)
	}
	c.forget = p.open.Accepted(later{c}, c.RemoteAddr().String(), *c.state, nil)
	return nil
}

// secured takes note of a handshake that is over.
func (p *Port) secured(c *Conn, secured *tls.Conn) error {
	state := secured.ConnectionState()
	if len(p.cfg.Protocols) > 0 && !slices.Contains(p.cfg.Protocols, state.NegotiatedProtocol) {
		return errProtocol
	}
	c.secured, c.state = secured, &state
	return nil
}

// failed counts and logs a handshake that failed.
func (p *Port) failed(c *Conn, err error) error {
	failure := newHandshakeError(err)
	p.refusals.note(failure, c.RemoteAddr())
	return failure
}

// Refuse counts and logs that a connection is refused after its handshake.
func (p *Port) Refuse(c *Conn, refusal error) { _ = p.failed(c, refusal) }

// Dial secures conn, which was just dialed. accept says why a certificate that verifies is not that of whom the caller
// wants to talk to. ctx bounds the handshake. Dial closes conn if it fails; the error is a *HandshakeError, or ctx's.
//
// The other side may still refuse this node's certificate when Dial has returned: in TLS 1.3 the first Read tells it,
// see ReadError.
func (p *Port) Dial(ctx context.Context, conn net.Conn, accept func(certificate *x509.Certificate) error) (*Conn, error) {
	c := &Conn{Conn: conn, port: p, gone: make(chan struct{})}
	c.once.Do(func() {
		secured := tls.Client(conn, p.cfg.Source.Client(certs.Dial{NextProtos: p.cfg.Protocols, Verify: accept}))
		err := secured.HandshakeContext(ctx)
		if err == nil {
			err = p.secured(c, secured)
		}
		if err != nil {
			c.failure = newHandshakeError(err)
			_ = conn.Close()
			return
		}
		c.forget = p.open.Dialed(later{c}, c.RemoteAddr().String(), *c.state, accept)
		c.ready.Store(true)
	})
	switch {
	case c.failure != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case c.failure != nil:
		return nil, c.failure
	}
	return c, nil
}

// ReadError returns an error of Read in plain words if it is the other side's refusal of this node's certificate, and
// else err itself.
func ReadError(err error) error {
	if failure := newHandshakeError(err); failure.Reason == ReasonRefused {
		return failure
	}
	return err
}
