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

// AnswerSender sends the answers of one stream on which a client sends message after message and gets an answer to
// each, in order. gRPC holds at most one of them at a time; see StatusSender for why and how. The next message is
// not read while its answer waits for the one before to leave. So a client that does not read costs two messages
// and their answers.
//
// Small messages and answers are not counted: the limit of watches bounds them. Large ones are, from Take on until
// the answer has left.
type AnswerSender struct {
	budget     *budget.Budget
	connection *peer.Peer
	next       int64        // taken for the answer that is being made
	held       atomic.Int64 // taken for the answer that gRPC holds

	message proto.Message // set during SendMsg
	queued  bool          // gRPC was given an answer
	left    chan struct{} // capacity 1: gRPC holds no answer any more; the buffer's last owner must not wait
}

// NewAnswerSender returns a sender for one stream. It must be closed.
func NewAnswerSender(b *budget.Budget, connection *peer.Peer) *AnswerSender {
	return &AnswerSender{budget: b, connection: connection, left: make(chan struct{}, 1)}
}

// Take takes from the budget what a message and its answer hold, or refuses them. It is called once for each
// message, before Send.
func (o *AnswerSender) Take(bytes int) *rpcerror.Failure {
	if bytes <= smallAnswer {
		return nil
	}
	f := o.budget.Take(o.connection, int64(bytes))
	if f == nil {
		o.next = int64(bytes)
	}
	return f
}

// Close gives back what the stream has taken from the budget.
func (o *AnswerSender) Close() {
	o.budget.Give(o.connection, o.next)
	o.next = 0
	o.give()
}

func (o *AnswerSender) give() { o.budget.Give(o.connection, o.held.Swap(0)) }

// Send sends an answer, once the one before has left, or returns ctx's error. m may be used again after Send.
func (o *AnswerSender) Send(ctx context.Context, stream grpc.ServerStream, m proto.Message) error {
	if o.queued {
		select {
		case <-o.left:
			o.queued = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.held.Store(o.next)
	o.next = 0
	o.message = m
	err := stream.SendMsg(o)
	o.message = nil
	if err != nil || !o.queued {
		o.give()
	}
	return err
}

// Gone waits for the last answer to leave, for StuckGrace at most, and says whether it has left.
func (o *AnswerSender) Gone() bool {
	if !o.queued {
		return true
	}
	grace := time.NewTimer(StuckGrace)
	defer grace.Stop()
	select {
	case <-o.left:
		return true
	case <-grace.C:
		return false
	}
}

// marshal is called by Codec, within SendMsg.
func (o *AnswerSender) marshal() (mem.BufferSlice, error) {
	buf, err := encode(o.message)
	if err != nil {
		return nil, err
	}
	b := mem.NewBuffer(buf, o)
	_, untracked := b.(mem.SliceBuffer)
	o.queued = !untracked
	return mem.BufferSlice{b}, nil
}

// Put implements mem.BufferPool: the answer has left.
func (o *AnswerSender) Put(buf *[]byte) {
	recycle(buf)
	o.give()
	select {
	case o.left <- struct{}{}:
	default:
	}
}

// Get implements mem.BufferPool. Nothing calls it.
func (o *AnswerSender) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }
