package connlimit

import (
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Handshakes is a listener that remembers its youngest connections. gRPC's Stop closes connections at once,
// except those that are still in their handshake: it waits for them, for up to Timeout. CloseYoung ends that
// wait. The connections are not wrapped, because gRPC sets socket options only on types that it knows.
type Handshakes struct {
	net.Listener
	Timeout time.Duration // of a handshake

	mu    sync.Mutex // guards what follows
	young []youngConn
	look  int // drop the closed ones of young when there are so many
}

// minLook is how many connections are not worth a look.
const minLook = 64

func holdsFile(conn net.Conn) bool {
	_, ok := conn.(syscall.Conn)
	return ok
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
	if len(h.young) >= max(h.look, minLook) {
		h.young = slices.DeleteFunc(h.young, func(c youngConn) bool { return holdsFile(c.Conn) && closed(c.Conn) })
		h.look = 2 * len(h.young)
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
