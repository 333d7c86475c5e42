package flowcontrol

import (
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// StatusSender sends the statuses of one watch, and knows when each has left gRPC's hands.
//
// gRPC's own bound on what a stream has queued is 64 KiB of payload. A status is seven bytes, and
// each waits with hundreds of bytes around it, so a watcher that never reads could have thousands of
// statuses, megabytes, kept for it: a connection full of such watchers would end the node. Only the
// newest status matters (P5), so the next is sent when the one before has left.
//
// That it has left is learned from its buffer: gRPC returns it to its pool, which is the StatusSender itself,
// when it has written or dropped it. The bytes are the same for all; nothing is pooled.
type StatusSender struct {
	status Status
	queued bool   // a status is in gRPC's hands; of the sender
	Left   func() // it is not any more: called by the buffer's last owner, under locks of gRPC's
}

// Send must not be called again before left was. As what is sent before has left, it does not wait: it
// is gRPC's bound that would make it.
func (o *StatusSender) Send(stream grpc.ServerStream, s Status) {
	o.status, o.queued = s, false
	if err := stream.SendMsg(o); err != nil {
		return // gRPC has ended the stream, and its context with it
	}
	if !o.queued {
		o.Left()
	}
}

// marshal is called by codec, within SendMsg.
func (o *StatusSender) marshal() mem.BufferSlice {
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
func (o *StatusSender) Put(*[]byte) { o.Left() }

// Get implements mem.BufferPool. Nothing calls it.
func (o *StatusSender) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

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
