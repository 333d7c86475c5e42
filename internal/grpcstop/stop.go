package grpcstop

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// GoAwayPause is how long streams stay open after GracefulStop has begun. grpc-go does not tell when it has sent GOAWAY
// to all connections; it does so at once. A client that sees its stream end before would open it again.
const GoAwayPause = 100 * time.Millisecond

// Stop ends g: connections get GOAWAY, calls that are under way end, and endStreams ends the streams without whose end
// GracefulStop would wait for ever. If ctx ends before, what is left is ended at once, and Stop returns the error of
// ctx.
func Stop(ctx context.Context, g *grpc.Server, endStreams func()) error {
	done := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(GoAwayPause):
	case <-ctx.Done():
	}
	endStreams()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		g.Stop() // GracefulStop returns, too, when the handlers have
		return ctx.Err()
	}
}
