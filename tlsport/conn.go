package tlsport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// firstTLSByte begins every TLS connection: the type of a handshake record. Neither HTTP, nor HTTP/2, nor the hello of
// members begins with it.
const firstTLSByte = 0x16

// Conn is a connection that was accepted. The first byte that comes decides what it is, if the port accepts both. The
// first Read, Write or Handshake waits for that; Handshake says why it failed.
//
// Deadlines and Close work before the handshake too.
type Conn struct {
	net.Conn // as it was accepted; it is read through secured only
	port     *Port

	handshake *handshake // nil: the connection was dialed

	once    sync.Once
	secured net.Conn // what Read and Write use; nil: the handshake failed
	state   *tls.ConnectionState
	failure error
	forget  func()      // ends the note of its certificates
	ready   atomic.Bool // the handshake is over and has not failed
	broken  atomic.Bool // a write has failed, and TLS writes nothing any more

	gone    chan struct{} // closed when the connection ends before its handshake is over
	aborted sync.Once

	// ending is set when the connection is to be closed at the next quiet moment; busy is when something was read or
	// written since, in nanoseconds since 1970.
	ending atomic.Bool
	busy   atomic.Int64
}

// Handshake makes the connection what it will be. Later calls return the first one's error, a *HandshakeError. The
// connection is closed if it fails, once the other side has had time to hear why.
func (c *Conn) Handshake() error {
	c.once.Do(func() {
		c.failure = c.port.secure(c)
		if c.failure != nil {
			linger(c.Conn, c.failure)
			_ = c.Conn.Close()
		}
		c.handshake.end()
		if c.failure != nil {
			return
		}
		c.ready.Store(true)
	})
	return c.failure
}

// Certificates are those that the other side has shown, its own first; none in plain text, and before Handshake.
func (c *Conn) Certificates() []*x509.Certificate {
	if c.state == nil {
		return nil
	}
	return c.state.PeerCertificates
}

// TLS says whether the connection is secured. It is false before Handshake.
func (c *Conn) TLS() bool { return c.state != nil }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	n, err := c.secured.Read(b)
	if c.ending.Load() {
		c.busy.Store(time.Now().UnixNano())
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if c.ending.Load() {
		c.busy.Store(time.Now().UnixNano())
	}
	n, err := c.secured.Write(b)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// Close implements net.Conn. It waits for no handshake, and tells the other side if the handshake is over. It tells nothing
// once a write has failed: TLS would wait 5 s for who is cut off because it does not read.
func (c *Conn) Close() error {
	if !c.ready.Load() {
		if c.handshake != nil {
			c.handshake.end()
		}
		c.abort()
		return nil
	}
	if c.forget != nil {
		c.forget()
		c.port.ending.remove(c)
	}
	if c.broken.Load() {
		return c.Conn.Close()
	}
	return c.secured.Close()
}

// abort ends the connection, and its handshake if that is under way.
func (c *Conn) abort() {
	c.aborted.Do(func() { close(c.gone) })
	_ = c.Conn.Close()
}

// SyscallConn implements syscall.Conn, for socket options.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, syscall.EINVAL
}

// SetWriteBuffer bounds what the system holds that the other side has not taken, as net.TCPConn does.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if s, ok := c.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return s.SetWriteBuffer(bytes)
	}
	return nil // it is none of the network
}

// begun is a connection whose first byte was read.
type begun struct {
	net.Conn
	first []byte // not read again yet
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 && len(p) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// peek reads the first byte of a connection, and returns a connection that begins with it.
func peek(conn net.Conn) (byte, net.Conn, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return 0, nil, err
	}
	return first[0], &begun{conn, first}, nil
}

// hearing is how long the other side has to hear why it is refused. lingering is the most that is read meanwhile, in
// bytes.
const (
	hearing   = 250 * time.Millisecond
	lingering = 64 << 10
)

// linger waits until the other side has ended a connection that is refused. A system that closes a connection while
// something has come over it that nobody has read resets it, and the other side would not hear why it is refused. Who
// sends plain text hears that the connection has ended, and not that it is broken.
func linger(conn net.Conn, failure error) {
	if e, ok := errors.AsType[*HandshakeError](failure); !ok || e.byStranger() || e.Reason == ReasonCrowded {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the other side need not wait until this one has heard enough
	}
	if conn.SetReadDeadline(time.Now().Add(hearing)) == nil {
		_, _ = io.CopyN(io.Discard, conn, lingering)
	}
}
