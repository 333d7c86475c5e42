package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// maxForwarded bounds the commands of one follower that are being worked on; more are not read.
const maxForwarded = 10_000

// forwardGrace is how long a follower has to end its side after it was told that this member stops. One
// that is cut off never does.
const forwardGrace = 500 * time.Millisecond

// Receiver is the leader's end of the forward streams of other members.
type Receiver struct {
	Router   *Router
	Validate func(*logv1.Command) error // checks what a leader must not take on trust in a command that another node validated
	Pending  *budget.Budget             // the memory that commands hold until they are answered
	Ending   context.Context            // ends when streams are to end
	Log      *slog.Logger
}

// Serve receives the commands of one stream, proposes them and answers them, until the stream ends.
func (s *Receiver) Serve(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	calls := NewCalls(stream.Context(), maxForwarded)
	out := &sender{receiver: s, calls: calls}
	var sending sync.WaitGroup
	sending.Go(func() { out.run(stream) })
	received := make(chan error, 1)
	go func() { received <- s.receive(stream, calls) }()
	var err error
	select {
	case err = <-received:
	case <-s.Ending.Done():
		out.sayStopping()
		grace := time.NewTimer(forwardGrace)
		defer grace.Stop()
		select {
		case err = <-received:
		case <-grace.C:
			err = rpcerror.ToStatus(s.Router.Node, rpcerror.ErrStopping) // which ends receive too
		}
	}
	calls.Close()
	sending.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// receive receives commands and starts those of a message together, until the stream ends.
func (s *Receiver) receive(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse], calls *Calls) error {
	for calls.AwaitRoom() {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		now := time.Now()
		all := make([]*Call, len(req.GetCommands()))
		refused := make([]*rpcerror.Failure, len(all))
		for i, c := range req.GetCommands() {
			all[i] = &Call{ID: c.GetId(), Command: c.GetCommand(), ValidateOnly: c.GetValidateOnly(), Deadline: now.Add(time.Duration(c.GetTimeout()))}
			refused[i] = s.takeMemory(all[i])
		}
		if len(all) == 0 {
			continue
		}
		if !calls.Add(all) {
			s.giveBack(all)
			break
		}
		s.start(all, refused)
	}
	return rpcerror.ErrStopping
}

// takeMemory takes what a call needs from the budget, until its answer has left: a follower that takes no answers keeps
// its part. The call was not added yet: one that was may be answered at any moment, when its stream ends.
func (s *Receiver) takeMemory(c *Call) *rpcerror.Failure {
	bytes := CommandBytes(c.Command)
	f := s.Pending.Take(nil, bytes)
	if f == nil {
		c.bytes = bytes
	}
	return f
}

func (s *Receiver) giveBack(calls []*Call) {
	for _, c := range calls {
		s.Pending.Give(nil, c.bytes)
	}
}

// start proposes the commands of calls, but for those that were refused memory. Those that it does not propose are
// answered with the reason.
func (s *Receiver) start(calls []*Call, refused []*rpcerror.Failure) {
	if err := s.tryStart(calls, refused); err != nil {
		for _, c := range calls {
			c.Fail(err)
		}
	}
	calls[0].Flush()
}

// tryStart is start without flushing. Its error is that of a panic.
func (s *Receiver) tryStart(calls []*Call, refused []*rpcerror.Failure) (err error) {
	defer rpcerror.Recovered(s.Log, s.Router.Node, "Peer.Forward", true, &err)
	taken := make([]*Call, 0, len(calls))
	for i, c := range calls {
		f := refused[i]
		if f == nil {
			taken = append(taken, c)
			continue
		}
		f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
		c.Fail(rpcerror.ToStatus(s.Router.Node, f))
	}
	if _, leading := s.Router.Agreement.Leader(); !leading || s.refusal() != nil {
		// It may lead in a moment, and else says why not.
		for _, c := range taken {
			c.alone(s.propose)
		}
		return nil
	}
	valid := taken[:0]
	for _, c := range taken {
		if err := s.Validate(c.Command); err != nil {
			c.Fail(rpcerror.ToStatus(s.Router.Node, err))
		} else {
			valid = append(valid, c)
		}
	}
	for _, c := range startHere(s.Router.Agreement, valid) {
		c.alone(s.propose)
	}
	return nil
}

