package rest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// calls are the requests that are being answered, so that none outlives the server.
type calls struct {
	max int

	mu     sync.Mutex // guards what follows
	open   map[*peer.Peer]*call
	ending bool
	idle   chan struct{} // closed when no request is open, after ending
}

func (s *calls) init(most int) {
	s.max, s.open, s.idle = most, make(map[*peer.Peer]*call), make(chan struct{})
}

func (s *calls) enter(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending:
		return rpcerror.ErrStopping.AsNotWritten()
	case len(s.open) >= s.max:
		return rpcerror.LimitReached("http-calls",
			"this node answers %d requests to %s at a time, and as many are open; ask another node or try again later", s.max, Prefix).AsNotWritten()
	}
	s.open[c.peer] = c
	return nil
}

func (s *calls) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.open, c.peer); s.ending && len(s.open) == 0 {
		close(s.idle)
	}
}

// of returns the request of a peer; nil if it is not open.
func (s *calls) of(p *peer.Peer) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[p]
}

// cutGrace is how long the answers to requests that are ended have to leave.
const cutGrace = 500 * time.Millisecond

// each calls do with each open request, and returns how many there are.
func (s *calls) each(do func(*call)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		do(c)
	}
	return len(s.open)
}

func (s *calls) stop(ctx context.Context) error {
	s.mu.Lock()
	if !s.ending {
		s.ending = true
		if len(s.open) == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
	}
	cut := s.each(func(c *call) { c.cancel(rpcerror.ErrStopping) })
	// Whoever waits for a change is told that its outcome is unknown.
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-s.idle:
	case <-grace.C:
		s.each((*call).cut)
		<-s.idle
	}
	return fmt.Errorf("%d HTTP requests were cut off: %w", cut, ctx.Err())
}
