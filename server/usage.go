package server

// Usage is how much of what is limited clients use at one moment.
type Usage struct {
	Connections int // of the API
	// Watches of all kinds, and among them those of events, those of state, and the streams of renewals and of writes.
	Watches, EventWatches, StateWatches, LeaseStreams, WriteStreams int64
}

// Usage takes the same time however many watches there are.
func (s *Server) Usage() Usage {
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	u := Usage{
		Watches:      s.watches.open.Load(),
		EventWatches: s.watches.events.Load(),
		StateWatches: s.watches.states.Load(),
		LeaseStreams: s.watches.leases.Load(),
		WriteStreams: s.watches.writes.Load(),
	}
	if clients != nil {
		u.Connections = clients.Open()
	}
	return u
}

// Ready says which of the node's own names are SERVING: "" and rollcall.reads.
func (s *Server) Ready() (ready, reads bool) {
	v := s.readiness.verdict()
	return v.ready, v.reads
}
