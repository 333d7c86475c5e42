package flowcontrol

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// StreamBytes is how much memory every stream of pages may hold at any time.
	StreamBytes = 16 << 10
	// pageBytes is how much a stream may hold while the budget has room.
	pageBytes = 256 << 10
	// smallRoom and largeRoom are about how many bytes a small or a large page may have. They are less than
	// StreamBytes and pageBytes, because the size of a page is only estimated when it is read.
	smallRoom = StreamBytes / 2
	largeRoom = pageBytes * 3 / 4
)

// PageSender sends the messages of one watch of events or services. gRPC holds at most one of them at a time;
// see StatusSender for why and how. The next page is read only when the last one has left, and then holds
// what changed meanwhile. So a watcher that stops reading costs one page of memory.
//
// Pages are large while the node's budget has room, and small otherwise. So watchers that hold large pages
// and do not read cannot stop the others.
type PageSender struct {
	budget     *budget.Budget
	connection *peer.Peer
	base       int64        // taken from the budget while it is open
	extra      atomic.Int64 // taken from the budget in addition to base

	message proto.Message // set during SendMsg
	queued  bool
	left    chan struct{} // capacity 1: it is not any more; the buffer's last owner must not wait
}

// NewPageSender returns a sender for one stream, which holds kept bytes beside its pages while it is open. It
// refuses the stream if the budget has no room for it. It must be closed.
func NewPageSender(b *budget.Budget, connection *peer.Peer, kept int64) (*PageSender, *rpcerror.Failure) {
	base := StreamBytes + kept
	if f := b.Take(connection, base); f != nil {
		return nil, f
	}
	return &PageSender{budget: b, connection: connection, base: base, left: make(chan struct{}, 1)}, nil
}

// Close gives back what the stream has taken from the budget.
func (o *PageSender) Close() {
	o.shrink(0)
	o.budget.Give(o.connection, o.base)
}

// Room returns about how many bytes the next page may have, and takes them from the budget. They are given
// back when the page has left, or by Idle.
func (o *PageSender) Room() int {
	if o.extra.Load() == 0 && o.budget.TryTake(o.connection, pageBytes-StreamBytes) {
		o.extra.Store(pageBytes - StreamBytes)
	}
	if o.extra.Load() == 0 {
		return smallRoom
	}
	return largeRoom
}

// Idle gives back what Room took: there is no page to send.
func (o *PageSender) Idle() { o.shrink(0) }

// shrink gives back extra, except for bytes.
func (o *PageSender) shrink(bytes int64) {
	if was := o.extra.Swap(bytes); was > bytes {
		o.budget.Give(o.connection, was-bytes)
	} else {
		o.extra.Store(was)
	}
}

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

// Gone waits for the last message to leave, for StuckGrace at most, and says whether it has left.
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

// marshal is called by Codec, within SendMsg.
func (o *PageSender) marshal() (mem.BufferSlice, error) {
	buf, err := encode(o.message)
	if err != nil {
		return nil, err
	}
	o.shrink(min(o.extra.Load(), max(0, int64(cap(*buf))-StreamBytes)))
	b := mem.NewBuffer(buf, o)
	_, untracked := b.(mem.SliceBuffer)
	o.queued = !untracked
	return mem.BufferSlice{b}, nil
}

// Put implements mem.BufferPool: the message has left.
func (o *PageSender) Put(buf *[]byte) {
	recycle(buf)
	o.shrink(0)
	select {
	case o.left <- struct{}{}:
	default:
	}
}

// Get implements mem.BufferPool. Nothing calls it.
func (o *PageSender) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }
