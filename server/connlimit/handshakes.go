package connlimit

import (
	"net"
	"sync"
	"time"
)

// Handshakes is a listener that remembers its youngest connections. gRPC's Stop closes connections at once,
// except those that are still in their handshake: it waits for them, for up to Timeout. CloseYoung ends that
// wait. The connections are not wrapped, because gRPC sets socket options only on types that it knows.
type Handshakes struct {
	net.Listener
	Timeout time.Duration // of a handshake

	mu    sync.Mutex // guards young
	young []youngConn
}

type youngConn struct {
	net.Conn
	accepted time.Time
}

// Accept implements net.Listener.
func (h *Handshakes) Accept() (net.Conn, error) {
	conn, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.young) > 0 && now.Sub(h.young[0].accepted) > h.Timeout {
		h.young[0] = youngConn{}
		h.young = h.young[1:]
	}
	h.young = append(h.young, youngConn{conn, now})
	return conn, nil
}

// CloseYoung closes every connection that may still be in its handshake.
func (h *Handshakes) CloseYoung() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.young {
		c.Close()
	}
	h.young = nil
}
