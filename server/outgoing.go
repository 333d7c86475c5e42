package server

import (
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// outgoing sends the statuses of one watch, and knows when each has left gRPC's hands.
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
	queued bool   // a status is in gRPC's hands; of the sender
	left   func() // it is not any more: called by the buffer's last owner, under locks of gRPC's
}

// send must not be called again before left was. As what is sent before has left, it does not wait: it
// is gRPC's bound that would make it.
func (o *outgoing) send(stream grpc.ServerStream, s Status) {
	o.status, o.queued = s, false
	if err := stream.SendMsg(o); err != nil {
		return // gRPC has ended the stream, and its context with it
	}
	if !o.queued {
		o.left()
	}
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
func (o *outgoing) Put(*[]byte) { o.left() }

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

// checkAnswers are the answers to Check by status, ready to be sent. They belong to nobody's pool, so
// all calls share them.
var checkAnswers = func() (all [4]mem.BufferSlice) {
	for s := range all {
		all[s] = mem.BufferSlice{mem.SliceBuffer(statusBytes[s])}
	}
	return all
}()

// codec is gRPC's own, which also knows outgoing and outgoingPages, and has a shorter way for the
// messages of Check.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(encodingproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *outgoing:
		return v.marshal(), nil
	case *outgoingPages:
		return v.marshal()
	case *healthpb.HealthCheckResponse:
		// What this server answers has no other field.
		if s := v.GetStatus(); s >= 0 && int(s) < len(checkAnswers) {
			return checkAnswers[s], nil
		}
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if req, ok := v.(*healthpb.HealthCheckRequest); ok && len(data) == 1 {
		if name, ok := onlyService(data[0].ReadOnlyData()); ok {
			req.Reset()
			req.Service = string(name)
			return nil
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// onlyService returns the name in a HealthCheckRequest that says nothing else and in the usual way.
func onlyService(b []byte) (name []byte, ok bool) {
	const tag, shorter = 1<<3 | 2, 128 // field 1, bytes; a length of one byte
	if len(b) < 2 || b[0] != tag || b[1] >= shorter || int(b[1]) != len(b)-2 || !utf8.Valid(b[2:]) {
		return nil, false
	}
	return b[2:], true
}
