package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// maxForwarded bounds the commands of one follower that are being worked on; more are not read.
const maxForwarded = 10_000

// Forward implements rollcall.peer.v1.Peer: the leader's end of a line.
func (s *peerService) Forward(stream grpc.BidiStreamingServer[peerv1.ForwardRequest, peerv1.ForwardResponse]) error {
	out := &answers{wake: make(chan struct{}, 1)}
	var sending, working sync.WaitGroup
	sending.Go(func() { out.run(stream) })
	tell := context.AfterFunc(s.ending, out.sayStopping)
	slots := make(chan struct{}, maxForwarded)
	var err error
	for {
		var req *peerv1.ForwardRequest
		if req, err = stream.Recv(); err != nil {
			break
		}
		for _, c := range req.GetCommands() {
			slots <- struct{}{}
			working.Go(func() {
				out.put(s.answer(stream.Context(), c))
				<-slots
			})
		}
	}
	tell()
	working.Wait()
	out.close()
	sending.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// answer works on one command.
func (s *peerService) answer(ctx context.Context, c *peerv1.ForwardedCommand) *peerv1.ForwardedResult {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.GetTimeout()))
	defer cancel()
	res := &peerv1.ForwardedResult{Id: c.GetId()}
	result, err := s.propose(ctx, c.GetCommand(), c.GetValidateOnly())
	if err == nil {
		res.Result = result
		return res
	}
	res.Failure, err = proto.Marshal(status.Convert(err).Proto())
	if err != nil {
		s.log.Error("a failure cannot be sent", "error", err) // its text is not UTF-8, say: the caller takes none for unknown
	}
	return res
}

// propose returns the leader's answer, or a status.
func (s *peerService) propose(ctx context.Context, cmd *logv1.Command, validateOnly bool) (res *logv1.Result, err error) {
	node := s.router.node
	defer recovered(s.log, node, "Peer.Forward", true, &err)
	if err := validateCommand(cmd); err != nil {
		return nil, statusError(node, err)
	}
	if s.router.drains() {
		return nil, statusError(node, notWritten("node %s is stopping", node))
	}
	if s.router.gate.closed() != nil {
		return nil, statusError(node, notWritten("node %s has stopped serving", node))
	}
	if leader, leading := s.router.termBegun(ctx); !leading {
		switch leader {
		case "":
			err = notWritten("node %s does not lead and knows nobody who does", node)
		case node:
			err = notWritten("leader %s has not begun its term", node)
		default:
			err = notWritten("node %s does not lead, %s does", node, leader)
		}
		return nil, statusError(node, err)
	}
	result, err := s.router.here(ctx, cmd, validateOnly)
	if err != nil {
		return nil, statusError(node, changeFailure(err))
	}
	return result, nil
}

// answers is what waits to be sent on a stream.
type answers struct {
	wake chan struct{} // capacity 1: something waits, or nothing will any more

	mu       sync.Mutex // guards the rest
	waiting  []*peerv1.ForwardedResult
	stopping bool // to be told
	closed   bool
}

func (a *answers) look() {
	select {
	case a.wake <- struct{}{}:
	default: // it will
	}
}

func (a *answers) put(r *peerv1.ForwardedResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, r)
	a.look()
}

func (a *answers) sayStopping() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
	a.look()
}

// close has run end when it has sent what waits.
func (a *answers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.look()
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
		return nil, !a.closed
	}
	n, bytes := 0, 0
	for ; n < min(len(a.waiting), maxLineMessages); n++ {
		if bytes += proto.Size(a.waiting[n]); n > 0 && bytes > maxLineBytes {
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
