package server

import (
	"context"
	"net/http"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/server/sse"
)

// newREST returns what answers the API over HTTP. The services must be registered.
func (s *Server) newREST() *rest.Handler {
	return rest.New(rest.Config{
		Node: s.cfg.Node, Conn: &s.local, Callers: s.callers, Audit: s.cfg.Audit,
		Answers: s.budgets.answers, Bodies: s.budgets.changes,
		Streams:  map[string]http.Handler{"/api/v1/services:watch": s.sse.Services(), "/api/v1/events:watch": s.sse.Events()},
		MaxCalls: s.cfg.MaxHTTPCalls, AnonymousWrites: s.cfg.WebWrites, KnownHost: s.cfg.KnownHost,
	})
}

// maxStreamsPerAddress is how many streams of events over HTTP one address may have. A browser has one for each page that
// is looked at.
const maxStreamsPerAddress = 100

// newSSE returns what answers the watches over HTTP, until ending ends.
func (s *Server) newSSE(registry Registry, ending context.Context) *sse.Streams {
	return sse.New(sse.Config{
		Conn: &s.local, ClusterID: registry.ClusterID, Pages: s.budgets.streams,
		Identity: func(ctx context.Context) string {
			caller, failure := s.callers.Identify(ctx)
			if failure != nil {
				return "" // the call will be refused
			}
			return caller.Identity
		},
		MaxStreams: s.cfg.MaxHTTPStreams, MaxPerAddress: maxStreamsPerAddress, Ending: ending, Logger: s.log,
	})
}

// HTTPStreams returns what is counted of the watches over HTTP.
func (s *Server) HTTPStreams() sse.Counts { return s.sse.Counts() }

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
