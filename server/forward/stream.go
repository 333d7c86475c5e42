package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

const (
	// A message of a forward stream holds at most so many commands or answers, and so many bytes, unless a
	// single one is larger.
	maxMessageCommands = 512
	maxMessageBytes    = 1 << 20
)

// fullError means that too many commands are already on their way to the member. The command was not sent.
type fullError struct{ commands int }

func (e fullError) Error() string {
	return fmt.Sprintf("not written: %d changes wait for the leader's answer already", e.commands)
}
func (fullError) NotWritten() bool { return true }
func (fullError) Quota() string    { return "forwarded-changes" }

// Stream is the forward stream to one member. It carries the commands of all callers of this node. No command
// waits for the answer to another, and commands that come while a message is being written share the next
// message. One gRPC call for each command would cost this node and the leader several times as much.
type Stream struct {
	conn  grpc.ClientConnInterface
	limit int // most commands that wait, or are sent and not answered

	mu      sync.Mutex // guards open and closed
	open    *session   // the newest; nil: none yet
	closed  bool
	running sync.WaitGroup // sessions
}

// NewStream returns a forward stream on conn that has at most limit commands on their way. It is opened
// with the first command.
func NewStream(conn grpc.ClientConnInterface, limit int) *Stream {
	return &Stream{conn: conn, limit: limit}
}

// session is one gRPC stream, from its opening to its end.
type session struct {
	stop  context.CancelFunc
	wake  chan struct{} // capacity 1: a command waits, or no more will come
	limit int           // see Stream

	mu      sync.Mutex // guards the rest
	waiting []*pendingCall
	sent    map[uint64]*pendingCall
	bytes   int // of waiting and sent
	lastID  uint64
	closing bool // the session takes no more commands
}

// pendingCall is one command on its way.
type pendingCall struct {
	command  *peerv1.ForwardedCommand
	deadline time.Time // set when the command is queued
	size     int
	done     chan callResult // capacity 1, sent to once
}

type callResult struct {
	result *peerv1.ForwardedResult
	err    error // why there is no answer
	sent   bool  // the command had been handed to the stream
}

// Do sends a command and waits for the answer: for within and as long as the command, and those on their way
// before it, take on a slow link; not after latest, unless latest is zero; and not after ctx has ended. The error
// says why there is no answer. If sent is false the command never left this node.
func (l *Stream) Do(ctx context.Context, command *peerv1.ForwardedCommand, within time.Duration, latest time.Time) (_ *peerv1.ForwardedResult, sent bool, err error) {
	call := &pendingCall{command: command, size: command.SizeVT(), done: make(chan callResult, 1)}
	s, err := l.enqueue(call, within, latest)
	if err != nil {
		return nil, false, err
	}
	if d, ok := ctx.Deadline(); !ok || call.deadline.Before(d) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, call.deadline)
		defer cancel()
	}
	select {
	case a := <-call.done:
		return a.result, a.sent, a.err
	case <-ctx.Done():
	}
	if s.withdraw(call) {
		return nil, false, ctx.Err()
	}
	select {
	case a := <-call.done:
		return a.result, a.sent, a.err
	default:
		return nil, true, ctx.Err()
	}
}

// enqueue gives call to the session that is open, or to a new one.
func (l *Stream) enqueue(call *pendingCall, within time.Duration, latest time.Time) (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, peerconn.ErrClosed
	}
	if l.open != nil {
		if took, err := l.open.take(call, within, latest); took || err != nil {
			return l.open, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &session{stop: stop, limit: l.limit, wake: make(chan struct{}, 1), sent: map[uint64]*pendingCall{}}
	_, err := s.take(call, within, latest)
	l.open = s
	l.running.Go(func() { s.run(ctx, l.conn) })
	return s, err
}

// Close ends the stream and waits until nothing of it runs.
func (l *Stream) Close() {
	l.mu.Lock()
	l.closed = true
	if l.open != nil {
		l.open.stop()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// take queues a call; false: the session takes no more.
func (s *session) take(call *pendingCall, within time.Duration, latest time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return false, nil
	case len(s.waiting)+len(s.sent) >= s.limit:
		return false, fullError{s.limit}
	}
	s.bytes += call.size
	call.deadline = time.Now().Add(within + deadline.Transfer(s.bytes))
	if !latest.IsZero() && latest.Before(call.deadline) {
		call.deadline = latest
	}
	s.lastID++
	call.command.Id = s.lastID
	s.waiting = append(s.waiting, call)
	s.wakeSender()
	return true, nil
}

// wakeSender has the sender send what waits.
func (s *session) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}

// withdraw gives up a call. It returns true if the call was never sent.
func (s *session) withdraw(call *pendingCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := call.command.GetId(); s.sent[id] != nil {
		delete(s.sent, id)
		s.bytes -= call.size
	}
	i := slices.Index(s.waiting, call)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.bytes -= call.size
	}
	return i >= 0
}

// run opens the stream and sends commands until the stream ends.
func (s *session) run(ctx context.Context, conn grpc.ClientConnInterface) {
	defer s.stop()
	stream, err := peerv1.NewPeerClient(conn).Forward(ctx)
	if err != nil {
		s.end(err)
		return
	}
	var receiving sync.WaitGroup
	receiving.Go(func() { s.receive(stream) })
	defer receiving.Wait()
	for {
		select {
		case <-s.wake:
		case <-stream.Context().Done():
			return
		}
		for {
			req, more := s.next()
			if len(req.GetCommands()) > 0 {
				if stream.Send(req) != nil {
					return // Recv says why
				}
				continue
			}
			if !more {
				_ = stream.CloseSend() // Recv says why
				return
			}
			break
		}
	}
}

// next returns a message with the commands that wait. They count as sent from now on. False: no more will
// come.
func (s *session) next() (*peerv1.ForwardRequest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := &peerv1.ForwardRequest{}
	n, bytes := 0, 0
	for ; n < min(len(s.waiting), maxMessageCommands); n++ {
		call := s.waiting[n]
		if bytes += call.size; n > 0 && bytes > maxMessageBytes {
			break
		}
		// The leader ends a little before the caller stops listening.
		left := time.Until(call.deadline)
		call.command.Timeout = max(int64(left-left/20), 1)
		s.sent[call.command.GetId()] = call
		req.Commands = append(req.Commands, call.command)
	}
	s.waiting = slices.Delete(s.waiting, 0, n)
	return req, !s.closing
}

func (s *session) receive(stream grpc.BidiStreamingClient[peerv1.ForwardRequest, peerv1.ForwardResponse]) {
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = errors.New("the member ended the stream")
		}
		if err != nil {
			s.end(err)
			return
		}
		s.mu.Lock()
		for _, result := range res.GetResults() {
			if call := s.sent[result.GetId()]; call != nil {
				delete(s.sent, result.GetId())
				s.bytes -= call.size
				call.done <- callResult{result: result, sent: true}
			}
		}
		if res.GetStopping() {
			s.refuse(errors.New("it is stopping"))
		}
		s.mu.Unlock()
	}
}

// refuse takes no more calls and gives up those that wait. mu is held.
func (s *session) refuse(err error) {
	s.closing = true
	for _, call := range s.waiting {
		s.bytes -= call.size
		call.done <- callResult{err: err}
	}
	s.waiting = nil
	s.wakeSender()
}

// end gives up all calls, because the stream has ended.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse(err)
	for _, call := range s.sent {
		s.bytes -= call.size
		call.done <- callResult{err: err, sent: true}
	}
	clear(s.sent)
}
