package client

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// tracker finds out whether the request of one call was handed to a connection, and with which token.
type tracker struct {
	begun atomic.Bool // the call has passed all interceptors of the caller
	sent  atomic.Bool // gRPC handed its request to a connection
	// credential is the generation of the token that the call carries; 0: none, or it was not asked for.
	credential atomic.Uint64
}

// unsent reports that the request surely stayed in this process. It needs both marks: if the call was not seen
// behind the interceptors, one of them may have separated the call from its tracker.
func (t *tracker) unsent() bool { return t.begun.Load() && !t.sent.Load() }

type trackerKey struct{}

func track(ctx context.Context) (context.Context, *tracker) {
	t := new(tracker)
	return context.WithValue(ctx, trackerKey{}, t), t
}

// markBegun is for interceptors that come after all others. A stats.Handler does not see a call that ends
// before gRPC has a connection for it: its context has ended, or no address is known.
func markBegun(ctx context.Context) {
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.begun.Store(true)
	}
}

// noteCredential is for who adds a token to a call.
func noteCredential(ctx context.Context, generation uint64) {
	if t, ok := ctx.Value(trackerKey{}).(*tracker); ok {
		t.credential.Store(generation)
	}
}

func beginUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
	markBegun(ctx)
	return invoke(ctx, method, req, reply, cc, o...)
}

func beginStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	markBegun(ctx)
	return open(ctx, desc, cc, method, o...)
}

// trackSends is a stats.Handler that keeps the trackers. gRPC reports OutPayload in the goroutine of the
// call, after each message that it queued for the wire and never for one that it did not.
type trackSends struct{}

func (trackSends) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

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
