package httpapi

import (
	"container/list"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how long a new connection may be silent before another one may take its place.
const grace = 2 * time.Second

// connections bounds how many connections are open. From three quarters of the bound on, answers end their connections
// (crowded). So those that are kept for a next request fill three quarters at most, and none is closed while its next
// request is on its way. At the bound a new connection takes the place of one that has been silent for longer than
// grace. Else the new one waits, and more of them wait in the kernel's queue. So a burst is slow and not refused.
type connections struct {
	limit int
	log   *slog.Logger

	mu     sync.Mutex // guards what follows
	open   map[*conn]*list.Element
	silent list.List     // of those from which no byte has come yet, in the order in which they are waited for
	room   chan struct{} // has a token when a connection was closed; capacity 1: one accept waits
	ended  chan struct{} // closed by end
	over   bool
	warned time.Time
}

type conn struct {
	net.Conn
	owner *connections
	heard atomic.Bool // a byte has come
	since time.Time   // when the first byte is waited for; zero: not yet
}

func newConnections(limit int, log *slog.Logger) *connections {
	return &connections{limit: limit, log: log, open: map[*conn]*list.Element{}, room: make(chan struct{}, 1), ended: make(chan struct{})}
}

// count is how many connections are open.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// crowded reports whether answers are to end their connections.
func (c *connections) crowded() bool { return c.count() >= max(1, c.limit*3/4) }

// end ends the wait of connections for which there is no room.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		close(c.ended)
	}
}

// Read implements net.Conn. The time of silence begins with the first Read: before it, this process was slow and not
// the caller.
func (one *conn) Read(b []byte) (int, error) {
	if one.heard.Load() {
		return one.Conn.Read(b)
	}
	one.owner.awaits(one)
	n, err := one.Conn.Read(b)
	if n > 0 {
		one.owner.hears(one)
	}
	return n, err
}

func (c *connections) awaits(one *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, open := c.open[one]; open && e == nil && one.since.IsZero() {
		one.since = time.Now()
		c.open[one] = c.silent.PushBack(one)
	}
}

func (c *connections) hears(one *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.heard.Store(true)
	if e := c.open[one]; e != nil {
		c.silent.Remove(e)
		c.open[one] = nil
	}
}

// forget counts one no more. c.mu is held.
func (c *connections) forget(one *conn) {
	if e := c.open[one]; e != nil {
		c.silent.Remove(e)
	}
	if _, ok := c.open[one]; ok {
		delete(c.open, one)
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
}

// admit gives a connection a place. If there is none it returns nil and how long to wait at most before it is asked
// again.
func (c *connections) admit(nc net.Conn) (admitted *conn, wait time.Duration) {
	now := time.Now()
	c.mu.Lock()
	var evicted *conn
	defer func() {
		c.mu.Unlock()
		if evicted != nil {
			evicted.Conn.Close()
		}
	}()
	if len(c.open) >= c.limit {
		if now.Sub(c.warned) > time.Minute {
			c.warned = now
			c.log.Warn("the HTTP port has as many connections as it may: new ones wait; find who opens so many", "limit", c.limit)
		}
		if evicted = c.victim(now); evicted == nil {
			return nil, grace / 4
		}
		c.forget(evicted)
	}
	admitted = &conn{Conn: nc, owner: c}
	c.open[admitted] = nil
	return admitted, 0
}

// victim is the connection that loses its place; nil if none may. c.mu is held.
func (c *connections) victim(now time.Time) *conn {
	if e := c.silent.Front(); e != nil && now.Sub(e.Value.(*conn).since) > grace {
		return e.Value.(*conn)
	}
	return nil
}

// Close implements net.Conn.
func (one *conn) Close() error {
	one.owner.mu.Lock()
	one.owner.forget(one)
	one.owner.mu.Unlock()
	return one.Conn.Close()
}

type boundListener struct {
	net.Listener
	c *connections
}

func (c *connections) bound(l net.Listener) net.Listener { return &boundListener{l, c} }

// Accept implements net.Listener. It waits until there is room.
func (l *boundListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		admitted, wait := l.c.admit(nc)
		if admitted != nil {
			return admitted, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.c.room:
		case <-timer.C:
		case <-l.c.ended:
			timer.Stop()
			nc.Close()
			return nil, net.ErrClosed
		}
		timer.Stop()
	}
}
