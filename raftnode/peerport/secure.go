package peerport

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"

	"github.com/rollcallhq/rollcall/tlsport"
)

// acceptedConn is a connection that came, secured if the port has TLS.
type acceptedConn struct {
	conn net.Conn      // what is read from
	raw  net.Conn      // as it came
	tls  *tlsport.Conn // conn; nil: the port has no TLS
	port *Port
}

func (p *Port) accepted(conn net.Conn) acceptedConn {
	if p.cfg.TLS == nil {
		return acceptedConn{conn, conn, nil, p}
	}
	secured := p.cfg.TLS.Accept(conn)
	return acceptedConn{secured, conn, secured, p}
}

// handshake does the TLS handshake. The deadline of the connection bounds it.
func (a acceptedConn) handshake() error { return a.tls.Handshake() }

// names says why the connection is not from the member that its hello names; nil if it is, and if it is in plain text,
// which the port accepts.
func (a acceptedConn) names(member string) error {
	if a.tls == nil || !a.tls.TLS() || a.port.cfg.Names == nil {
		return nil
	}
	refusal := a.port.cfg.Names(a.tls.Certificates()[0], member)
	if refusal != nil {
		a.port.cfg.TLS.Refuse(a.tls, refusal)
	}
	return refusal
}

// secure does the TLS handshake of a connection that was dialed to a member; "": to whoever is there.
func (p *Port) secure(ctx context.Context, conn net.Conn, member string) (*tlsport.Conn, error) {
	return p.cfg.TLS.Dial(ctx, conn, func(certificate *x509.Certificate) error {
		if p.cfg.Names == nil || member == "" {
			return nil
		}
		return p.cfg.Names(certificate, member)
	})
}

// dialedPlain takes note of how a peer was dialed, and logs what is new: failure is why it was in plain text; nil: it
// was with TLS.
func (p *Port) dialedPlain(name string, failure *tlsport.HandshakeError) {
	why := ""
	if failure != nil {
		why = failure.Error()
	}
	p.mu.Lock()
	before := p.inPlain[name]
	p.inPlain[name] = why
	p.mu.Unlock()
	switch {
	case why == before:
	case failure == nil:
		p.cfg.Logger.Info("peer is reached with TLS now", "member", name)
	case failure.Reason == tlsport.ReasonClosed || failure.Reason == tlsport.ReasonProtocol:
		p.cfg.Logger.Info("peer is reached in plain text: it does not speak TLS", "member", name)
	default:
		p.cfg.Logger.Log(context.Background(), slog.LevelWarn, "peer is reached in plain text: TLS failed", "member", name, "reason", why)
	}
}
