package writestream

import (
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	// A message holds at most so many writes, and so many bytes: well below what a node takes.
	maxMessageWrites = 1_000
	maxMessageBytes  = 1 << 20
	// MaxWriteBytes is the size of the largest write that goes over a stream.
	MaxWriteBytes = 64 << 10
	// maxUnanswered is how many writes may wait on a stream; a node takes 10,000.
	maxUnanswered = 8_000
)

// session is one stream, from its first message to its end.
type session struct {
	cluster    string        // of the node
	credential uint64        // with which the stream was opened
	wake       chan struct{} // capacity 1: a write waits, or the stream has ended
	retired    atomic.Bool   // it ended because it was not used
	opened     time.Time

	mu      sync.Mutex // guards what follows
	waiting []*pending
	sent    map[uint64]*pending
	lastID  uint64
	used    time.Time // when a message was sent last
	closed  bool      // no more writes are taken
}

// pending is one write that waits. All but done is guarded by session.mu.
type pending struct {
	write *rollcallv1.StreamedWrite
	until time.Time // when its caller's time ends; zero: never
	size  int
	done  chan Outcome // capacity 1, sent to once
}

func newSession(cluster string, credential uint64) *session {
	now := time.Now()
	return &session{cluster: cluster, credential: credential, wake: make(chan struct{}, 1), sent: map[uint64]*pending{}, opened: now, used: now}
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add queues a write; false: the session takes no more, or not now.
func (s *session) add(p *pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.waiting)+len(s.sent) >= maxUnanswered {
		return false
	}
	s.lastID++
	p.write.Id = s.lastID
	s.waiting = append(s.waiting, p)
	s.poke()
	return true
}

// withdraw gives up a write, and reports whether it may have left. ok is false if it is answered.
func (s *session) withdraw(p *pending) (sent, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, p); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return false, true
	}
	if s.sent[p.write.GetId()] == p {
		delete(s.sent, p.write.GetId())
		return true, true
	}
	return false, false
}

// send sends what waits until the stream ends, or was not used for idleTime.
func (s *session) send(stream Stream, retire func(*session)) {
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	for {
		select {
		case <-s.wake:
			runtime.Gosched() // callers that run now may have writes, too
		case <-idle.C:
			left := s.idleFor()
			if left <= 0 {
				s.retired.Store(true)
				retire(s)
				_ = stream.CloseSend() // Recv says why
				return
			}
			idle.Reset(left)
			continue
		}
		for {
			req, ended := s.next()
			if ended {
				return
			}
			if len(req.GetWrites()) == 0 {
				break
			}
			if stream.Send(req) != nil {
				return // Recv says why
			}
		}
	}
}

// idleFor returns after how long the session has not been used for idleTime. If that is now, it takes no more writes.
func (s *session) idleFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting)+len(s.sent) > 0 {
		return idleTime
	}
	left := time.Until(s.used.Add(idleTime))
	s.closed = s.closed || left <= 0
	return left
}

// next returns a message with the writes that wait. They count as sent from now on. ended: the stream has ended.
func (s *session) next() (req *rollcallv1.WriteStreamRequest, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, true
	}
	now := time.Now()
	n, bytes := 0, 0
	req = &rollcallv1.WriteStreamRequest{}
	for ; n < min(len(s.waiting), maxMessageWrites); n++ {
		p := s.waiting[n]
		if bytes += p.size; n > 0 && bytes > maxMessageBytes {
			break
		}
		if !p.until.IsZero() {
			p.write.Timeout = durationpb.New(max(p.until.Sub(now), 1))
		}
		s.sent[p.write.GetId()] = p
		req.Writes = append(req.Writes, p.write)
	}
	if n > 0 {
		s.used = now
	}
	s.waiting = slices.Delete(s.waiting, 0, n)
	return req, false
}

// receive gives answers to those who wait, until the stream ends.
func (s *session) receive(stream Stream) error {
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, r := range res.GetResults() {
			if p := s.sent[r.GetId()]; p != nil { // else its caller has gone
				delete(s.sent, r.GetId())
				p.done <- Outcome{Result: r, Sent: true}
			}
		}
		s.mu.Unlock()
	}
}

// end gives up all writes, because the stream has ended with err. Those that were not sent are told to go their own
// way.
func (s *session) end(err error) {
	err = lost(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, p := range s.waiting {
		p.done <- Outcome{}
	}
	s.waiting = nil
	for _, p := range s.sent {
		p.done <- Outcome{Sent: true, Err: err}
	}
	clear(s.sent)
	s.poke()
}

// lost is the error of a write that was sent over a stream that ended with err before the write was answered. What a
// node says of its stream is of the write only if it says what became of the write. A refusal of the caller is of the
// stream alone: it came while writes were under way, which may have been done.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return status.Error(codes.Unavailable, "the node ended the stream of writes")
	}
	st := status.Convert(err)
	refused := st.Code() == codes.Unauthenticated || st.Code() == codes.PermissionDenied
	if says(st) && !refused {
		return st.Err()
	}
	return status.Error(codes.Unavailable, "the stream of writes ended: "+st.Message())
}

// says reports whether a node said what became of the writes that it did not answer.
func says(st *status.Status) bool {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetMetadata()["written"] != "" {
			return true
		}
	}
	return false
}
