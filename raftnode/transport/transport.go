package transport

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

// maxAppendBytes bounds the entries in one request to a follower, but for one that is larger alone. What a
// slow link cannot carry at once arrives in parts, and each part is progress.
const maxAppendBytes = 4 << 20

// Transport is raft's network transport over the peer port. Servers are addressed by name and data directory (package
// serveraddress), and only a dial asks for the network address behind it.
type Transport struct {
	*raft.NetworkTransport
	cfg  Config
	acks *Acks
	hold hold

	progress *Progress
	streams  *streams

	rpcs   chan raft.RPC // what Consumer returns; without a buffer
	offers chan offer
	done   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

var (
	_ raft.Transport = (*Transport)(nil)
	// Without this raft would silently do without pre-vote.
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// Config is what a Transport is made of.
type Config struct {
	Port        *peerport.Port
	DialTimeout time.Duration
	// Meant says why a server that answered with a data directory is not the one that an address of raft's means; nil:
	// it is that one.
	Meant func(address raft.ServerAddress, directory string) error
	// RPCTimeout bounds one RPC; a snapshot has more, by its size.
	RPCTimeout time.Duration
	// Latest is this node's newest configuration; nil: there is none.
	Latest func() raft.Configuration
	// Congested returns nil, or what is closed when it should be asked again: this node has enough to store
	// already, and entries from the leader wait. nil: never congested.
	Congested func() <-chan struct{}
	// Stuck reports that this node's disk has not stored an append for long. Then it sends nothing as a
	// leader, so that the others elect one that can store. nil: never.
	Stuck  func() bool
	Logger hclog.Logger
	// MaxLevel is the highest feature level that this binary can read, and ClusterLevel the cluster's, as
	// far as this node has applied the log.
	MaxLevel     uint32
	ClusterLevel func() uint32
}

// New returns a Transport that is used until Close.
func New(cfg Config) *Transport {
	streams := &streams{port: cfg.Port, dialTimeout: cfg.DialTimeout, meant: cfg.Meant, open: map[*patientConn]raft.ServerAddress{}}
	t := &Transport{
		cfg:      cfg,
		acks:     newAcks(),
		progress: newProgress(),
		streams:  streams,
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  streams,
			MaxPool: 3, // heartbeat, replication and a vote at a time
			// No pipelines: when a follower refuses an entry or knows a newer term, a pipeline may stop for
			// ever with its replication, unnoticed as heartbeats go on, and keep Shutdown waiting
			// (hashicorp/raft #612, open). What waits meanwhile goes into the next RPC together.
			MaxRPCsInFlight: 1,
			Timeout:         cfg.RPCTimeout,
			Logger:          cfg.Logger,
		}),
		rpcs:   make(chan raft.RPC),
		offers: make(chan offer),
		done:   make(chan struct{}),
	}
	t.wg.Go(t.consume)
	return t
}

// Acks are the servers' answers to this node as leader.
func (t *Transport) Acks() *Acks { return t.acks }

// Progress is how much of this leader's log the servers have.
func (t *Transport) Progress() *Progress { return t.progress }

// Retain ends the connections that were dialed to other servers than these, and forgets what those have answered. Raft
// never ends a connection of its pool by itself.
func (t *Transport) Retain(servers []raft.Server) {
	addresses := make(map[raft.ServerAddress]bool, len(servers))
	for _, s := range servers {
		addresses[s.Address] = true
	}
	t.acks.retain(addresses)
	t.progress.retain(addresses)
	t.streams.retain(addresses)
}

// Consumer is what raft's main loop reads: what came over the network, and offers.
func (t *Transport) Consumer() <-chan raft.RPC { return t.rpcs }

// offer is an RPC from this node to itself, for as long as ctx lasts and nothing comes from others.
type offer struct {
	ctx   context.Context
	rpc   raft.RPC
	taken chan bool // capacity 1
}

// Offer hands an RPC from this node to its own raft, unless raft's main loop takes one from the network
// first or ctx ends. A channel without a buffer makes the RPC either taken or withdrawn.
func (t *Transport) Offer(ctx context.Context, rpc raft.RPC) (taken bool) {
	o := offer{ctx, rpc, make(chan bool, 1)}
	select {
	case t.offers <- o:
		return <-o.taken
	case <-ctx.Done():
	case <-t.done:
	}
	return false
}

func (t *Transport) consume() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if t.holds(rpc) {
				continue
			}
			if !t.deliver(rpc) {
				return
			}
		case o := <-t.offers:
			select {
			case t.rpcs <- o.rpc:
				o.taken <- true
			case rpc := <-t.NetworkTransport.Consumer():
				delivered := t.holds(rpc) || t.deliver(rpc)
				o.taken <- false
				if !delivered {
					return
				}
			case <-o.ctx.Done():
				o.taken <- false
			case <-t.done:
				o.taken <- false
				return
			}
		case <-t.done:
			return
		}
	}
}

// deliver hands raft an RPC of another node's; false: the transport is closed.
func (t *Transport) deliver(rpc raft.RPC) bool {
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		workaround.CapCommit(req)
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
		if t.cfg.Latest != nil {
			workaround.AllowNewVoter(req, t.cfg.Latest())
		}
	}
	select {
	case t.rpcs <- rpc:
		return true
	case <-t.done:
		return false
	}
}

// AppendEntries carries all that a leader says to a voter in its term, heartbeats too, as there are no
// pipelines. An answer in the request's term recognises the leader, also one that refuses the entries:
// the voter had not yet seen a later term.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.checkEntries(string(id), req.Entries); err != nil {
		return err
	}
	if t.cfg.Stuck != nil && t.cfg.Stuck() {
		return errStuck
	}
	workaround.TrimEntries(req, maxAppendBytes)
	round := t.acks.Round() // before it is sent: an answer proves nothing about what comes after
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	if err == nil && resp.Term == req.Term {
		t.acks.note(target, req.Term, round)
		t.progress.appended(target, req, resp)
	}
	return err
}

// SetHeartbeatHandler does nothing. A heartbeat handled beside raft's main loop can change term and
// role under it and corrupt the log (hashicorp/raft #695, open); through the main loop it cannot. A
// follower's slow fsync then delays its answers, for which the timeouts leave room.
func (*Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Close ends raft's connections too, which NetworkTransport's own leaves open.
func (t *Transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.once.Do(func() { close(t.done) })
	t.wg.Wait()
	return err
}
