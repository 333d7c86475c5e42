package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
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
	Validate func(*logv1.Command) error // what a leader still asks of a command that another node validated
	Ending   context.Context            // ends when streams are to end
	Log      *slog.Logger
}

// Serve works on the commands of one stream until it ends.
func (s *Receiver) Serve(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	out := &answers{wake: make(chan struct{}, 1)}
	var sending sync.WaitGroup
	sending.Go(func() { out.run(stream) })
	received := make(chan error, 1)
	go func() { received <- s.receive(ctx, stream, out) }()
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
	out.close()
	sending.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// receive works on what comes until the stream ends.
func (s *Receiver) receive(ctx context.Context, stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse], out *answers) error {
	slots := make(chan struct{}, maxForwarded)
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, c := range req.GetCommands() {
			slots <- struct{}{}
			if !out.expect() {
				return rpcerror.ErrStopping
			}
			go func() {
				out.put(s.answer(ctx, c))
				<-slots
			}()
		}
	}
}

// answer works on one command.
func (s *Receiver) answer(ctx context.Context, c *peerv1.ForwardedCommand) *peerv1.ForwardedResult {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.GetTimeout()))
	defer cancel()
	res := &peerv1.ForwardedResult{Id: c.GetId()}
	result, err := s.propose(ctx, c.GetCommand(), c.GetValidateOnly())
	if err == nil {
		res.Result = result
		return res
	}
	// One that cannot be sent, as its text is not UTF-8, say, is unknown to the caller.
	res.Failure, _ = proto.Marshal(status.Convert(err).Proto())
	return res
}

// propose returns the leader's answer, or a status.
func (s *Receiver) propose(ctx context.Context, cmd *logv1.Command, validateOnly bool) (res *logv1.Result, err error) {
	node := s.Router.Node
	defer rpcerror.Recovered(s.Log, node, "Peer.Forward", true, &err)
	if err := s.Validate(cmd); err != nil {
		return nil, rpcerror.ToStatus(node, err)
	}
	if s.Router.Drains() {
		return nil, rpcerror.ToStatus(node, rpcerror.NotWritten("node %s is stopping", node))
	}
	if s.Router.Fence.Refusal() != nil {
		return nil, rpcerror.ToStatus(node, rpcerror.NotWritten("node %s has stopped serving", node))
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

// answers is what waits to be sent on a stream.
type answers struct {
	wake chan struct{} // capacity 1: something waits, or nothing will any more

	mu       sync.Mutex // guards the rest
	waiting  []*peerv1.ForwardedResult
	expected int  // answers that will come
	stopping bool // to be told
	closed   bool // nothing more is expected
}

// expect announces an answer; false: it is too late for that.
func (a *answers) expect() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.expected++
	return true
}

// wakeSender has the sender send what waits.
func (a *answers) wakeSender() {
	select {
	case a.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}

func (a *answers) put(r *peerv1.ForwardedResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected--
	a.waiting = append(a.waiting, r)
	a.wakeSender()
}

func (a *answers) sayStopping() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
	a.wakeSender()
}

// close has run end when it has sent what is expected.
func (a *answers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.wakeSender()
}

func (a *answers) run(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) {
	broken := false
	for range a.wake {
		for {
			res, more := a.next()
			if res == nil {
				if !more {
					return
				}
				break
			}
			// Recv says why it broke. What is left is for nobody.
			broken = broken || stream.Send(res) != nil
		}
	}
}

// next returns a message of what waits, nil if nothing does. False: nothing will any more.
func (a *answers) next() (*peerv1.ForwardResponse, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 && !a.stopping {
		return nil, !a.closed || a.expected > 0
	}
	n, bytes := 0, 0
	for ; n < min(len(a.waiting), maxMessageCommands); n++ {
		if bytes += proto.Size(a.waiting[n]); n > 0 && bytes > maxMessageBytes {
			break
		}
	}
	res := &peerv1.ForwardResponse{Results: a.waiting[:n:n], Stopping: a.stopping}
	a.waiting, a.stopping = a.waiting[n:], false
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
	return res, true
}
