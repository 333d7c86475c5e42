package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress; grpc.MaxRecvMsgSize bounds what a message inflates to
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/connlimit"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/forward"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/inprocess"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/ratelimit"
	"github.com/rollcallhq/rollcall/server/receive"
	"github.com/rollcallhq/rollcall/server/renewal"
	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/server/rpcstats"
	"github.com/rollcallhq/rollcall/server/sse"
)

// Server answers for one node. Call New, Serve, BeginDrain and Stop, in this order.
type Server struct {
	cfg       Config
	log       *slog.Logger
	api, peer *grpc.Server
	local     inprocess.Conn // has all services of the API but Health
	rest      *rest.Handler
	sse       *sse.Streams
	pool      *peerconn.Pool
	router    *forward.Router
	renewer   *renewal.Renewer
	readiness *readiness
	freshness *freshness.Tracker
	rpcs      *rpcstats.Stats
	watches   *watches
	budgets   budgets
	requests  *receive.Limits
	limits    *ratelimit.Limits // of writes, by caller; nil: none
	callers   *authn.Authenticator
	denials   authn.Denials
	open      *authz.Streams
	access    Access

	announced  chan struct{} // closed by KeepFresh
	keepFresh  sync.Once
	draining   chan struct{} // closed by BeginDrain
	beginDrain sync.Once
	endWaits   context.CancelCauseFunc // of reads
	fence      *fence.Fence

	stopReadiness context.CancelFunc
	goroutines    sync.WaitGroup // readiness, freshness, leader watch, re-checks of streams

	mu        sync.Mutex // guards listeners and clients
	listeners []*connlimit.Handshakes
	clients   *connlimit.Listener // nil before Serve

	stop    sync.Once
	stopped chan struct{} // closed when stop is done
	stopErr error         // to be read after stopped
}

// New returns a server that publishes the node's own names from now on and answers nobody before
// Serve. It must be stopped, served or not.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Statuses == nil || deps.Registry == nil || deps.Layers == nil || deps.Leases == nil || deps.Access == nil || deps.Lessor == nil || deps.Followers == nil || deps.History == nil || deps.Agreement == nil || deps.Peers == nil || deps.Members == nil || deps.Node == nil {
		return nil, errors.New("server: all of Deps are required")
	}
	s := &Server{
		cfg:      cfg,
		log:      cfg.Logger.With("node", cfg.Node),
		api:      grpc.NewServer(apiOptions(cfg)...),
		peer:     grpc.NewServer(peerOptions()...),
		pool:     peerconn.NewPool(deps.Peers),
		access:   deps.Access,
		rpcs:     rpcstats.New(),
		draining: make(chan struct{}),
		fence:    fence.New(),
		stopped:  make(chan struct{}),

		announced: make(chan struct{}),
	}
	s.freshness = freshness.NewTracker(cfg.Node, deps.Agreement, deps.Registry, s.pool, cfg.RevisionTimeout)
	s.router = &forward.Router{
		Node:      cfg.Node,
		Agreement: deps.Agreement,
		Forwarder: forward.NewForwarder(s.pool, deps.Agreement, cfg.ForwardTimeout, cfg.MaxForwarded),
		Timeout:   cfg.WriteTimeout,
		Draining:  s.draining,
		Fence:     s.fence,
		Removed:   deps.Members.Removed,
	}
	s.renewer = renewal.New(renewal.Config{
		Node: cfg.Node, Agreement: deps.Agreement, Lessor: deps.Lessor, Leases: deps.Leases, Pool: s.pool, Fence: s.fence,
	})
	s.readiness = &readiness{
		node:         deps.Node,
		agreement:    deps.Agreement,
		statuses:     deps.Statuses,
		freshness:    s.freshness,
		maxStaleness: cfg.ReadyMaxStaleness,
		drains:       s.router.Drains,
		refreshed:    make(chan struct{}, 1),
	}
	s.budgets = newBudgets(cfg.ClientMemory, s.closed)
	s.budgets.answers.CutLargest(s.cut)
	s.requests = newRequestLimits(cfg)
	if cfg.WritesPerSecond > 0 {
		s.limits = ratelimit.New(cfg.WritesPerSecond)
	}
	s.watches = newWatches(cfg, s.rpcs, s.requests)
	var ending context.Context
	ending, s.endWaits = context.WithCancelCause(context.Background())

	s.callers = authn.New(authn.Config{
		Tokens: tokens{deps.Access}, Clock: deps.LogClock, Static: cfg.StaticAdmins, Ending: s.draining, Logger: s.log,
		Behind: func() bool { return s.freshness.At().IsZero() },
	})
	access := authz.New(s.callers, rights{deps.Access})
	s.open = authz.NewStreams(access, func() time.Time { return time.Unix(0, deps.LogClock()) })
	in := freshness.NewIncoming()
	leaders := freshness.NewLeaderWatch(deps.Agreement, cfg.LeaderGrace)
	r := reads{access: access, streams: s.open, denials: &s.denials, Reads: freshness.Reads{
		Node: cfg.Node, Registry: deps.Registry, Tracker: s.freshness, Leaders: leaders, Fence: s.fence,
		Incoming: in, Timeout: cfg.RevisionTimeout, Ending: ending, OnLinearizable: cfg.OnLinearizableRead,
	}}
	cluster := &clusterService{
		node: cfg.Node, version: cfg.Version, start: cfg.StartTime, timeout: cfg.StatusTimeout,
		source: deps.Node, registry: deps.Registry, layers: deps.Layers, leases: deps.Leases, logClock: deps.LogClock, readiness: s.readiness,
		pool: s.pool, incoming: in, log: s.log,
		replica: deps.Replica, exporter: deps.Exporter, storage: deps.Storage, reads: r, cutOff: s.cutOff, exporting: make(chan struct{}, 1),
		agreement: deps.Agreement, members: deps.Members, changing: make(chan struct{}, 1),
	}
	counted, peer := s.requests.Methods(s.rpcs.On(registrars{s.api, &s.local})), s.rpcs.On(s.peer)
	health, streams := audited(cfg.Audit, s.callers, s.requests.Methods(s.rpcs.On(s.api))), audited(cfg.Audit, s.callers, s.requests.Streams(counted))
	reading := flowcontrol.Answers{Budget: s.budgets.answers, Node: cfg.Node}
	changing := flowcontrol.Answers{Budget: s.budgets.changes, Node: cfg.Node}
	s.watches.register(reading.On(health, "List"), newHealth(r, deps.Statuses, cfg.HealthListLimit))
	changes := &admin{
		node: cfg.Node, incoming: in, registry: deps.Registry, access: deps.Access, callers: s.callers, denials: &s.denials, rights: access, streams: s.open, router: s.router, pending: s.budgets.changes, onWrite: cfg.OnWrite, log: s.log,
		renewer: s.renewer, leases: deps.Leases, renewals: s.budgets.answers, fence: s.fence, ending: ending, cutOff: s.cutOff, audit: cfg.Audit, limits: s.limits,
	}
	cluster.changes = changes
	s.watches.registerStreams(changing.On(streams, "BatchSetServingStatus", "SetOverride", "ClearOverride"), &rollcallv1.Admin_ServiceDesc, changes)
	s.watches.registerStreams(reading.On(streams, "ListServices", "ListEvents", "ListOverrides", "ListRules", "ListLeases"), &rollcallv1.Registry_ServiceDesc, &registryService{
		reads: r, registry: deps.Registry, layers: deps.Layers, leases: deps.Leases, renewer: s.renewer, followers: deps.Followers, history: deps.History, logClock: deps.LogClock, completePatience: cfg.LeaderGrace,
		pages: s.budgets.streams, cutOff: s.cutOff, log: s.log,
	})
	rollcallv1.RegisterAccessServer(reading.On(streams, "ListTokens", "ListRoles", "ListGrants"), &accessService{
		Reads: r.Reads, admin: changes, source: deps.Access, private: cfg.TLS != nil || cfg.LoopbackOnly,
	})
	rollcallv1.RegisterClusterServer(streams, cluster)
	reflection.Register(&reflectionServer{s.api, s.requests.Streams(s.api), cfg.Node, make(chan struct{}, maxReflections)}) // v1 and v1alpha

	peerv1.RegisterPeerServer(peer, &peerService{
		node: cfg.Node, router: s.router, freshness: s.freshness, lessor: deps.Lessor, replica: deps.Replica, log: s.log,
		receiver: &forward.Receiver{Router: s.router, Pending: s.budgets.changes, Ending: ending, Log: s.log},
	})
	rollcallv1.RegisterClusterServer(peer, &localCluster{cluster: cluster})

	s.sse = s.newSSE(deps.Registry, ending)
	s.rest = s.newREST()

	s.readiness.publish()
	var ctx context.Context
	ctx, s.stopReadiness = context.WithCancel(context.Background())
	s.goroutines.Go(func() { s.readiness.run(ctx) })
	s.goroutines.Go(func() { leaders.Run(ctx) })
	s.goroutines.Go(func() { s.open.Run(ctx) })
	s.goroutines.Go(func() { cluster.forgetDeparted(ctx) })
	if cfg.ReadyMaxStaleness > 0 {
		s.goroutines.Go(func() {
			select {
			case <-s.announced:
				s.freshness.Run(ctx, cfg.ReadyMaxStaleness, s.readiness.refresh)
			case <-ctx.Done():
			}
		})
	}
	return s, nil
}

// Serve answers clients on api and other nodes on peer, and closes both. It returns nil after Stop,
// or else the error of the listener that failed first; the other goes on until Stop.
func (s *Server) Serve(api, peer net.Listener) error {
	first := make(chan error, 2) // one for each, so that neither goroutine waits for a reader
	var serving sync.WaitGroup
	for _, l := range []struct {
		name   string
		server *grpc.Server
		lis    *connlimit.Handshakes
	}{
		{"API", s.api, &connlimit.Handshakes{Listener: s.limited(api), Timeout: handshakeTimeout}},
		{"peer", s.peer, &connlimit.Handshakes{Listener: peer, Timeout: handshakeTimeout}},
	} {
		s.mu.Lock()
		s.listeners = append(s.listeners, l.lis)
		s.mu.Unlock()
		serving.Go(func() {
			err := l.server.Serve(l.lis)
			if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				first <- fmt.Errorf("serve %s on %s: %w", l.name, l.lis.Addr(), err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		serving.Wait()
		close(ended)
	}()
	select {
	case err := <-first:
		return err
	case <-ended:
	}
	select {
	case err := <-first:
		return err
	default:
		return nil
	}
}

func (s *Server) limited(api net.Listener) net.Listener {
	clients := connlimit.New(api, s.cfg.MaxConnections, s.log)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = clients
	return clients
}

// cutOff closes the connection of a client's call.
func (s *Server) cutOff(call context.Context) {
	if from, ok := peer.FromContext(call); ok {
		s.cut(from)
	}
}

// OpenWatches is how many watches are open now.
func (s *Server) OpenWatches() int { return int(s.watches.open.Load()) }

// Propose brings a command of the node's own, such as announcing itself, to the leader as a client's
// change would be. The result may be a refusal. An error's NotWritten and OutcomeUnknown methods say
// what is known of the outcome.
func (s *Server) Propose(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	return s.router.Propose(ctx, cmd, false)
}

// KeepFresh begins the rounds in the background that make "" SERVING. Call it when the node has announced
// itself. Before it only reads that ask to be fresh make rounds.
func (s *Server) KeepFresh() { s.keepFresh.Do(func() { close(s.announced) }) }

// ReadIndexRounds is how many rounds this node has made so far to know how fresh it is: for reads that
// ask, which share them, and in the background.
func (s *Server) ReadIndexRounds() int64 { return s.freshness.Rounds() }

// ConfirmLeading returns nil when a quorum has confirmed, in a round begun after the call, that this node leads. It
// shares the rounds of linearizable reads.
func (s *Server) ConfirmLeading(ctx context.Context) error {
	_, err := s.freshness.LeaderIndex(ctx)
	return err
}

// Callers says who calls.
func (s *Server) Callers() *authn.Authenticator { return s.callers }

// Denials returns how often a caller was refused so far what it may not do, by verb.
func (s *Server) Denials() map[string]uint64 { return s.denials.ByVerb() }

// Refresh brings the statuses of the node's own names up to date before it returns. Call it after a change of
// Node that Agreement.Changed does not tell of.
func (s *Server) Refresh() { s.readiness.refresh() }

// BeginDrain stops admitting changes (NOT_WRITTEN), those waiting for a leader included, and makes
// "", rollcall.reads and rollcall.leader NOT_SERVING before it returns. Reads and watches go on, and
// so do changes that are already proposed: now is the time to hand leadership over.
func (s *Server) BeginDrain() {
	s.beginDrain.Do(func() {
		s.log.Info("stopping: changes are refused, reads go on")
		close(s.draining)
	})
	s.readiness.publish()
}

// Stop ends watches with UNAVAILABLE, so that clients move to another node, lets calls in flight
// finish until ctx ends, cuts off the rest, and waits until no handler runs. It returns ctx's error
// if anything was cut off. Every call returns when the first is done.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		defer close(s.stopped)
		s.BeginDrain()
		s.endWaits(rpcerror.ErrStopping)
		s.watches.endAll(rpcerror.ErrStopping)
		graceful := make(chan struct{})
		go func() {
			defer close(graceful)
			both(s.api.GracefulStop, s.peer.GracefulStop)
		}()
		var http sync.WaitGroup
		var cutHTTP error
		http.Go(func() { cutHTTP = s.rest.Stop(ctx) })
		select {
		case <-graceful:
		case <-ctx.Done():
			s.stopErr = fmt.Errorf("stop server: calls were cut off: %w", ctx.Err())
			s.log.Warn("stopping: calls were cut off")
			s.mu.Lock()
			for _, l := range s.listeners {
				l.CloseYoung()
			}
			s.mu.Unlock()
			both(s.api.Stop, s.peer.Stop)
			<-graceful
		}
		if http.Wait(); s.stopErr == nil && cutHTTP != nil {
			s.stopErr = fmt.Errorf("stop server: %w", cutHTTP)
		}
		s.watches.begun.Wait()
		s.pool.Close()
		s.renewer.Close()
		s.router.Forwarder.Close()
		s.freshness.Close()
		s.stopReadiness()
		s.goroutines.Wait()
	})
	<-s.stopped
	return s.stopErr
}

// registrars registers services on each of several.
type registrars []grpc.ServiceRegistrar

// RegisterService implements grpc.ServiceRegistrar.
func (all registrars) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, r := range all {
		r.RegisterService(desc, impl)
	}
}

func both(a, b func()) {
	var wg sync.WaitGroup
	wg.Go(a)
	wg.Go(b)
	wg.Wait()
}

// Diverged has the server refuse reads and changes of the registry with UNAVAILABLE and reason DIVERGED, and
// end the watches of services. From the log entry at index on, this node's registry is not what the cluster
// agreed on. It cannot be undone. Node.NodeStatus must report it before the call.
func (s *Server) Diverged(index uint64) {
	at := strconv.FormatUint(index, 10)
	s.fence.Raise(&rpcerror.Failure{
		Reason:  rpcerror.ReasonDiverged,
		Message: "this node's registry differs from the majority's at log entry " + at + " and is not served; ask another node",
		Meta:    map[string]string{rpcerror.MetaIndex: at},
	})
	s.watches.endServices(s.fence.Refusal())
	s.readiness.publish()
}

// RPCs returns the calls that have ended on either port, in order of method and code. Reflection is
// not counted.
func (s *Server) RPCs() []rpcstats.Count { return s.rpcs.All() }
