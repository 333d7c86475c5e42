package tlsport

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Listen returns l, secured: Accept returns connections whose handshake is over. Those that are in their handshake take
// no place of a server's. Close must be called; it ends them, and waits for that.
func (p *Port) Listen(l net.Listener) net.Listener {
	s := &listener{
		Listener: l, port: p,
		accepted: make(chan accepted), closed: make(chan struct{}), young: map[*Conn]struct{}{},
	}
	s.wg.Go(s.accept)
	return s
}

type listener struct {
	net.Listener
	port     *Port
	accepted chan accepted // not buffered: a connection is given to one Accept
	closed   chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex         // guards young
	young map[*Conn]struct{} // in their handshake; nil after Close
}

type accepted struct {
	conn *Conn
	err  error
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		if a.err != nil {
			return nil, a.err
		}
		return a.conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	young := l.young
	l.young = nil
	l.mu.Unlock()
	if young == nil {
		return err
	}
	close(l.closed)
	for c := range young {
		_ = c.Close()
	}
	l.wg.Wait()
	return err
}

// accept accepts what comes until Close.
func (l *listener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if !l.give(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		c := l.port.Accept(conn)
		l.mu.Lock()
		if l.young == nil {
			l.mu.Unlock()
			_ = c.Close()
			return
		}
		l.young[c] = struct{}{}
		l.mu.Unlock()
		l.wg.Go(func() { l.handshake(c) })
	}
}

// handshake does that of one connection.
func (l *listener) handshake(c *Conn) {
	_ = c.SetDeadline(time.Now().Add(HandshakeTimeout))
	err := c.Handshake()
	l.mu.Lock()
	delete(l.young, c)
	l.mu.Unlock()
	if err != nil {
		return
	}
	if c.SetDeadline(time.Time{}) != nil || !l.give(accepted{conn: c}) {
		_ = c.Close()
	}
}

// give gives what was accepted to Accept. It returns false after Close.
func (l *listener) give(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		return false
	}
}
