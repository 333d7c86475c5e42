package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Limits of the port.
const (
	// MaxConnections is how many connections are open at most.
	MaxConnections = 1000
	// MaxPushBytes is the size of a push at most.
	MaxPushBytes = 8 << 10

	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // of a whole request
	writeTimeout   = 30 * time.Second // of an answer
	idleTimeout    = 2 * time.Minute  // longer than scrapes are apart
	// largeAnswers is how many pages of all services, and scrapes, are made at a time: each takes memory for all
	// services.
	largeAnswers = 4
)

// Options are of New.
type Options struct {
	Logger          *slog.Logger           // nil: nothing is logged
	AllowRemotePush bool                   // pushes are taken from other machines
	Hosts           []string               // names by which clients call this port, beside localhost and addresses
	Collectors      []prometheus.Collector // shown on /metrics, beside the port's own
}

// Server serves the HTTP port. Make one with New.
type Server struct {
	http        http.Server
	connections *connections
}

// New returns a Server. It serves nothing yet.
func New(source Source, o Options) *Server {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{connections: newConnections(MaxConnections, logger)}
	s.http = http.Server{
		Handler:           newHandler(source, o, s.connections),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.With("part", "http").Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers on l until Shutdown or Close, and then returns http.ErrServerClosed. It closes l.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(s.connections.bound(l)) }

// Shutdown takes no more connections, and waits for the answers that are under way. When ctx ends before, it cuts them
// off and returns an error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.connections.end()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// Close ends everything at once.
func (s *Server) Close() error {
	s.connections.end()
	return s.http.Close()
}
