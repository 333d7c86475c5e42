package server

import (
	"context"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// This file holds what a watch without a goroutine needs of gRPC's insides (decision 13).
//
// gRPC ends a stream when its handler returns. The handler of a watch does not return: it ends its goroutine
// with runtime.Goexit, which runs only what gRPC has deferred (it counts handlers). The stream stays open
// until openWatch.end writes its status, as gRPC would. TestWatchNeedsNoGoroutine fails if a new version of
// gRPC does not allow this. If only the finisher is missing there, the handler waits instead.

// finisher is the method of gRPC's stream by which gRPC's server ends it after a handler has returned.
type finisher interface {
	WriteStatus(*status.Status) error
}

// finisherOf returns the stream of a call's context; nil if this version of gRPC ends it in another way.
func finisherOf(ctx context.Context) finisher {
	f, _ := grpc.ServerTransportStreamFromContext(ctx).(finisher)
	return f
}

// detach ends the goroutine of a handler and leaves the stream open.
func detach() { runtime.Goexit() }
