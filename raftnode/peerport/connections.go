package peerport

import (
	"net"
	"sync"
)

// connSet holds the open connections of one purpose, so that closing the node closes them: raft's
// transport and gRPC leave theirs.
type connSet struct {
	limit int // of them; 0: none

	mu     sync.Mutex // guards what follows
	conns  map[*trackedConn]struct{}
	closed bool
}

type trackedConn struct {
	net.Conn
	set  *connSet
	peer string // the member at the other end,
	dir  string // and its data directory
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

// Member is who is at the other end, as its hello said, and with TLS its certificate.
func (c *trackedConn) Member() string { return c.peer }

// check takes note of an error that says that the other side has ended the connection.
func (c *trackedConn) check(err error) {
	if err != nil && c.over != nil && EndedByPeer(err) {
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

// add tracks a connection until it is closed. After close, and when there are as many as may be, it closes
// the connection and returns nil.
// peer is the member at the other end, dir its data directory. over is called when the connection ends, more than once perhaps; nil: it is not.
func (s *connSet) add(conn net.Conn, peer, dir string, over func(remote bool)) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.limit > 0 && len(s.conns) >= s.limit {
		_ = conn.Close()
		if over != nil {
			over(false)
		}
		return nil
	}
	if s.conns == nil {
		s.conns = map[*trackedConn]struct{}{}
	}
	t := &trackedConn{Conn: conn, set: s, peer: peer, dir: dir, over: over}
	s.conns[t] = struct{}{}
	return t
}

// retain closes the connections of all peers but those to be kept.
func (s *connSet) retain(keep func(peer, dir string) bool) {
	s.mu.Lock()
	var open []*trackedConn
	for c := range s.conns {
		if !keep(c.peer, c.dir) {
			open = append(open, c)
		}
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
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
