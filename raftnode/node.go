package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/clock"
	"github.com/rollcallhq/rollcall/raftnode/failover"
	"github.com/rollcallhq/rollcall/raftnode/forming"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/proposer"
	"github.com/rollcallhq/rollcall/raftnode/raftlogger"
	"github.com/rollcallhq/rollcall/raftnode/reach"
	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
	"github.com/rollcallhq/rollcall/raftnode/transport"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
	"github.com/rollcallhq/rollcall/store"
)

// Node is a member of a cluster, or one that is about to become it.
type Node struct {
	cfg         Config
	directoryID string
	logger      *slog.Logger
	port        *peerport.Port
	clock       *clock.Clock
	reach       reach.Reach
	unsucceeded atomic.Bool                  // see Status.Unsucceeded
	cutOff      time.Time                    // when this node handed over last because it was cut off; measureClocks's own
	trans       *transport.Transport         // nil until raft runs; set before raft is
	log         *workaround.ConfigurationLog // raft's; nil until raft runs; set before raft is

	founding atomic.Pointer[store.Founding]    // nil: no cluster yet
	joined   bool                              // made a member of a cluster that ran; set before raft runs
	noted    atomic.Pointer[store.Roster]      // the newest that members told, or that was written; nil: none
	members  atomic.Pointer[knownMembers]      // what was computed last
	removal  atomic.Pointer[store.Removal]     // nil: this directory was not removed, as far as is known
	raft     atomic.Pointer[raft.Raft]         // nil: does not run yet
	failover atomic.Pointer[failover.Failover] // nil: raft does not run yet, or Config.FastFailover is off
	failed   atomic.Bool                       // OnFailure was told
	proposer *proposer.Proposer
	leading  atomic.Pointer[leadership] // nil: does not lead; written with mu held
	servers  atomic.Pointer[[]Server]   // raft's, when they were last known to be committed; nil: never

	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	forming chan struct{} // closed when no goroutine is forming
	kick    chan struct{} // capacity 1: somebody has a cluster
	measure chan struct{} // capacity 1: clocks are to be measured now
	ask     chan struct{} // capacity 1: the other members are to be asked who belongs to the cluster
	told    chan struct{} // capacity 1: another member told who does, or that this directory does not
	stopped chan struct{} // closed when raft has ended, or was given up

	mu      sync.Mutex // guards all below
	waiting string
	seen    string // the leader that refresh saw last
	elected uint64 // see Status.LeaderChanges
	changed chan struct{}
	steps   map[string]string // see Status.Steps
	// handedOver is when a transfer of leadership to a server failed.
	handedOver map[raft.ServerAddress]time.Time
	asked      <-chan struct{} // closed when raft's main loop answers; nil: it is not asked

	failing  sync.Once
	closing  sync.Once
	closeErr error
}

// Open listens on the peer port and asks the other members once, for about a second at most. If the
// node has a cluster by then raft runs when Open returns; else it goes on forming in the background.
// A FormingError means that it cannot, as it stands.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg:     cfg.withDefaults(),
		logger:  cfg.Logger.With("node", cfg.Node),
		forming: make(chan struct{}),
		kick:    make(chan struct{}, 1),
		measure: make(chan struct{}, 1),
		ask:     make(chan struct{}, 1),
		told:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		changed: make(chan struct{}),
		waiting: "starting",
	}
	id := cfg.Directory.Identity()
	n.directoryID = id.DirectoryID
	if err := n.checkData(id); err != nil {
		return nil, err
	}
	n.founding.Store(id.Founding)
	n.noted.Store(id.Roster)
	n.joined = id.Joined
	n.clock = n.newClock()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.port, err = peerport.Open(peerport.Config{
		Node:           cfg.Node,
		Listen:         n.cfg.PeerListen,
		Network:        cfg.Network,
		MaxConnections: max(1, n.cfg.MaxPeerConnections/3), // for raft, for calls, for clocks
		Logger:         n.logger,
		View:           n.view,
		Resolve:        n.addresses,
		Met:            n.met,
		Answered:       n.answered,
		Again:          n.measureSoon,
		Failover:       n.answerFailover,
		TLS:            cfg.TLS,
		Names:          cfg.CertificateNames,
	})
	if err != nil {
		n.cancel()
		return nil, err
	}
	n.wg.Go(n.serveClock)
	n.proposer = proposer.New(n.proposerConfig())

	formed := true
	if id.Founding != nil {
		err = n.resume(ctx, *id.Founding)
	} else {
		formed, err = n.formRound(ctx)
	}
	if err != nil || formed {
		close(n.forming)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if !formed {
		go n.formInBackground()
	}
	return n, nil
}

// checkData refuses what no crash can leave behind, and a directory that was removed.
func (n *Node) checkData(id store.Identity) error {
	if id.Removed != nil {
		return n.removedError(*id.Removed)
	}
	used, err := n.cfg.Log.HasState()
	if err != nil {
		return err
	}
	folded := n.cfg.State.ClusterID()
	switch {
	case id.Founding == nil && (used || folded != ""):
		return fmt.Errorf("%s holds a raft log or a registry but its identity names no cluster", n.cfg.Directory.Path())
	case id.Founding != nil && folded != "" && folded != id.Founding.ClusterID:
		return fmt.Errorf("%s belongs to cluster %s but its registry to cluster %s",
			n.cfg.Directory.Path(), peerport.ShortClusterID(id.Founding.ClusterID), peerport.ShortClusterID(folded))
	}
	return nil
}

func (n *Node) formInBackground() {
	err := n.form(n.ctx)
	close(n.forming)
	if err != nil {
		n.setWaiting(err.Error(), false)
		n.logger.Error("this node cannot form or join a cluster", "error", err)
		n.fail(err) // after forming is closed: OnFailure may call Close
	}
}

// fail reports, once, that this node cannot go on.
func (n *Node) fail(err error) {
	n.failed.Store(true)
	n.failing.Do(func() { go n.cfg.OnFailure(err) })
}

// startRaft starts raft on the stores. The founding is set.
func (n *Node) startRaft(asFounder bool) error {
	logger := raftlogger.New(n.logger)
	trans := transport.New(transport.Config{
		Port: n.port, DialTimeout: n.cfg.DialTimeout, RPCTimeout: n.cfg.RPCTimeout, Logger: logger, Meant: n.meant,
		Latest: func() raft.Configuration {
			if r := n.raft.Load(); r != nil {
				return r.GetConfiguration().Configuration()
			}
			return raft.Configuration{}
		},
		Congested: n.cfg.Congested, Stuck: n.cfg.Stuck,
		MaxLevel: n.cfg.State.MaxLevel(), ClusterLevel: n.cfg.State.Level,
	})
	// Without a buffer: raft waits for followLeadership, which keeps both at the same point.
	notify := make(chan bool)
	conf := n.cfg.raftConfig(notify, logger)
	r, err := n.newRaft(conf, trans, asFounder)
	if err != nil {
		_ = trans.Close()
		return fmt.Errorf("start raft: %w", err)
	}
	// Observations only say that something changed, so those that are dropped are not missed.
	observed := make(chan raft.Observation, 1)
	fast := failover.New(failover.Config{
		Node: n.cfg.Node, Timeout: n.cfg.HeartbeatTimeout, Port: n.port, Transport: trans, Raft: r,
		Stopping: n.failed.Load, Logger: n.logger,
		Self: func(address raft.ServerAddress) bool { return n.meant(address, n.directoryID) == nil },
	})
	r.RegisterObserver(raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			fast.LeaderChanged()
			return true
		}
		return false
	}))
	n.trans = trans
	n.raft.Store(r)
	if n.cfg.FastFailover {
		n.failover.Store(fast)
		n.wg.Go(func() { fast.Run(n.ctx) })
	}
	n.wg.Go(func() { n.measureClocks(n.ctx) })
	n.wg.Go(func() { n.followMembers(n.ctx) })
	n.wg.Go(func() { n.askMembers(n.ctx) })
	n.wg.Go(func() { n.followLeadership(r, notify, n.stopped) })
	n.wg.Go(func() {
		for {
			n.refresh()
			select {
			case <-observed:
			case <-n.stopped:
				return
			}
		}
	})
	n.logger.Info("raft started", "cluster", peerport.ShortClusterID(n.founding.Load().ClusterID), "term", r.CurrentTerm(), "index", r.LastIndex())
	return nil
}

// answerFailover answers another voter that has lost its leader; nil: this node has no part in it.
func (n *Node) answerFailover(ctx context.Context, asker string, q *peerv1.LeaderLoss) *peerv1.LeaderLoss {
	fast := n.failover.Load()
	if fast == nil || n.ctx.Err() != nil {
		return nil
	}
	return fast.Answer(ctx, asker, q)
}

func (n *Node) newRaft(conf *raft.Config, trans *transport.Transport, asFounder bool) (*raft.Raft, error) {
	if asFounder {
		if err := forming.Bootstrap(conf, n.cfg.Log, n.cfg.Snapshots, trans, n.founding.Load()); err != nil {
			return nil, err
		}
	}
	cache, err := raft.NewLogCache(n.cfg.LogCacheEntries, n.cfg.Log)
	if err != nil {
		return nil, err
	}
	n.log = workaround.NewConfigurationLog(cache, n.cfg.Snapshots)
	defer n.log.Loaded()
	return raft.NewRaft(conf, n.cfg.FSM, n.log, n.cfg.Log, n.cfg.Snapshots, trans)
}

// meant says why a server that has the name in an address of raft's, and a data directory, is not the server that the
// address means. Raft goes by names only, and would count the answers of a new directory as those of the old one, which
// may have voted, and have acknowledged what the new one lacks.
func (n *Node) meant(address raft.ServerAddress, directory string) error {
	name, want := serveraddress.Split(address)
	if want == "" {
		m := n.cfg.State.Members()[name]
		if m.GetJoined() && m.GetDirectoryId() == directory {
			return fmt.Errorf("%s has the data directory that replaces the one in raft's configuration, which is to be removed first", name)
		}
		want = n.founder(name)
		if !m.GetJoined() && m.GetDirectoryId() != "" {
			want = m.GetDirectoryId()
		}
	}
	if want != "" && want != directory {
		return fmt.Errorf("%s has another data directory than the one in raft's configuration", name)
	}
	return nil
}

// founder is the data directory of a member at the founding; "": it is not known.
func (n *Node) founder(name string) string {
	if f := n.founding.Load(); f != nil {
		for _, m := range f.Members {
			if m.Name == name {
				return m.DirectoryID
			}
		}
	}
	return ""
}

// Propose has cmd applied on all nodes and returns the fold's answer: the element of its []any that
// belongs to cmd. Several that wait share a log entry; each has its own answer. The caller must not
// change cmd any more, whatever the outcome.
//
// The error is a NotWrittenError (surely not in the log: not leading, overloaded, ctx ended while
// cmd still waited) or an UnknownOutcomeError (leadership lost, stopping or ctx ended with cmd under
// way, a store's error).
func (n *Node) Propose(ctx context.Context, cmd *logv1.Command) (any, error) {
	if n.leading.Load() == nil {
		return nil, NotWrittenError{Err: ErrNotLeader}
	}
	return n.proposer.Propose(ctx, cmd)
}

// Start is Propose of many commands at once: each is answered with what Propose would return. There is no context:
// whoever waits gives a proposal up.
func (n *Node) Start(proposals []*logv1.Proposal) {
	if n.leading.Load() == nil {
		for _, p := range proposals {
			p.Answer(nil, NotWrittenError{Err: ErrNotLeader})
		}
		logv1.FlushAll(proposals)
		return
	}
	n.proposer.Start(proposals)
}

// setWaiting notes for what the node waits. unknown says that it waits for somebody to make it a member.
func (n *Node) setWaiting(text string, unknown bool) {
	n.mu.Lock()
	same := n.waiting == text
	n.waiting = text
	n.mu.Unlock()
	switch {
	case same:
	case unknown:
		n.logger.Warn("waiting to be made a member of the cluster", "reason", text)
	default:
		n.logger.Info("waiting to form a cluster, or to find one", "reason", text)
	}
}

// PeerListener accepts the connections of members that want to speak gRPC, after their hello.
func (n *Node) PeerListener() net.Listener { return n.port.Listener(peerv1.Hello_PURPOSE_RPC) }

// DialPeer connects to the peer listener of the named member. The node closes the connection when it
// is closed itself, at the latest.
func (n *Node) DialPeer(ctx context.Context, name string) (net.Conn, error) {
	if name == n.cfg.Node {
		return nil, fmt.Errorf("dial %s: that is this node", name)
	}
	conn, err := n.port.Dial(ctx, name, peerv1.Hello_PURPOSE_RPC)
	if err != nil {
		return nil, err // it says who, or at which address, and people read it behind the name
	}
	return conn, nil
}

// PeerLevel is the highest feature level that a member's running process can read, as its last hello
// says; 0: it sent none to this process.
func (n *Node) PeerLevel(name string) uint32 { return n.port.PeerLevel(name) }

// Unreachable returns for how long the named member could not be connected to, and how the last try failed; 0: it could
// be, or nobody has tried lately.
func (n *Node) Unreachable(name string) (time.Duration, string) { return n.port.Unreachable(name) }

// Close ends agreement: nothing new is proposed, what is under way gets a moment, raft and the peer
// port end. A leader should have called TransferLeadership. It may be called often, and returns after
// Config.CloseTimeout at the latest, with an error if raft had not ended by then: the stores must
// then not be closed before the process ends.
func (n *Node) Close() error {
	n.closing.Do(func() { n.closeErr = n.close() })
	return n.closeErr
}

func (n *Node) close() error {
	deadline := time.NewTimer(n.cfg.CloseTimeout)
	defer deadline.Stop()
	n.cancel()
	<-n.forming
	n.proposer.Close()
	drained := n.proposer.Drained()

	var err error
	if r := n.raft.Load(); r != nil {
		// A leader that is cut off steps down, and so answers what is in flight, within its lease.
		moment := time.NewTimer(2 * n.cfg.HeartbeatTimeout)
		select {
		case <-drained:
		case <-moment.C:
		}
		moment.Stop()
		ended := make(chan error, 1)
		shutdown := r.Shutdown()
		// Raft waits for RPCs under way; without connections they end.
		err = n.trans.Close()
		n.port.Close()
		go func() { ended <- shutdown.Error() }()
		select {
		case endErr := <-ended:
			err = errors.Join(err, endErr)
		case <-deadline.C:
			err = fmt.Errorf("close raft: it has not ended within %s", n.cfg.CloseTimeout)
		}
	} else {
		n.port.Close()
	}
	close(n.stopped)
	n.proposer.Abandon()
	n.wg.Wait()
	<-drained
	n.refresh()
	return err
}
