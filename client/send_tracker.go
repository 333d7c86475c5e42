package client

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// tracker finds out whether the request of one call was handed to a connection.
type tracker struct {
	begun atomic.Bool // gRPC saw the call
	sent  atomic.Bool // and handed its request to a connection
}

// unsent reports that the request surely stayed in this process. It needs both marks: if gRPC did not see the
// call, an interceptor may have separated the call from its tracker.
func (t *tracker) unsent() bool { return t.begun.Load() && !t.sent.Load() }

type trackerKey struct{}

func track(ctx context.Context) (context.Context, *tracker) {
	t := new(tracker)
	return context.WithValue(ctx, trackerKey{}, t), t
}

// trackSends is a stats.Handler that keeps the trackers. gRPC reports OutPayload in the goroutine of the
// call, after each message that it queued for the wire and never for one that it did not.
type trackSends struct{}

func (trackSends) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.begun.Store(true)
	}
	return ctx
}

func (trackSends) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.sent.Store(true)
	}
}

func (trackSends) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (trackSends) HandleConn(context.Context, stats.ConnStats) {}
