package server

import (
	"net/http"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rest"
)

// newREST returns what answers the API over HTTP. The services must be registered.
func (s *Server) newREST() *rest.Handler {
	return rest.New(rest.Config{
		Node: s.cfg.Node, Conn: &s.local, Callers: s.callers, Audit: s.cfg.Audit,
		Answers: s.budgets.answers, Bodies: s.budgets.changes,
		MaxCalls: s.cfg.MaxHTTPCalls, AnonymousWrites: s.cfg.WebWrites, KnownHost: s.cfg.KnownHost,
	})
}

// APIHandler answers the paths that begin with rest.Prefix: the API over HTTP, in JSON (docs/rest.md). No http.ServeMux
// may stand before it: names have slashes and dots, and a ServeMux would lead to another path. Its requests end before
// Stop returns.
func (s *Server) APIHandler() http.Handler { return s.rest }

// HTTPRequests returns how many requests APIHandler has answered.
func (s *Server) HTTPRequests() []rest.Count { return s.rest.Counts() }

// closed says that a client's connection has ended.
func (s *Server) closed(connection *peer.Peer) bool {
	if s.rest.Answering(connection) {
		return false
	}
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	return clients != nil && clients.Closed(connection.Addr)
}

// cut closes a client's connection, and says whether it could.
func (s *Server) cut(connection *peer.Peer) bool {
	if s.rest.Cut(connection) {
		return true
	}
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	return clients != nil && clients.Cut(connection.Addr)
}
