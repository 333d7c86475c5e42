package writestream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Stream is Admin.WriteStream at a client.
type Stream = grpc.BidiStreamingClient[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]

const (
	// several is how many writes must wait at the same time for a stream to be used.
	several = 2
	// idleTime is how long a stream stays open without writes: a node has a limit of open streams.
	idleTime = 10 * time.Second
	// reopenAfter is how long after a stream could not be opened, or broke, the next one is opened.
	reopenAfter = time.Second
	// unknownAfter is the same after the node did not know the method: it is of an earlier version.
	unknownAfter = time.Minute
)

// Config is what a Writer needs.
type Config struct {
	// Open opens a stream, which ends with ctx.
	Open func(ctx context.Context) (Stream, error)
	// Credential returns which credential a stream would be opened with now. A stream carries its own for as long as it
	// is open: when there is another one, writes go over a new stream.
	Credential func() uint64
	// Timeout bounds opening a stream, until the node's first message.
	Timeout time.Duration
}

// Writer carries writes to one endpoint.
type Writer struct {
	cfg     Config
	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup
	waiting atomic.Int64 // writes, whether they go over the stream or not

	mu        sync.Mutex // guards what follows
	open      *session   // nil: there is none
	opening   bool
	notBefore time.Time // no stream is opened before
}

// New returns a Writer that opens nothing yet.
func New(cfg Config) *Writer {
	w := &Writer{cfg: cfg}
	w.life, w.end = context.WithCancel(context.Background())
	return w
}

// Close ends the stream. Nothing of it runs any more when Close returns, provided that the connection was closed, too.
func (w *Writer) Close() {
	w.mu.Lock()
	w.end()
	w.mu.Unlock()
	w.running.Wait()
}

// Begin counts a write that waits from now on, and reports whether it may go over a stream: several wait.
func (w *Writer) Begin() bool { return w.waiting.Add(1) >= several }

// End is called when a write of Begin waits no more.
func (w *Writer) End() { w.waiting.Add(-1) }

// Outcome is what became of a write.
type Outcome struct {
	Result *rollcallv1.StreamedResult // nil: there is no answer
	Sent   bool                       // the write may have left this process
	Err    error                      // why there is no answer
	// Credential is the one of the stream.
	Credential uint64
}

// Do sends a write and waits for its answer until ctx ends. Cluster is the one that must make the change; "": any.
// false: no stream is open to it, or the write was surely not sent before the stream ended; it is to be sent as a call
// of its own. Do sets the id of the write.
func (w *Writer) Do(ctx context.Context, write *rollcallv1.StreamedWrite, size int, cluster string) (Outcome, bool) {
	s := w.session()
	if s == nil || cluster != "" && cluster != s.cluster {
		return Outcome{}, false
	}
	p := &pending{write: write, size: size, done: make(chan Outcome, 1)}
	p.until, _ = ctx.Deadline()
	if !s.add(p) {
		return Outcome{}, false
	}
	var out Outcome
	select {
	case out = <-p.done:
	case <-ctx.Done():
		if sent, ok := s.withdraw(p); ok {
			return Outcome{Sent: sent, Err: ctx.Err()}, true
		}
		out = <-p.done // it was answered at the same moment
	}
	out.Credential = s.credential
	return out, out.Sent || out.Err != nil
}

// session returns the open session, and begins to open one if there is none. A session that was opened with another
// credential than streams are now takes no more writes: it answers those that it has, and ends when it was idle.
func (w *Writer) session() *session {
	credential := w.cfg.Credential()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != nil && w.open.credential != credential && time.Since(w.open.opened) >= reopenAfter {
		w.open = nil
	}
	if w.open != nil || w.opening || w.life.Err() != nil || time.Now().Before(w.notBefore) {
		return w.open
	}
	w.opening = true
	w.running.Go(w.run)
	return nil
}

// run opens a stream and receives its answers until it ends.
func (w *Writer) run() {
	ctx, cancel := context.WithCancel(w.life)
	defer cancel()
	credential := w.cfg.Credential() // before the stream is opened: it is no newer than the stream's own
	stream, cluster, err := w.openStream(ctx, cancel)
	s := newSession(cluster, credential)
	w.mu.Lock()
	w.opening = false
	if err == nil {
		w.open = s
	}
	w.mu.Unlock()
	if err == nil {
		var sending sync.WaitGroup
		sending.Go(func() { s.send(stream, w.retire) })
		err = s.receive(stream)
		cancel()
		w.retire(s)
		s.end(err)
		sending.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case s.retired.Load(): // it was not needed any more
	case status.Code(err) == codes.Unimplemented:
		w.notBefore = time.Now().Add(unknownAfter)
	default:
		w.notBefore = time.Now().Add(reopenAfter)
	}
}

// openStream returns a stream whose first message has come: the node takes writes. That message names its cluster.
func (w *Writer) openStream(ctx context.Context, cancel context.CancelFunc) (_ Stream, cluster string, _ error) {
	late := time.AfterFunc(w.cfg.Timeout, cancel)
	defer late.Stop()
	stream, err := w.cfg.Open(ctx)
	if err != nil {
		return nil, "", err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, "", err
	}
	return stream, first.GetClusterId(), nil
}

// retire has later writes go over another session.
func (w *Writer) retire(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == s {
		w.open = nil
	}
}
