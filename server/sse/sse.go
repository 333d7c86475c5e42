package sse

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rest"
)

// Conn makes calls. An inprocess.Conn is one.
type Conn interface {
	Stream(ctx context.Context, method string, req proto.Message, send func(header metadata.MD, m proto.Message) error) error
}

// Config is what Streams need.
type Config struct {
	Conn Conn
	// ClusterID is the cluster of this node.
	ClusterID func() string
	// Identity says who makes a call.
	Identity func(ctx context.Context) string
	// Pages is the budget of what a stream holds while it is sent, beside the message itself.
	Pages *budget.Budget
	// MaxStreams is how many may be open, and MaxPerAddress how many of one address, or of one network of 64 bits of IPv6.
	MaxStreams, MaxPerAddress int
	// Ending ends when no stream may wait any more for a reader that does not read.
	Ending context.Context
	Logger *slog.Logger
}

// Streams are all streams of a node.
type Streams struct {
	cfg    Config
	limits limits
	pace   pace
}

// New returns Streams.
func New(cfg Config) *Streams {
	return &Streams{
		cfg:    cfg,
		limits: limits{most: cfg.MaxStreams, perAddress: cfg.MaxPerAddress, log: cfg.Logger, of: map[string]int{}},
		pace:   defaultPace,
	}
}

// Counts returns what has been counted.
func (s *Streams) Counts() Counts {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	return s.limits.counts
}

// Services answers GET services:watch. Its requests have the context of a call (rest.Config.Streams).
func (s *Streams) Services() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, s.watchServices, &s.limits.counts.Services)
	})
}

// Events answers GET events:watch.
func (s *Streams) Events() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, s.watchEvents, &s.limits.counts.Events) })
}

// watch is what a request asks for.
type watch struct {
	ctx    context.Context // of the call
	method string
	req    proto.Message
	// part says what event becomes of a message.
	part func(m proto.Message) part
}

// part is an event, as far as it does not stand in its message.
type part struct {
	name     string
	id       *eventID // nil: a stream cannot go on from here
	cluster  string   // of the first message
	revision int64
	resumed  bool
	whole    bool // no more of the same follows at once
}

func (s *Streams) serve(w http.ResponseWriter, r *http.Request, asked func(r *http.Request) (*watch, error), open *int64) {
	what, err := asked(r)
	if err != nil {
		rest.WriteError(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		setHeaders(w.Header(), nil)
		return
	}
	caller, _ := peer.FromContext(r.Context())
	from := addressOf(caller)
	if f := s.limits.enter(from, open); f != nil {
		rest.WriteError(w, r, f)
		return
	}
	defer s.limits.leave(from, open)
	ctx, cancel := context.WithCancel(what.ctx)
	defer cancel()
	o := newStream(s, w, r, caller, ctx, cancel)
	o.end(s.cfg.Conn.Stream(ctx, what.method, what.req, func(header metadata.MD, m proto.Message) error {
		return o.send(header, m, what.part(m))
	}))
}

func (s *Streams) watchServices(r *http.Request) (*watch, error) {
	req := &rollcallv1.WatchServicesRequest{}
	last, err := readRequest(r, req)
	if err != nil {
		return nil, err
	}
	here := eventID{cluster: s.cfg.ClusterID(), tag: tagOf(append([]string{s.cfg.Identity(r.Context()), req.GetView().String()}, slices.Sorted(slices.Values(req.GetPrefixes()))...)...)}
	if last != nil {
		// Of another cluster, another question or another caller: it begins anew.
		req.FromRevision = 0
		if (last.cluster == "" || last.cluster == here.cluster) && (last.tag == "" || last.tag == here.tag) {
			req.FromRevision = last.revision
		}
	}
	byNames := len(req.GetServices()) > 0
	return &watch{r.Context(), rollcallv1.Registry_WatchServices_FullMethodName, req, func(m proto.Message) part {
		res := m.(*rollcallv1.WatchServicesResponse)
		p := part{name: "services", cluster: res.GetClusterId(), revision: res.GetRevision(), resumed: res.GetResumed(), whole: res.GetSynced()}
		if res.GetSynced() && !byNames {
			id := here
			id.revision = res.GetRevision()
			p.id = &id
		}
		return p
	}}, nil
}

func (s *Streams) watchEvents(r *http.Request) (*watch, error) {
	req := &rollcallv1.WatchEventsRequest{}
	last, err := readRequest(r, req)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if last != nil {
		req.FromRevision = last.revision + 1
		ctx = ofCluster(ctx, last.cluster)
	}
	cluster := s.cfg.ClusterID()
	return &watch{ctx, rollcallv1.Registry_WatchEvents_FullMethodName, req, func(m proto.Message) part {
		res := m.(*rollcallv1.WatchEventsResponse)
		p := part{name: "events", cluster: res.GetClusterId(), revision: res.GetRevision(), resumed: last != nil, whole: !res.GetMore()}
		if !res.GetMore() {
			p.id = &eventID{revision: res.GetRevision(), cluster: cluster}
		}
		return p
	}}, nil
}

// ofCluster has a call be answered by a cluster only, unless its caller has named one.
func ofCluster(ctx context.Context, cluster string) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	if cluster == "" || len(md.Get(freshness.MetadataCluster)) > 0 {
		return ctx
	}
	return metadata.NewIncomingContext(ctx, metadata.Join(md, metadata.Pairs(freshness.MetadataCluster, cluster)))
}
