package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/metrics"
	"github.com/rollcallhq/rollcall/tlsport"
)

// TLS says how a node secures its ports. The zero value is plain text.
type TLS struct {
	Mode tlsport.Mode
	// Files are this node's certificate and key, and the CAs of all members and clients. They are read again while the
	// node runs, and used only with a Mode other than Off.
	Files certs.Files
	// PeerNames are the patterns of the names in certificates of members. None: the name of the member.
	PeerNames certs.PeerNames
	// SharedPeerIdentity lets members show certificates that do not name them: each that a CA of Files signed for
	// servers and clients is one of any member.
	SharedPeerIdentity bool
}

func (t TLS) validate(members []string) error {
	if t.Mode == tlsport.Off {
		return nil
	}
	if t.Files.Cert == "" || t.Files.Key == "" || len(t.Files.CA) == 0 {
		return fmt.Errorf("--tls %s needs --cert, --key and --ca: this node's certificate, its key, and the CAs that it believes", t.Mode)
	}
	if t.SharedPeerIdentity {
		return nil
	}
	return t.peerNames().Ambiguous(members)
}

func (t TLS) peerNames() certs.PeerNames {
	if len(t.PeerNames) == 0 {
		return certs.DefaultPeerNames()
	}
	return t.PeerNames
}

// names says why a certificate is not the named member's.
func (t TLS) names() func(certificate *x509.Certificate, member string) error {
	if t.SharedPeerIdentity {
		return certs.OfAnyMember
	}
	return t.peerNames().Match
}

// securePorts are the ports with TLS. All are nil in plain text.
type securePorts struct {
	source          *certs.Source
	handshakes      *tlsport.Handshakes
	api, peer, http *tlsport.Port
}

// protocols that are spoken over TLS, by port (ALPN): a connection that was meant for another port is refused.
var (
	apiProtocols  = []string{"h2"}
	peerProtocols = []string{"rollcall-peer"}
)

// openTLS reads the certificates and verifies them.
func (n *Node) openTLS() error {
	t := n.cfg.TLS
	if t.Mode == tlsport.Off {
		return nil
	}
	names := t.names()
	source, err := certs.Open(t.Files, certs.Options{
		Use:    certs.ForNode,
		Logger: n.log,
		Check:  func(leaf *x509.Certificate) error { return names(leaf, n.cfg.Name) },
	})
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	handshakes := tlsport.NewHandshakes(n.connections.Handshakes * 8 / 11)
	port := func(name string, ask certs.ClientCertificate, protocols []string) *tlsport.Port {
		return tlsport.New(tlsport.Config{
			Name: name, Mode: t.Mode, Source: source, ClientCertificate: ask, Protocols: protocols,
			Handshakes: handshakes, Logger: n.log,
		})
	}
	n.tls = securePorts{
		source: source, handshakes: handshakes,
		api:  port("api", certs.Optional, apiProtocols),
		peer: port("peer", certs.Required, peerProtocols),
		http: port("http", certs.Optional, nil),
	}
	return nil
}

// runTLS follows the files of certificates until ctx ends.
func (n *Node) runTLS(ctx context.Context) {
	if n.tls.source == nil {
		return
	}
	n.wg.Go(func() { n.tls.source.Run(ctx) })
	n.wg.Go(func() { n.tls.handshakes.Run(ctx) })
	for _, port := range []*tlsport.Port{n.tls.api, n.tls.peer, n.tls.http} {
		n.wg.Go(func() { port.Run(ctx) })
	}
}

// secured is what clients of HTTP connect to.
func (n *Node) secured(l net.Listener) net.Listener {
	if n.tls.http == nil {
		return l
	}
	return n.tls.http.Listen(l)
}

// ErrNoTLS means that a node has no certificates that it could read again.
var ErrNoTLS = errors.New("this node has no certificates: it runs with --tls off")

// ReloadCertificates reads the files of certificates again, at once. If they are wrong the old ones stay, and the error
// says what is wrong with them.
func (n *Node) ReloadCertificates() error {
	if n.tls.source == nil {
		return ErrNoTLS
	}
	return n.tls.source.Reload()
}

// certificateAlarm says that a certificate ends soon; "": none does.
func (n *Node) certificateAlarm(now time.Time) string {
	if n.tls.source == nil {
		return ""
	}
	for _, e := range n.tls.source.Expiries() {
		what := "its certificate"
		if e.Use != "certificate" {
			what = "a CA that it believes"
		}
		switch {
		case !e.End.After(now):
			return fmt.Sprintf("%s has expired: put a new one into its file", what)
		case e.Soon(now):
			return fmt.Sprintf("%s expires at %s: put a new one into its file", what, e.End.UTC().Format(time.RFC3339))
		}
	}
	return ""
}

// certificateExpires is when the node's certificate ends, or the first of the CAs above it; zero: it has none.
func (n *Node) certificateExpires() time.Time {
	if n.tls.source == nil {
		return time.Time{}
	}
	for _, e := range n.tls.source.Expiries() {
		if e.Use == "certificate" {
			return e.End
		}
	}
	return time.Time{}
}

// readTLS reads what the metrics show of TLS; nil in plain text.
func (n *Node) readTLS() *metrics.TLS {
	if n.tls.source == nil {
		return nil
	}
	reloads := n.tls.source.Reloads()
	r := &metrics.TLS{ReloadsTaken: reloads.Taken, ReloadsRefused: reloads.Refused, Expiries: map[string]time.Time{}}
	for _, e := range n.tls.source.Expiries() {
		r.Expiries[e.Use] = e.End
	}
	for _, port := range []*tlsport.Port{n.tls.api, n.tls.peer, n.tls.http} {
		for reason, count := range port.Refusals() {
			r.Failed = append(r.Failed, metrics.FailedHandshakes{Port: port.Name(), Reason: reason, Count: count})
		}
	}
	return r
}
