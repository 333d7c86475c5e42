package server

// KeepPeers ends this node's gRPC connections to members other than those named.
func (s *Server) KeepPeers(names map[string]bool) { s.pool.Keep(names) }
