package peerport

import (
	"context"
	"net"
	"sync"
)

// handoff is a net.Listener whose connections somebody else accepted.
type handoff struct {
	addr            net.Addr
	set             connSet
	peerConnections *PeerConnections // told of connections that are delivered; nil: not
	// ready holds connections that the listener's user will accept in a moment. While it is full, a new
	// connection waits for as long as a handshake may take.
	ready chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// MaxUndelivered is how many connections of one purpose wait to be accepted.
const MaxUndelivered = 8

func newHandoff(addr net.Addr, limit int) *handoff {
	return &handoff{addr: addr, set: connSet{limit: limit}, ready: make(chan net.Conn, MaxUndelivered), done: make(chan struct{})}
}

// deliver hands the conn of a peer with the data directory dir over, or closes it if nobody takes it until ctx ends.
func (h *handoff) deliver(ctx context.Context, peer, dir string, conn net.Conn) {
	var over func(remote bool)
	if h.peerConnections != nil {
		over = h.peerConnections.Begin(peer)
	}
	conn = h.set.add(conn, peer, dir, over)
	if conn == nil {
		return
	}
	select {
	case h.ready <- conn:
	case <-h.done:
		_ = conn.Close()
	case <-ctx.Done():
		_ = conn.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.ready:
		return conn, nil
	case <-h.done:
		return nil, &net.OpError{Op: "accept", Net: h.addr.Network(), Addr: h.addr, Err: net.ErrClosed}
	}
}

// Close ends Accept. Connections that were handed over stay; see closeAll.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// closeAll also closes every connection, handed over or not.
func (h *handoff) closeAll() {
	_ = h.Close()
	h.set.close()
}

func (h *handoff) Addr() net.Addr { return h.addr }

func (h *handoff) closed() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}
