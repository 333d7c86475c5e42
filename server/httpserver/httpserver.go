package httpserver

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Timeouts suit probes and scrapes: short requests, short answers, nobody who dawdles.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second
	// idleTimeout is longer than what probes and scrapes are apart.
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// sendBuffer is what the system holds of an answer that its reader has not taken. A write that waits for the reader goes
	// on when about a third of it is free. If Linux chose the size, that would be more than a megabyte, and who reads slowly
	// would be cut off by the deadline of a write as if he did not read.
	sendBuffer = 128 << 10
)

// Server serves HTTP on one listener, over a bounded number of connections. At the bound a new connection
// takes the place of the one that has been without a request for longest: connections that do nothing keep
// no probe out.
type Server struct {
	http  http.Server
	limit int
	log   *slog.Logger

	mu     sync.Mutex // guards what follows
	open   map[*conn]*list.Element
	idle   list.List // of those without a request, the longest first
	warned time.Time
}

// New returns a server of h with at most limit connections.
func New(h http.Handler, limit int, log *slog.Logger) *Server {
	s := &Server{limit: limit, log: log, open: make(map[*conn]*list.Element)}
	s.http = http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.state,
		ConnContext:       remember,
		ErrorLog:          slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelWarn),
	}
	return s
}

// NewHTTP2 is New for a server that speaks HTTP/2 in plain text, to clients that begin with it, as gRPC's do.
func NewHTTP2(h http.Handler, limit int, log *slog.Logger) *Server {
	s := New(h, limit, log)
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	s.http.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 16}
	return s
}

// Serve answers on l until Close. Its error is never nil; after Close it is http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(&listener{l, s}) }

// Shutdown takes no new connection and no new request, lets the answers that are being written leave, and ends the rest
// when ctx does.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// Close ends everything at once.
func (s *Server) Close() error { return s.http.Close() }

// Open is how many connections are open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

type listener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener. It closes a connection for which there is no room.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.server.admit(c); admitted != nil {
			if b, ok := c.(interface{ SetWriteBuffer(bytes int) error }); ok {
				_ = b.SetWriteBuffer(sendBuffer) // else it is as large as the system likes
			}
			return admitted, nil
		}
		c.Close()
	}
}

// admit makes room for a connection; nil if all others have a request.
func (s *Server) admit(c net.Conn) net.Conn {
	s.mu.Lock()
	var evicted *conn
	if len(s.open) >= s.limit {
		if now := time.Now(); now.Sub(s.warned) > time.Minute {
			s.warned = now
			s.log.Warn("the port has as many connections as it may: new ones take the place of idle ones; find who opens so many", "limit", s.limit)
		}
		if s.idle.Len() == 0 {
			s.mu.Unlock()
			return nil
		}
		evicted = s.forget(s.idle.Front().Value.(*conn))
	}
	admitted := &conn{Conn: c, server: s}
	s.open[admitted] = s.idle.PushBack(admitted) // its first request has not come yet
	s.mu.Unlock()
	if evicted != nil {
		evicted.Conn.Close()
	}
	return admitted
}

// state is told by net/http what each connection does.
func (s *Server) state(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tracked, ok := c.(*conn)
	if !ok {
		return
	}
	e, open := s.open[tracked]
	switch {
	case !open: // evicted
	case state == http.StateActive && e != nil:
		s.idle.Remove(e)
		s.open[tracked] = nil
	case state == http.StateIdle && e == nil:
		s.open[tracked] = s.idle.PushBack(tracked)
	}
}

// forget counts c no more. mu is held.
func (s *Server) forget(c *conn) *conn {
	if e := s.open[c]; e != nil {
		s.idle.Remove(e)
	}
	delete(s.open, c)
	return c
}

type connectionKey struct{}

func remember(ctx context.Context, c net.Conn) context.Context {
	if tracked, ok := c.(*conn); ok {
		c = tracked.Conn
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// Connection returns the connection over which the request of ctx came, as the listener accepted it; nil if it came in
// another way.
func Connection(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connectionKey{}).(net.Conn)
	return c
}

// conn tells its server when it is closed.
type conn struct {
	net.Conn
	server *Server
}

func (c *conn) Close() error {
	c.server.mu.Lock()
	c.server.forget(c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}