// refusal says why this node takes no commands, although it may lead.
func (s *Receiver) refusal() error {
	node := s.Router.Node
	switch {
	case s.Router.Drains():
		return rpcerror.NotWritten("node %s is stopping", node)
	case s.Router.Fence.Refusal() != nil:
		return rpcerror.NotWritten("node %s has stopped serving", node)
	}
	return nil
}

// answer is the answer to a call.
func (s *Receiver) answer(c *Call) *peerv1.ForwardedResult {
	res := &peerv1.ForwardedResult{Id: c.ID}
	result, err := c.Result()
	if err == nil {
		res.Result = result
		return res
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); !ok {
		err = rpcerror.ToStatus(s.Router.Node, rpcerror.OfChange(err))
	}
	// If the status cannot be encoded, for example because its text is not UTF-8, the caller sees an unknown
	// outcome.
	res.Failure, _ = proto.Marshal(status.Convert(err).Proto())
	return res
}

// CommandBytes is about how much memory a command holds until it is answered: itself, as it was received
// and as it is proposed, its changes, its caller's goroutine.
func CommandBytes(cmd *logv1.Command) int64 {
	const call, change = 4 << 10, 100
	return int64(call + change*len(cmd.GetWrite().GetChanges()) + 2*cmd.SizeVT())
}

// propose returns the leader's answer, or a status.
func (s *Receiver) propose(ctx context.Context, cmd *logv1.Command, validateOnly bool) (res *logv1.Result, err error) {
	node := s.Router.Node
	defer rpcerror.Recovered(s.Log, node, "Peer.Forward", true, &err)
	if err := s.Validate(cmd); err != nil {
		return nil, rpcerror.ToStatus(node, err)
	}
	if err := s.refusal(); err != nil {
		return nil, rpcerror.ToStatus(node, err)
	}
	if leader, leading := s.Router.TermBegun(ctx); !leading {
		switch leader {
		case "":
			err = rpcerror.NotWritten("node %s does not lead and knows nobody who does", node)
		case node:
			err = rpcerror.NotWritten("leader %s has not begun its term", node)
		default:
			err = rpcerror.NotWritten("node %s does not lead, %s does", node, leader)
		}
		return nil, rpcerror.ToStatus(node, err)
	}
	result, err := s.Router.here(ctx, cmd, validateOnly)
	if err != nil {
		return nil, rpcerror.ToStatus(node, rpcerror.OfChange(err))
	}
	return result, nil
}

// sender sends the answers of one stream.
type sender struct {
	receiver *Receiver
	calls    *Calls
	stopping atomic.Bool // the follower is to be told that this member stops
}

func (o *sender) sayStopping() {
	o.stopping.Store(true)
	o.calls.Wake()
}

func (o *sender) run(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) {
	broken := false
	for more := true; more; {
		var answered []*Call
		answered, more = o.calls.Next()
		for len(answered) > 0 || o.stopping.Load() {
			res, n := o.message(answered)
			// Recv returns why the stream broke. The answers that are left reach nobody.
			broken = broken || stream.Send(res) != nil
			o.receiver.giveBack(answered[:n])
			o.calls.Sent(answered[:n])
			answered = answered[n:]
		}
	}
}

// message returns a message with the answers of the first n calls.
func (o *sender) message(answered []*Call) (res *peerv1.ForwardResponse, n int) {
	res = &peerv1.ForwardResponse{Stopping: o.stopping.Swap(false)}
	for bytes := 0; n < min(len(answered), maxMessageCommands); n++ {
		result := o.receiver.answer(answered[n])
		if bytes += result.SizeVT(); n > 0 && bytes > maxMessageBytes {
			break
		}
		res.Results = append(res.Results, result)
	}
	return res, n
}
