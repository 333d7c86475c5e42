package raftnode

import (
	"context"
	"net"
	"sync"
)

// connSet holds the open connections of one purpose, so that closing the node closes them: raft's
// transport and gRPC leave theirs.
type connSet struct {
	mu     sync.Mutex // guards all fields
	conns  map[*trackedConn]struct{}
	closed bool
}

type trackedConn struct {
	net.Conn
	set  *connSet
	once sync.Once
	over func(remote bool) // called when it ends, by the other side or by this one; nil: nobody asks
}

func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.check(err)
	return n, err
}

func (c *trackedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.check(err)
	return n, err
}

// check takes note of an error that says that the other side has ended the connection.
func (c *trackedConn) check(err error) {
	if err != nil && c.over != nil && brokenOff(err) {
		c.over(true)
	}
}

func (c *trackedConn) Close() error {
	c.once.Do(func() {
		c.set.mu.Lock()
		delete(c.set.conns, c)
		c.set.mu.Unlock()
		if c.over != nil {
			c.over(false)
		}
	})
	return c.Conn.Close()
}

// add tracks a connection until it is closed. After close it closes the connection and returns nil.
// over is called when the connection ends, more than once perhaps; nil: it is not.
func (s *connSet) add(conn net.Conn, over func(remote bool)) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		if over != nil {
			over(false)
		}
		return nil
	}
	if s.conns == nil {
		s.conns = map[*trackedConn]struct{}{}
	}
	t := &trackedConn{Conn: conn, set: s, over: over}
	s.conns[t] = struct{}{}
	return t
}

func (s *connSet) close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*trackedConn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// handoff is a net.Listener whose connections somebody else accepted.
type handoff struct {
	addr  net.Addr
	set   connSet
	lines *lines // told of connections that are delivered; nil: not
	// ready holds what the other side will take in a moment; who comes while it is full waits
	// within the time a handshake has.
	ready chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, ready: make(chan net.Conn, 8), done: make(chan struct{})}
}

// deliver hands peer's conn over, or closes it if nobody takes it until ctx ends.
func (h *handoff) deliver(ctx context.Context, peer string, conn net.Conn) {
	var over func(remote bool)
	if h.lines != nil {
		over = h.lines.begin(peer)
	}
	conn = h.set.add(conn, over)
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
