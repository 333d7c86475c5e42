package tlsport

import (
	"errors"
	"net"
	"time"
)

// What the other side may send at most, in bytes: it stays in memory while the handshake waits for more.
const (
	maxHelloBytes     = 8 << 10  // before it is answered; a hello is about 2 KiB
	maxHandshakeBytes = 32 << 10 // with a chain of certificates, which is a few KiB
)

var errTooLarge = errors.New("the other side sends too much during the TLS handshake")

// working is a connection during its handshake. The handshake has a slot while it computes, and none while it waits for
// the other side: those who say nothing more keep nobody from a slot.
type working struct {
	net.Conn
	c     *Conn
	until time.Time // when the handshake must be over
	slot  *slot     // nil: it has none
	read  int       // bytes
	limit int       // of read
	over  bool      // the handshake is over; what follows is only passed on
}

// Read implements net.Conn.
func (w *working) Read(b []byte) (int, error) {
	if w.over {
		return w.Conn.Read(b)
	}
	w.rest()
	n, err := w.Conn.Read(b)
	if n == 0 {
		return n, err
	}
	if w.read += n; w.read > w.limit {
		return 0, errTooLarge
	}
	if w.slot = w.c.port.slots.take(time.Until(w.until), w.c.gone, w.c.abort); w.slot == nil {
		return 0, errCrowded
	}
	return n, err
}

// Write implements net.Conn.
func (w *working) Write(b []byte) (int, error) {
	if !w.over {
		w.limit = maxHandshakeBytes
	}
	return w.Conn.Write(b)
}

// rest gives the slot back.
func (w *working) rest() {
	if w.slot != nil {
		w.c.port.slots.put(w.slot)
		w.slot = nil
	}
}

// done ends the handshake, whatever became of it.
func (w *working) done() {
	w.rest()
	w.over = true
}
