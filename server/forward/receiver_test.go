package forward

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// TestAStreamThatEndsHoldsNothing: a stream may end at any moment after its last commands came. What they took from the
// budget comes back, whichever is first: their answer, or that they are proposed.
func TestAStreamThatEndsHoldsNothing(t *testing.T) {
	withPair(t, func(t *testing.T, p *pair) {
		for range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			_ = p.receiver.Serve(&endingStream{ctx: ctx, cancel: cancel})
		}
		if used, _, _ := p.receiver.Pending.Use(); used != 0 {
			t.Errorf("%d bytes are held when all streams have ended", used)
		}
	})
}

// endingStream is a stream that brings some commands in one message and ends.
type endingStream struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelFunc
	begun  bool
}

func (s *endingStream) Context() context.Context { return s.ctx }

func (s *endingStream) Recv() (*peerv1.ForwardRequest, error) {
	if s.begun {
		return nil, context.Canceled
	}
	s.begun = true
	req := &peerv1.ForwardRequest{}
	for id := range 200 {
		req.Commands = append(req.Commands, &peerv1.ForwardedCommand{Id: uint64(id), Timeout: int64(time.Minute), Command: &logv1.Command{}})
	}
	go s.cancel()
	return req, nil
}

func (s *endingStream) Send(*peerv1.ForwardResponse) error { return s.ctx.Err() }
