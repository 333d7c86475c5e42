package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"sync"
	"time"
)

// spread is how long closing connections takes at most, so that not all their clients come back at once.
const spread = 10 * time.Second

// maxLogged is how many connections are logged each, of those that are closed because of one change.
const maxLogged = 20

// Connections are the open connections of a port whose other side has shown a certificate. When files are taken,
// those that no longer verify are closed.
//
// A connection whose certificate has expired since its handshake stays: it is enough that it verifies at the time of
// its handshake. So a clock that is wrong closes nothing.
type Connections struct {
	source *Source
	log    *slog.Logger

	mu   sync.Mutex // guards open
	open map[*connection]struct{}
}

type connection struct {
	conn   io.Closer
	shown  []*x509.Certificate
	usage  x509.ExtKeyUsage
	verify func(*x509.Certificate) error
	since  time.Time
	remote string
}

// NewConnections returns Connections that nobody watches until Run is called.
func NewConnections(source *Source, log *slog.Logger) *Connections {
	return &Connections{source: source, log: log, open: map[*connection]struct{}{}}
}

// Accepted adds a connection that came in, after its handshake. verify is that of Accept; it may be nil. Call
// remove when the connection is closed. A connection without a certificate is not kept.
func (c *Connections) Accepted(conn io.Closer, remote string, state tls.ConnectionState, verify func(*x509.Certificate) error) (remove func()) {
	return c.add(&connection{conn, state.PeerCertificates, x509.ExtKeyUsageClientAuth, verify, c.source.now(), remote})
}

// Dialed adds a connection that went out, after its handshake. verify is what Dial asks.
func (c *Connections) Dialed(conn io.Closer, remote string, state tls.ConnectionState, verify func(*x509.Certificate) error) (remove func()) {
	return c.add(&connection{conn, state.PeerCertificates, x509.ExtKeyUsageServerAuth, verify, c.source.now(), remote})
}

func (c *Connections) add(conn *connection) (remove func()) {
	if len(conn.shown) == 0 {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, conn)
	}
}

// Run closes connections that no longer verify, each time that files are taken, until ctx ends. It takes 10 s at
// most, and logs maxLogged each, and the number of the others.
func (c *Connections) Run(ctx context.Context) {
	for {
		updated := c.source.Updated() // before they are looked through: none is missed
		if !c.closeStale(ctx) {
			return
		}
		select {
		case <-updated:
		case <-ctx.Done():
			return
		}
	}
}

// Len returns how many connections there are.
func (c *Connections) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Stale returns the remote addresses of the connections that no longer verify, and why.
func (c *Connections) Stale() map[string]error {
	all := map[string]error{}
	for conn, why := range c.stale() {
		all[conn.remote] = why
	}
	return all
}

func (c *Connections) stale() map[*connection]error {
	c.mu.Lock()
	open := make([]*connection, 0, len(c.open))
	for conn := range c.open {
		open = append(open, conn)
	}
	c.mu.Unlock()
	b, now := c.source.current.Load(), c.source.now()
	why := map[*connection]error{}
	for _, conn := range open {
		if err := conn.check(b, now); err != nil {
			why[conn] = err
		}
	}
	return why
}

// check asks about the time of the handshake, and about now: a CA that was renewed since may not have been valid then.
func (conn *connection) check(b *bundle, now time.Time) error {
	if err := b.verify(conn.shown, conn.usage, conn.since); err != nil && b.verify(conn.shown, conn.usage, now) != nil {
		return err
	}
	if conn.verify == nil {
		return nil
	}
	return conn.verify(conn.shown[0])
}

// closeStale reports whether ctx still stands.
func (c *Connections) closeStale(ctx context.Context) bool {
	stale := c.stale()
	pause := time.Duration(0)
	if len(stale) > 0 {
		pause = min(spread/time.Duration(len(stale)), 100*time.Millisecond)
	}
	closed := 0
	defer func() {
		if closed > maxLogged {
			c.log.Warn("more connections closed: their certificates no longer verify", "count", closed-maxLogged)
		}
	}()
	for conn, why := range stale {
		if closed++; closed <= maxLogged {
			c.log.Warn("connection closed: its certificate no longer verifies", "peer", conn.remote, "err", why)
		}
		conn.conn.Close()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}
