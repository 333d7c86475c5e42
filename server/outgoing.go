package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// outgoing sends the statuses of one watch, and keeps at most one of them in gRPC's hands.
//
// gRPC's own bound on what a stream has queued is 64 KiB of payload. A status is seven bytes, and
// each waits with hundreds of bytes around it, so a watcher that never reads could have thousands of
// statuses, megabytes, kept for it: a connection full of such watchers would end the node. Only the
// newest status matters (P5), so the next is sent when the one before has left.
//
// That it has left is learned from its buffer: gRPC returns it to its pool, which is outgoing itself,
// when it has written or dropped it. The bytes are the same for all; nothing is pooled.
type outgoing struct {
	status Status
	queued bool          // a status is in gRPC's hands
	left   chan struct{} // capacity 1: it is not any more; the buffer's last owner must not wait
}

func newOutgoing() *outgoing { return &outgoing{left: make(chan struct{}, 1)} }

// send waits until the last status has left, then sends s. It ends with ctx, which must be the
// stream's or made of it.
func (o *outgoing) send(ctx context.Context, stream grpc.ServerStream, s Status) error {
	if o.queued {
		select {
		case <-o.left:
			o.queued = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.status = s
	return stream.SendMsg(o)
}

// marshal is called by codec, within SendMsg.
func (o *outgoing) marshal() mem.BufferSlice {
	s := o.status
	if s < 0 || int(s) >= len(statusBytes) {
		s = healthpb.HealthCheckResponse_UNKNOWN
	}
	b := mem.NewBuffer(&statusBytes[s], o)
	// gRPC takes no buffer back that it thinks too small for its pools. Ours are large enough; should
	// that change, watches go on, less bounded.
	_, untracked := b.(mem.SliceBuffer)
	o.queued = !untracked
	return mem.BufferSlice{b}
}

// Put implements mem.BufferPool: the status has left.
func (o *outgoing) Put(*[]byte) {
	select {
	case o.left <- struct{}{}:
	default:
	}
}

// Get implements mem.BufferPool. Nothing calls it.
func (o *outgoing) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// statusBytes are the answers by status, as protobuf, in slices that gRPC counts as worth pooling.
var statusBytes = func() (all [4][]byte) {
	for s := range all {
		b, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: Status(s)})
		if err != nil {
			panic(err) // a message of one enum
		}
		all[s] = append(make([]byte, 0, 4096), b...)
	}
	return all
}()

// codec is gRPC's own, which also knows outgoing and outgoingPages.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(encodingproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch o := v.(type) {
	case *outgoing:
		return o.marshal(), nil
	case *outgoingPages:
		return o.marshal()
	}
	return c.CodecV2.Marshal(v)
}
