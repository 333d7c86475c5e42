package flowcontrol

import (
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// StatusSender sends the statuses of one watch, one at a time: the next one only after gRPC has written the
// one before to the connection.
//
// gRPC itself queues up to 64 KiB of payload for a stream. A status has seven bytes of payload but takes
// hundreds of bytes of memory. So thousands of statuses, megabytes, could wait for a watcher that never
// reads, and a connection full of such watchers would use up the node's memory. Only the newest status
// matters (P5), so nothing is lost by sending one at a time.
//
// gRPC does not tell when a message has left. But it returns the message's buffer to the buffer's pool when
// it has written or dropped the message. StatusSender is that pool, so its method Put learns of it. Nothing
// is really pooled: all watches share the bytes.
type StatusSender struct {
	status Status
	queued bool   // gRPC holds a status; used by Send alone
	Left   func() // called when gRPC has let go of the status, with locks of gRPC held
}

// Send must not be called again before Left was called. It does not wait: gRPC blocks a sender only when more
// is queued.
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
	// gRPC does not return buffers that it thinks too small for its pools. Ours are large enough. If that
	// changes, watches still work, but more than one status can wait.
	_, untracked := b.(mem.SliceBuffer)
	o.queued = !untracked
	return mem.BufferSlice{b}
}

// Put implements mem.BufferPool: the status has left.
func (o *StatusSender) Put(*[]byte) { o.Left() }

// Get implements mem.BufferPool. Nothing calls it.
func (o *StatusSender) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// statusBytes are the encoded answers by status, in slices large enough for gRPC to return them (see
// marshal).
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
