package connlimit

import (
	"log/slog"
	"maps"
	"net"
	"sync"
	"syscall"
	"time"
)

// Listener is a listener with a limit on the connections that are open: each costs a file
// descriptor, and a node without any left could not open its own files or reach its peers.
//
// It does not wrap connections to learn when they are closed, because gRPC saves memory and sets options only
// on types that it knows. Instead it checks, when it is at the limit, which of them are closed.
type Listener struct {
	net.Listener
	limit int
	log   *slog.Logger

	mu     sync.Mutex            // guards what follows
	open   map[net.Addr]net.Conn // by the address itself, not one like it; and closed ones that were not looked at since
	look   int                   // check for closed ones when there are so many
	looked time.Time             // when that was done last at the limit
	warned time.Time
}

// lookEvery is the least time between two checks at the limit, so that clients that come then cost little.
const lookEvery = 50 * time.Millisecond

// New returns l with a limit.
func New(l net.Listener, limit int, log *slog.Logger) *Listener {
	return &Listener{Listener: l, limit: limit, log: log, open: make(map[net.Addr]net.Conn)}
}

// Accept closes what comes above the limit. Clients see a connection that failed, wait, and try
// another node.
func (c *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.admit(conn) {
			return conn, nil
		}
		conn.Close()
	}
}

// Open is how many connections are open. It looks at each of them.
func (c *Listener) Open() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		if !closed(conn) {
			n++
		}
	}
	return n
}

func (c *Listener) admit(conn net.Conn) bool {
	if _, ok := conn.(syscall.Conn); !ok {
		return true // it holds no file descriptor
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	atLimit := len(c.open) >= c.limit
	if atLimit && now.Sub(c.looked) >= lookEvery || !atLimit && len(c.open) >= c.look {
		maps.DeleteFunc(c.open, func(_ net.Addr, conn net.Conn) bool { return closed(conn) })
		c.look = max(64, 2*len(c.open))
		c.looked = now
	}
	if len(c.open) >= c.limit {
		if now.Sub(c.warned) > time.Minute {
			c.warned = now
			c.log.Warn("connections are refused; find who opens so many, or raise the limit", "flag", "--max-connections", "limit", c.limit)
		}
		return false
	}
	c.open[conn.RemoteAddr()] = conn
	return true
}

// closed says whether this side has closed conn.
func closed(conn net.Conn) bool {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	return raw.Control(func(uintptr) {}) != nil
}

// Closed says whether the connection whose address is addr itself, not one like it, has been closed by this
// side. It is false for one that holds no file descriptor.
func (c *Listener) Closed(addr net.Addr) bool {
	if _, ok := addr.(*net.TCPAddr); !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conn, open := c.open[addr]
	return !open || closed(conn)
}

// Cut closes the connection whose remote address is the very value addr, not one that is only equal, and says
// whether there is one. It knows those that hold a file descriptor.
func (c *Listener) Cut(addr net.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn, open := c.open[addr]
	if open {
		conn.Close()
	}
	return open
}
