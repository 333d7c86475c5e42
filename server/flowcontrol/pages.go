package flowcontrol

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// PageSender sends the messages of one watch of events or services, and keeps at most one of them
// in gRPC's hands, for the reason and in the way that outgoing says. What changes while it waits comes
// with the next page, which is read when the last has left: a watcher that stops reading keeps one page.
type PageSender struct {
	message proto.Message // within SendMsg
	queued  bool
	left    chan struct{} // capacity 1: it is not any more; the buffer's last owner must not wait
}

// NewPageSender returns a sender for one stream.
func NewPageSender() *PageSender { return &PageSender{left: make(chan struct{}, 1)} }

// Send sends m and waits until it has left. It ends with ctx, which must be the stream's or made of it.
func (o *PageSender) Send(ctx context.Context, stream grpc.ServerStream, m proto.Message) error {
	o.message = m
	err := stream.SendMsg(o)
	o.message = nil
	if err != nil || !o.queued {
		return err
	}
	select {
	case <-o.left:
		o.queued = false
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StuckGrace is how long a watcher has, when the node stops, to take what was sent to it.
const StuckGrace = time.Second

// Gone waits for the last message to leave, as long as that is worth while, and says whether it has.
func (o *PageSender) Gone(stream grpc.ServerStream) bool {
	if !o.queued {
		return true
	}
	grace := time.NewTimer(StuckGrace)
	defer grace.Stop()
	select {
	case <-o.left:
		return true
	case <-stream.Context().Done():
		return true
	case <-grace.C:
		return false
	}
}

// marshal is called by codec, within SendMsg.
func (o *PageSender) marshal() (mem.BufferSlice, error) {
	const enough = 4 << 10 // for gRPC to give it back, see StatusSender.marshal
	size := proto.Size(o.message)
	buf := mem.DefaultBufferPool().Get(max(size, enough))
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buf)[:0], o.message)
	if err != nil {
		mem.DefaultBufferPool().Put(buf)
		return nil, err
	}
	*buf = data
	b := mem.NewBuffer(buf, o)
	_, untracked := b.(mem.SliceBuffer)
	o.queued = !untracked
	return mem.BufferSlice{b}, nil
}

// Put implements mem.BufferPool: the message has left.
func (o *PageSender) Put(buf *[]byte) {
	mem.DefaultBufferPool().Put(buf)
	select {
	case o.left <- struct{}{}:
	default:
	}
}

// Get implements mem.BufferPool. Nothing calls it.
func (o *PageSender) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }
