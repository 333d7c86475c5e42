package healthserver

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/internal/grpcstop"
)

// Stop ends the process's service so that no call fails:
//
//  1. Shutdown: everybody who watches or asks is told NOT_SERVING, and it is published.
//  2. The drain (WithDrain): calls are still served, and the callers move away.
//  3. g.GracefulStop begins: connections get GOAWAY, calls under way end. The lease ends, as Publish.OnStop says.
//  4. EndWatches, without which GracefulStop would wait for ever.
//
// When ctx ends before, g.Stop ends what is left at once; so give it a deadline that is longer than the drain and the
// longest call. When Stop returns, Run is over too, unless ctx ended or Run was not called. g may be nil; then the
// program stops its server itself, after Stop. Another call waits for the first, or until its own ctx ends.
//
// SetServingStatus changes nothing any more after Stop was called, so what feeds the Server may go on until then.
func (s *Server) Stop(ctx context.Context, g *grpc.Server) {
	s.once.Lock()
	first := !s.stops
	s.stops = true
	s.once.Unlock()
	if !first {
		select {
		case <-s.stopped:
		case <-ctx.Done():
		}
		return
	}
	defer close(s.stopped)
	s.logger.Info("stopping", "drain", s.drain)
	s.Shutdown()
	close(s.stopping)
	sleep(ctx, s.drain)
	ran := s.endRun(ctx)
	if g == nil {
		s.EndWatches()
	} else {
		if err := grpcstop.Stop(ctx, g, s.EndWatches); err != nil {
			s.logger.Warn("calls that are still under way are ended", "error", err)
		}
	}
	select {
	case <-ran:
	case <-ctx.Done():
	}
}

// stopCalled reports whether Stop was called. It is true before what Shutdown says can be seen.
func (s *Server) stopCalled() bool {
	s.once.Lock()
	defer s.once.Unlock()
	return s.stops
}

// endRun has Run end the lease, within ctx, and return. The channel is closed when it has.
func (s *Server) endRun(ctx context.Context) <-chan struct{} {
	s.once.Lock()
	defer s.once.Unlock()
	s.closeCtx = ctx
	s.end()
	if s.begun {
		return s.ran
	}
	never := make(chan struct{})
	close(never)
	return never
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
