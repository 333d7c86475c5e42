package healthserver

import (
	"context"
	"errors"
	"sync"
	"time"
)

// closeTimeout bounds the end of the lease.
const closeTimeout = 5 * time.Second

// life is the course of a Server: Run, Stop.
type life struct {
	stopping chan struct{}   // closed by Stop, after Shutdown
	over     context.Context // ended by Stop, after the drain: Run returns
	end      context.CancelFunc
	ran      chan struct{} // closed when Run has returned
	stopped  chan struct{} // closed when Stop has returned

	once     sync.Mutex      // guards what follows
	begun    bool            // Run was called
	stops    bool            // Stop was called
	closeCtx context.Context // of Stop, once it ends Run
}

func newLife() *life {
	l := &life{stopping: make(chan struct{}), ran: make(chan struct{}), stopped: make(chan struct{})}
	l.over, l.end = context.WithCancel(context.Background())
	return l
}

// Run follows the registry and publishes, until ctx ends or Stop has drained. Then it ends the lease, which takes 5 s
// at most, and returns: nil after Stop, else the error of ctx. It outlives every failure of the registry: the last
// opinion stays. Without WithClient it does nothing but wait.
//
// Give it a context that lives until Stop was called: if ctx ends before, the lease ends before the callers are told.
// Run may be called once; another call returns an error at once. After Stop it returns nil at once.
func (s *Server) Run(ctx context.Context) error {
	s.once.Lock()
	begun := s.begun
	s.begun = true
	s.once.Unlock()
	if begun {
		return errors.New("healthserver: Run was called before")
	}
	defer close(s.ran)
	if s.over.Err() != nil {
		return nil
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.over, cancel)()
	var work sync.WaitGroup
	if s.source != nil {
		s.startWait()
		work.Go(func() { s.runSource(inner) })
		work.Go(func() { s.heed(inner) })
	}
	if s.publish != nil {
		work.Go(func() { s.runPublisher(inner) })
	}
	if s.state != nil {
		work.Go(func() { s.state.run(inner) })
	}
	<-inner.Done()
	work.Wait()
	if s.over.Err() != nil {
		return nil
	}
	return ctx.Err()
}

func (s *Server) runSource(ctx context.Context) {
	if err := s.source.Run(ctx); err != nil && ctx.Err() == nil {
		s.logger.Error("the registry is not followed any more; its last opinion stays", "error", err)
	}
}

// heed makes the verdict anew whenever an opinion changes.
func (s *Server) heed(ctx context.Context) {
	for {
		changed := s.source.Changed()
		s.judge()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// closing is the context in which the lease ends.
func (s *Server) closing() (context.Context, context.CancelFunc) {
	s.once.Lock()
	defer s.once.Unlock()
	ctx := s.closeCtx
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(ctx, closeTimeout)
}
