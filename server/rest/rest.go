package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/inprocess"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Prefix begins the paths of all versions of the API.
const Prefix = "/api/"

// Config is what a Handler needs.
type Config struct {
	Node    string // this node's name, which errors tell
	Conn    *inprocess.Conn
	Callers *authn.Authenticator
	Audit   *auditlog.Log // nil: none
	// Answers is the budget of answers, and Bodies that of what requests hold.
	Answers, Bodies *budget.Budget
	// MaxCalls is how many requests are answered at a time.
	MaxCalls int
	// AnonymousWrites lets callers that prove no identity change something, as far as their rights go.
	AnonymousWrites bool
	// KnownHost says whether this node is called by a name, which is in lower case and has no port. It is not asked for
	// addresses and localhost, and only for callers that prove no identity. nil: by no name.
	KnownHost func(name string) bool
	// Streams answer GET requests to paths below Prefix whose answers go on: "/api/v1/events:watch". Their requests have
	// the context of Caller, and are counted until they return.
	Streams map[string]http.Handler
	Logger  *slog.Logger
}

// Handler answers the requests to paths that begin with Prefix. Call New, and Stop in the end.
type Handler struct {
	cfg    Config
	routes http.Handler
	calls  calls
	counts counts
	origin *http.CrossOriginProtection
	gzips  chan *gzipper // those that are free; its capacity is how many there are at most
	stall  time.Duration // see stallTime
}

// New returns a handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg, origin: http.NewCrossOriginProtection(), gzips: newGzippers(), stall: stallTime}
	h.calls.init(cfg.MaxCalls)
	h.routes = h.newRoutes()
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{handler: h, req: r}
	c.out = &answer{call: c, w: w, control: http.NewResponseController(w)}
	c.out.protect()
	ctx := c.begin(r)
	r = r.WithContext(ctx)
	defer func() {
		c.end()
		h.counts.add(c.route, c.out.code)
	}()
	if err := h.calls.enter(c); err != nil {
		WriteError(c.out, r, err)
		return
	}
	defer h.calls.leave(c)
	if err := c.deadlines(); err != nil {
		WriteError(c.out, r, err)
		return
	}
	h.route(c, r.WithContext(c.ctx))
}

// Stop refuses new requests, waits until ctx ends for those that are being answered, ends the rest, and returns when no
// request is being answered any more. The error says that some were ended.
func (h *Handler) Stop(ctx context.Context) error { return h.calls.stop(ctx) }

// Answering says whether a request of this peer is being answered.
func (h *Handler) Answering(p *peer.Peer) bool { return h.calls.of(p) != nil }

// Cut closes the connection of a request that is being answered, and says whether there is one.
func (h *Handler) Cut(p *peer.Peer) bool {
	c := h.calls.of(p)
	if c == nil {
		return false
	}
	c.cut()
	return true
}

// call is a request that is being answered.
type call struct {
	handler *Handler
	req     *http.Request // as it came
	out     *answer
	peer    *peer.Peer
	ctx     context.Context
	cancel  context.CancelCauseFunc
	release func() // see inprocess.Hold
	wasCut  atomic.Bool

	route     string            // "GET /api/v1/services"; "": none has been found
	path      map[string]string // fields of the request that stand in the path
	body      []byte
	write     bool // it is no GET
	requestID string
	held      int64 // bytes that the body has taken from the budget
	answering int64 // bytes that the answer has taken from the budget, besides what the handler took
}

type callKey struct{}

// callOf returns the request that a context belongs to; nil if there is none.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

func (c *call) begin(r *http.Request) context.Context {
	c.peer = peerOf(r)
	ctx := peer.NewContext(context.WithValue(r.Context(), callKey{}, c), c.peer)
	ctx, c.release = inprocess.Hold(ctx)
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c.ctx
}

// end gives back all that the request has taken.
func (c *call) end() {
	c.cancel(nil)
	c.release()
	c.handler.cfg.Bodies.Give(c.peer, c.held)
	c.handler.cfg.Answers.Give(c.peer, c.answering)
}

// cut ends the request and its connection. What waits for a client that does not read or send returns at once.
func (c *call) cut() {
	c.wasCut.Store(true)
	c.cancel(rpcerror.ErrStopping)
	_ = c.out.control.SetWriteDeadline(longAgo)
	_ = c.out.control.SetReadDeadline(longAgo)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// AllowWrite lets writing the answer to the request of ctx, or the next part of it, take so long. It is for streams, and
// gives no time to a request that has been cut off.
func AllowWrite(ctx context.Context, d time.Duration) error {
	c := callOf(ctx)
	if c == nil {
		return nil
	}
	err := c.out.control.SetWriteDeadline(time.Now().Add(d))
	// cut comes after this, or is seen here.
	if c.wasCut.Load() {
		err = c.out.control.SetWriteDeadline(longAgo)
	}
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// TimeoutHeader bounds how long a request may take: a Go duration, as "2s".
const TimeoutHeader = "Rollcall-Timeout"

// maxTimeout is far beyond what anybody waits for over HTTP.
const maxTimeout = 5 * time.Minute

// deadlines sets how long the request may take, and sees to it that net/http does not end it before.
func (c *call) deadlines() error {
	// The deadline of the server's ReadTimeout would end the context of a request that is being answered, once its body has
	// been read. Until then it stays: who never sends the body that it has announced would hold its connection for good.
	if !hasBody(c.req) {
		if err := c.out.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	values := c.req.Header.Values(TimeoutHeader)
	if len(values) == 0 {
		return nil
	}
	timeout, err := time.ParseDuration(values[0])
	if len(values) > 1 || err != nil || timeout <= 0 || timeout > maxTimeout {
		return rpcerror.Invalid(rpcerror.Violation{Field: strings.ToLower(TimeoutHeader),
			Description: "must be a duration above 0s and up to 5m, as 2s or 500ms; is " + rpcerror.QuoteShort(strings.Join(values, ", "))})
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	context.AfterFunc(c.ctx, cancel)
	c.ctx = ctx
	return nil
}

// conn is the connection that the generated routes make their calls on.
var _ grpc.ClientConnInterface = (*conn)(nil)
