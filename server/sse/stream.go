package sse

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// pace is how a stream is written.
type pace struct {
	// write is how long the reader may take for each writeBytes, and lastWrite for the end, and for everything once the
	// node stops.
	write, lastWrite time.Duration
	heartbeat        time.Duration // after so long without an event
	// least is the time between two events. What happens meanwhile comes in one. A page of a first state does not wait.
	least time.Duration
}

var defaultPace = pace{write: 30 * time.Second, lastWrite: time.Second, heartbeat: 15 * time.Second, least: 100 * time.Millisecond}

const (
	writeBytes = 64 << 10
	// smallEvent is how many bytes an event may have without being taken from the budget.
	smallEvent = 4 << 10
	// keptBytes is the capacity of the largest buffer that is used again.
	keptBytes = 1 << 20
)

// buffers are free. A stream has one while it makes an event, and one while it sends one.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func free(b *[]byte) {
	if cap(*b) <= keptBytes {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// stream is one answer.
type stream struct {
	all    *Streams
	w      http.ResponseWriter // as it was given: for what comes before the body
	body   http.ResponseWriter // writes at once
	flush  *http.ResponseController
	req    *http.Request
	caller *peer.Peer
	ctx    context.Context // of the call
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows, and writing
	begun  bool
	gzip   *gzipStream // nil: not compressed
	beat   *time.Timer
	unhook func() bool // stops what waits for the node to stop
	ended  bool
	broken error // of writing
}

func newStream(all *Streams, w http.ResponseWriter, r *http.Request, caller *peer.Peer, ctx context.Context, cancel context.CancelFunc) *stream {
	o := &stream{all: all, w: w, body: w, flush: http.NewResponseController(w), req: r, caller: caller, ctx: ctx, cancel: cancel}
	if under, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		o.body = under.Unwrap() // it would give each write its own time
	}
	return o
}

// setHeaders sets the headers of a stream. header is what the call has set.
func setHeaders(h http.Header, header metadata.MD) {
	for key, values := range header {
		if strings.HasPrefix(key, "rollcall-") {
			h[http.CanonicalHeaderKey(key)] = values
		}
	}
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // of a proxy that would else keep what is small
}

// send sends a message as an event, before the first one the event that opens the stream.
func (o *stream) send(header metadata.MD, m proto.Message, p part) error {
	plain := buffers.Get().(*[]byte)
	b, err := o.events(*plain, m, p)
	if err != nil {
		free(plain)
		return err
	}
	*plain = b
	if bytes := int64(len(b)); bytes > smallEvent {
		if f := o.all.cfg.Pages.Take(o.caller, bytes); f != nil {
			free(plain)
			return f
		}
		defer o.all.cfg.Pages.Give(o.caller, bytes)
	}
	if err := o.sendEvents(header, plain); err != nil {
		return err
	}
	if !p.whole {
		return nil
	}
	pause := time.NewTimer(o.all.pace.least)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-o.ctx.Done():
	}
	return nil
}

func (o *stream) events(b []byte, m proto.Message, p part) (_ []byte, err error) {
	if !o.isBegun() {
		if b, err = appendJSON(appendRetry(b), eventOpen, opened{p.cluster, p.revision, p.resumed}); err != nil {
			return nil, err
		}
	}
	return appendMessage(b, p.name, p.id, m)
}

func (o *stream) isBegun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun
}

// sendEvents sends what plain holds, and frees it.
func (o *stream) sendEvents(header metadata.MD, plain *[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun {
		o.begin(header)
	}
	return o.put(plain)
}

// begin sends the headers. mu is held.
func (o *stream) begin(header metadata.MD) {
	o.begun = true
	setHeaders(o.w.Header(), header)
	if rest.AcceptsGzip(o.req) {
		o.gzip = &gzipStream{}
		o.w.Header().Set("Content-Encoding", "gzip")
	}
	o.w.WriteHeader(http.StatusOK)
	o.beat = time.AfterFunc(o.all.pace.heartbeat, o.sendHeartbeat)
	o.unhook = context.AfterFunc(o.all.cfg.Ending, func() { _ = rest.AllowWrite(o.req.Context(), o.all.pace.lastWrite) })
}

// put writes what plain holds, and frees it: before it waits for the reader if it can. mu is held.
func (o *stream) put(plain *[]byte) error {
	if o.gzip == nil {
		defer free(plain)
		return o.write(*plain, o.all.pace.write)
	}
	packed := buffers.Get().(*[]byte)
	defer free(packed)
	*packed = o.gzip.append(*packed, *plain)
	free(plain)
	return o.write(*packed, o.all.pace.write)
}

// write writes and flushes b. mu is held.
func (o *stream) write(b []byte, patience time.Duration) error {
	for len(b) > 0 && o.broken == nil {
		n := min(len(b), writeBytes)
		if o.broken = o.allow(patience); o.broken == nil {
			_, o.broken = o.body.Write(b[:n])
		}
		b = b[n:]
	}
	if o.broken == nil {
		o.broken = o.flush.Flush()
	}
	if o.beat != nil {
		o.beat.Reset(o.all.pace.heartbeat)
	}
	return o.broken
}

// allow lets the next write take so long; less once the node stops.
func (o *stream) allow(patience time.Duration) error {
	err := rest.AllowWrite(o.req.Context(), patience)
	if o.all.cfg.Ending.Err() != nil { // what begin has arranged may have come before
		err = rest.AllowWrite(o.req.Context(), min(patience, o.all.pace.lastWrite))
	}
	return err
}

// sendHeartbeat is called when nothing was sent for some time.
func (o *stream) sendHeartbeat() {
	if !o.mu.TryLock() {
		return // something is being sent just now
	}
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	plain := buffers.Get().(*[]byte)
	*plain = append(*plain, heartbeat...)
	if o.put(plain) != nil {
		o.cancel()
	}
}

// end ends the stream because of err. If it has not begun, err is the answer, else the last event.
func (o *stream) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	if err == nil {
		err = rpcerror.ErrStopping
	}
	if !o.begun {
		rest.WriteError(o.w, o.req, err)
		return
	}
	o.beat.Stop()
	o.unhook()
	if o.broken != nil {
		if errors.Is(o.broken, os.ErrDeadlineExceeded) && o.all.cfg.Ending.Err() == nil {
			o.all.limits.stalled()
		}
		return
	}
	b, err := appendJSON(nil, eventError, rest.ErrorOf(o.req, err))
	if err != nil {
		return
	}
	if o.gzip != nil {
		b = o.gzip.end(o.gzip.append(nil, b))
	}
	_ = o.write(b, o.all.pace.lastWrite) // it fails if the reader has left
}
