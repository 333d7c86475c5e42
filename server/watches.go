package server

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/receive"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/server/rpcstats"
)

// Subjects of the QuotaFailure of a refused watch.
const (
	quotaWatches              = "watches"
	quotaWatchesPerConnection = "watches-per-connection"
)

// watches counts the open watches and refuses those above the limits. A watch counts from its headers on, so
// that streams which never send a request are limited too.
type watches struct {
	node                 string
	limit, perConnection int
	requests             *receive.Limits
	log                  *slog.Logger

	open   atomic.Int64     // of all kinds
	events atomic.Int64     // of those, WatchEvents
	states atomic.Int64     // of those, WatchServices
	leases atomic.Int64     // of those, KeepAlive
	writes atomic.Int64     // of those, WriteStream
	warned atomic.Int64     // when a refusal was logged last, Unix nanoseconds
	rpcs   *rpcstats.Counts // of Watch

	mu sync.Mutex // guards what follows, and the fields of openWatch that say so
	// connections counts by the peer.Peer that all calls of a connection share: gRPC makes one for
	// each connection. (Its address would not do: that of a tunnel or a pipe is not unique.)
	connections map[*peer.Peer]int
	first       *openWatch        // the list of watches that have begun and not ended
	ending      *rpcerror.Failure // why no watch may begin any more; nil: watches may begin
	begun       sync.WaitGroup    // one for each watch that has begun and has not ended completely
}

func newWatches(cfg Config, rpcs *rpcstats.Stats, requests *receive.Limits) *watches {
	return &watches{
		rpcs:          rpcs.Of(watchMethod),
		requests:      requests,
		node:          cfg.Node,
		limit:         cfg.MaxWatches,
		perConnection: cfg.MaxWatchesPerConnection,
		log:           cfg.Logger.With("node", cfg.Node),
		connections:   make(map[*peer.Peer]int),
	}
}

// enter counts a watch of the connection, which may be nil if there is none, or refuses it.
func (w *watches) enter(connection *peer.Peer) error {
	if w.open.Add(1) > int64(w.limit) {
		w.open.Add(-1)
		return w.refuse(quotaWatches, "--max-watches", "this node has %d open watches, which is its %s; ask another node or try later", w.limit)
	}
	if connection == nil {
		return nil
	}
	w.mu.Lock()
	n := w.connections[connection]
	if n < w.perConnection {
		w.connections[connection] = n + 1
	}
	w.mu.Unlock()
	if n >= w.perConnection {
		w.open.Add(-1)
		return w.refuse(quotaWatchesPerConnection, "--max-watches-per-connection", "this connection has %d open watches, which is this node's %s; open another connection", w.perConnection)
	}
	return nil
}

func (w *watches) leave(connection *peer.Peer) {
	w.open.Add(-1)
	if connection == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.connections[connection]; n > 1 {
		w.connections[connection] = n - 1
	} else {
		delete(w.connections, connection)
	}
}

// refuse returns the refusal and logs it, at most once a minute: a client that is refused may try again and
// again.
func (w *watches) refuse(subject, flag, format string, limit int) error {
	now := time.Now().UnixNano()
	if last := w.warned.Load(); now-last > int64(time.Minute) && w.warned.CompareAndSwap(last, now) {
		w.log.Warn("a watch was refused; find who opens so many, or raise the limit", "flag", flag, "limit", limit)
	}
	return rpcerror.ToStatus(w.node, rpcerror.LimitReached(subject, format, limit, flag))
}

// registerStreams registers a service all of whose streams count as watches, and limits them. It does so in the
// service's description. An interceptor would be called for every Check too.
func (w *watches) registerStreams(s grpc.ServiceRegistrar, service *grpc.ServiceDesc, impl any) {
	desc := *service
	desc.Streams = slices.Clone(service.Streams)
	for i, stream := range desc.Streams {
		kind := map[string]*atomic.Int64{
			"WatchEvents": &w.events, "WatchServices": &w.states, "KeepAlive": &w.leases, "WriteStream": &w.writes,
		}[stream.StreamName]
		desc.Streams[i].Handler = func(srv any, s grpc.ServerStream) error {
			connection, _ := peer.FromContext(s.Context())
			if err := w.enter(connection); err != nil {
				return err
			}
			defer w.leave(connection)
			kind.Add(1)
			defer kind.Add(-1)
			flowcontrol.SendUncompressed(s.Context())
			return stream.Handler(srv, s)
		}
	}
	s.RegisterService(&desc, impl)
}

const watchMethod = "grpc.health.v1.Health/Watch"

// register registers the health service. Its watches are limited and need no goroutine each.
func (w *watches) register(s grpc.ServiceRegistrar, h *health) {
	desc := healthpb.Health_ServiceDesc
	desc.Streams = make([]grpc.StreamDesc, len(healthpb.Health_ServiceDesc.Streams))
	for i, stream := range healthpb.Health_ServiceDesc.Streams {
		if stream.StreamName == "Watch" {
			stream.Handler = func(_ any, stream grpc.ServerStream) error { return w.handle(h, stream) }
		}
		desc.Streams[i] = stream
	}
	s.RegisterService(&desc, h)
}
