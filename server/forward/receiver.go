package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
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

// receive receives commands and proposes each on a goroutine of its own, until the stream ends.
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
			bytes := CommandBytes(c.GetCommand())
			if f := s.Pending.Take(nil, bytes); f != nil {
				f.Meta = map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo}
				out.put(failed(c, rpcerror.ToStatus(s.Router.Node, f)), func() { <-slots })
				continue
			}
			go func() {
				// A follower that takes no answers keeps its slots and its part of the budget.
				out.put(s.answer(ctx, c), func() {
					s.Pending.Give(nil, bytes)
					<-slots
				})
			}()
		}
	}
}

// answer proposes one command and returns its answer.
func (s *Receiver) answer(ctx context.Context, c *peerv1.ForwardedCommand) *peerv1.ForwardedResult {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.GetTimeout()))
	defer cancel()
	result, err := s.propose(ctx, c.GetCommand(), c.GetValidateOnly())
	if err != nil {
		return failed(c, err)
	}
	return &peerv1.ForwardedResult{Id: c.GetId(), Result: result}
}

// failed is the answer to a command that ended with a status.
func failed(c *peerv1.ForwardedCommand, err error) *peerv1.ForwardedResult {
	res := &peerv1.ForwardedResult{Id: c.GetId()}
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

// sending is an answer, and a function to call when gRPC has taken the answer, or when it will never be sent.
type sending struct {
	result *peerv1.ForwardedResult
	done   func()
}

// answers are the answers that wait to be sent on a stream.
type answers struct {
	wake chan struct{} // capacity 1: an answer waits, or no more will come

	mu       sync.Mutex // guards the rest
	waiting  []sending
	expected int  // answers that will come
	stopping bool // the follower is to be told that this member stops
	closed   bool // nothing more is expected
}

// expect announces an answer. It returns false if no more answers are taken.
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

func (a *answers) put(r *peerv1.ForwardedResult, done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected--
	a.waiting = append(a.waiting, sending{r, done})
	a.wakeSender()
}

func (a *answers) sayStopping() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
	a.wakeSender()
}

// close makes run return when it has sent all expected answers.
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
			res, sent, more := a.next()
			if res == nil {
				if !more {
					return
				}
				break
			}
			// Recv returns why the stream broke. The answers that are left reach nobody.
			broken = broken || stream.Send(res) != nil
			for _, s := range sent {
				s.done()
			}
		}
	}
}

// next returns a message with the answers that wait, nil if none does. False: no more will come.
func (a *answers) next() (res *peerv1.ForwardResponse, sent []sending, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 && !a.stopping {
		return nil, nil, !a.closed || a.expected > 0
	}
	n, bytes := 0, 0
	for ; n < min(len(a.waiting), maxMessageCommands); n++ {
		if bytes += proto.Size(a.waiting[n].result); n > 0 && bytes > maxMessageBytes {
			break
		}
	}
	res = &peerv1.ForwardResponse{Results: make([]*peerv1.ForwardedResult, n), Stopping: a.stopping}
	sent = slices.Clone(a.waiting[:n])
	for i := range sent {
		res.Results[i] = sent[i].result
	}
	clear(a.waiting[:n])
	a.waiting, a.stopping = a.waiting[n:], false
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
	return res, sent, true
}
