package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
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
	limit int                           // most commands that wait, or are sent and not answered
	watch func(context.Context, func()) // see NewStream

	mu      sync.Mutex // guards open and closed
	open    *session   // the newest; nil: none yet
	closed  bool
	running sync.WaitGroup // sessions
}

// NewStream returns a forward stream on conn that has at most limit commands on their way. It is opened
// with the first command. While it is open, watch runs until its context ends; when it calls its argument, the commands
// that are on their way are given up, and later ones go over a new gRPC stream. nil: nothing watches.
func NewStream(conn grpc.ClientConnInterface, limit int, watch func(ctx context.Context, giveUp func())) *Stream {
	return &Stream{conn: conn, limit: limit, watch: watch}
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

// pendingCall is one command on its way. Its proposal is answered with a *callResult.
type pendingCall struct {
	command  *peerv1.ForwardedCommand
	proposal *logv1.Proposal
	within   time.Duration // see Do
	latest   time.Time
	deadline time.Time // set when the command is queued
	size     int
}

// callResult is the answer of a member, or why there is none.
type callResult struct {
	result *peerv1.ForwardedResult
	err    error
	sent   bool // the command had been handed to the stream
}

// doer is the logv1.Waiter of one call of Do.
type doer struct {
	done chan *callResult // capacity 1, sent to once
}

func (d doer) Answer(answer any, _ error) { d.done <- answer.(*callResult) }
func (doer) Flush()                       {}

// Do sends a command and waits for the answer: for within and as long as the command, and those on their way
// before it, take on a slow link; not after latest, unless latest is zero; and not after ctx has ended. The error
// says why there is no answer. If sent is false the command never left this node.
func (l *Stream) Do(ctx context.Context, command *peerv1.ForwardedCommand, within time.Duration, latest time.Time) (_ *peerv1.ForwardedResult, sent bool, err error) {
	done := make(chan *callResult, 1)
	call := &pendingCall{
		command: command, proposal: &logv1.Proposal{Waiter: doer{done}},
		within: within, latest: latest, size: command.SizeVT(),
	}
	s := l.start([]*pendingCall{call})
	if d, ok := ctx.Deadline(); s != nil && (!ok || call.deadline.Before(d)) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, call.deadline)
		defer cancel()
	}
	select {
	case a := <-done:
		return a.result, a.sent, a.err
	case <-ctx.Done():
	}
	sent, ok := call.proposal.GiveUp()
	if !ok { // it was answered at the same moment
		a := <-done
		return a.result, a.sent, a.err
	}
	if sent {
		s.forget(call)
	}
	return nil, sent, ctx.Err()
}

// start gives calls to the session that is open, or to a new one, and returns it. It answers at once those that
// cannot be sent. nil: none can.
func (l *Stream) start(calls []*pendingCall) *session {
	l.mu.Lock()
	s, refused, err := l.enqueue(calls)
	l.mu.Unlock()
	answerAll(refused, callResult{err: err})
	return s
}

// enqueue is start without answering. mu is held.
func (l *Stream) enqueue(calls []*pendingCall) (_ *session, refused []*pendingCall, _ error) {
	if l.closed {
		return nil, calls, peerconn.ErrClosed
	}
	if l.open != nil {
		if took, refused := l.open.take(calls); took {
			return l.open, refused, fullError{l.limit}
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &session{stop: stop, limit: l.limit, wake: make(chan struct{}, 1), sent: map[uint64]*pendingCall{}}
	_, refused = s.take(calls)
	l.open = s
	l.running.Go(func() { s.run(ctx, l.conn) })
	if l.watch != nil {
		l.running.Go(func() { l.watch(ctx, s.supersede) })
	}
	return s, refused, fullError{l.limit}
}

// answerAll answers calls with r.
func answerAll(calls []*pendingCall, r callResult) {
	for _, call := range calls {
		call.proposal.Answer(&r, nil)
	}
	for _, call := range calls {
		call.proposal.Waiter.Flush()
	}
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

// take queues calls, and returns those for which there is no room. false: the session takes no more.
func (s *session) take(calls []*pendingCall) (took bool, refused []*pendingCall) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false, nil
	}
	if len(s.waiting)+len(s.sent)+len(calls) > s.limit {
		s.forgetGivenUp()
	}
	for i, call := range calls {
		if len(s.waiting)+len(s.sent) >= s.limit {
			refused = calls[i:]
			break
		}
		s.bytes += call.size
		call.deadline = now.Add(call.within + deadline.Transfer(s.bytes))
		if !call.latest.IsZero() && call.latest.Before(call.deadline) {
			call.deadline = call.latest
		}
		s.lastID++
		call.command.Id = s.lastID
		s.waiting = append(s.waiting, call)
	}
	s.wakeSender()
	return true, refused
}

// forgetGivenUp makes room of calls whose answers nobody waits for. mu is held.
func (s *session) forgetGivenUp() {
	s.waiting = slices.DeleteFunc(s.waiting, func(call *pendingCall) bool {
		if !call.proposal.GivenUp() {
			return false
		}
		s.bytes -= call.size
		return true
	})
	for id, call := range s.sent {
		if call.proposal.GivenUp() {
			delete(s.sent, id)
			s.bytes -= call.size
		}
	}
}

// wakeSender has the sender send what waits.
func (s *session) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}

// forget makes room of a call that was sent and given up.
func (s *session) forget(call *pendingCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := call.command.GetId(); s.sent[id] != nil {
		delete(s.sent, id)
		s.bytes -= call.size
	}
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
	for now := time.Now(); n < len(s.waiting) && len(req.Commands) < maxMessageCommands; n++ {
		call := s.waiting[n]
		if len(req.Commands) > 0 && bytes+call.size > maxMessageBytes {
			break
		}
		if !call.proposal.Send() { // it was given up
			s.bytes -= call.size
			continue
		}
		bytes += call.size
		// The leader ends a little before the caller stops listening.
		left := call.deadline.Sub(now)
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
		for _, call := range s.received(res) {
			call.proposal.Waiter.Flush()
		}
		if res.GetStopping() {
			s.refuse(errors.New("it is stopping"))
		}
	}
}

// received answers the calls that a message answers, and returns them.
func (s *session) received(res *peerv1.ForwardResponse) []*pendingCall {
	answered := make([]*pendingCall, 0, len(res.GetResults()))
	results := make([]callResult, 0, len(res.GetResults()))
	s.mu.Lock()
	for _, result := range res.GetResults() {
		if call := s.sent[result.GetId()]; call != nil {
			delete(s.sent, result.GetId())
			s.bytes -= call.size
			answered, results = append(answered, call), append(results, callResult{result: result, sent: true})
		}
	}
	s.mu.Unlock()
	for i, call := range answered {
		call.proposal.Answer(&results[i], nil)
	}
	return answered
}

// refuse takes no more calls and gives up those that wait.
func (s *session) refuse(err error) {
	s.mu.Lock()
	s.closing = true
	unsent := s.waiting
	for _, call := range unsent {
		s.bytes -= call.size
	}
	s.waiting = nil
	s.wakeSender()
	s.mu.Unlock()
	answerAll(unsent, callResult{err: err})
}

// supersede ends the session because another member leads.
func (s *session) supersede() {
	s.end(errSuperseded)
	s.stop()
}

// end gives up all calls, because the stream has ended.
func (s *session) end(err error) {
	s.refuse(err)
	s.mu.Lock()
	lost := slices.Collect(maps.Values(s.sent))
	clear(s.sent)
	s.mu.Unlock()
	answerAll(lost, callResult{err: err, sent: true})
}
