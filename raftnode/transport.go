package raftnode

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// transport is raft's: its network transport over the peer port. Servers are addressed by name, and
// only a dial asks for the address behind it.
//
// It notes for the read index when requests were sent that were answered, and lets the node itself
// speak to raft's main loop.
type transport struct {
	*raft.NetworkTransport
	asked *asked

	rpcs   chan raft.RPC // what Consumer returns; without a buffer
	offers chan offer
	done   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

var (
	_ raft.Transport = (*transport)(nil)
	// Without this raft would silently do without pre-vote.
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// newTransport takes the time that one RPC may last; snapshots have more, by their size.
func newTransport(p *peerPort, dialTimeout, rpcTimeout time.Duration, logger hclog.Logger) *transport {
	t := &transport{asked: newAsked(), NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  raftStreams{p, dialTimeout},
		MaxPool: 3, // heartbeat, replication and a vote at a time
		// No pipelines: when a follower refuses an entry or knows a newer term, a pipeline may stop for
		// ever with its replication, unnoticed as heartbeats go on, and keep Shutdown waiting
		// (hashicorp/raft #612, open). What waits meanwhile goes into the next RPC together.
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
		Logger:          logger,
	}), rpcs: make(chan raft.RPC), offers: make(chan offer), done: make(chan struct{})}
	t.wg.Go(t.consume)
	return t
}

// Consumer is what raft's main loop reads: what came over the network, and offers.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// offer is an RPC from this node to itself, for as long as ctx lasts and nothing comes from others.
type offer struct {
	ctx   context.Context
	rpc   raft.RPC
	taken chan bool // capacity 1
}

// offer hands raft's main loop an RPC, unless it was given one from the network first or ctx ended: a
// channel without a buffer makes it either taken or withdrawn.
func (t *transport) offer(ctx context.Context, rpc raft.RPC) (taken bool) {
	o := offer{ctx, rpc, make(chan bool, 1)}
	select {
	case t.offers <- o:
		return <-o.taken
	case <-ctx.Done():
	case <-t.done:
	}
	return false
}

func (t *transport) consume() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if !t.deliver(rpc) {
				return
			}
		case o := <-t.offers:
			select {
			case t.rpcs <- o.rpc:
				o.taken <- true
			case rpc := <-t.NetworkTransport.Consumer():
				delivered := t.deliver(rpc)
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

// capCommit keeps a follower from committing what its log holds beyond what the leader has just compared
// with its own. The Raft paper (figure 2, AppendEntries, step 5) has the commit index advance to the last
// new entry at most; hashicorp/raft v1.7.3 takes the last entry there is, which can be one of a deposed
// leader's: a leader may send a commit index that is newer than the entries it sends with it.
func capCommit(req *raft.AppendEntriesRequest) {
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, req.PrevLogEntry+uint64(len(req.Entries)))
}

// deliver hands raft an RPC of another node's; false: the transport is closed.
func (t *transport) deliver(rpc raft.RPC) bool {
	if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
		capCommit(req)
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
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := t.asked.now() // before it is sent: an answer proves nothing about what comes after
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	if err == nil && resp.Term == req.Term {
		t.asked.note(id, req.Term, sent)
	}
	return err
}

// SetHeartbeatHandler does nothing. A heartbeat handled beside raft's main loop can change term and
// role under it and corrupt the log (hashicorp/raft #695, open); through the main loop it cannot. A
// follower's slow fsync then delays its answers, for which the timeouts leave room.
func (*transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Close ends raft's connections too, which NetworkTransport's own leaves open.
func (t *transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.once.Do(func() { close(t.done) })
	t.wg.Wait()
	return err
}

// raftStreams is the raft.StreamLayer over the peer port.
type raftStreams struct {
	port        *peerPort
	dialTimeout time.Duration
}

func (s raftStreams) Accept() (net.Conn, error) { return s.port.raft.Accept() }

func (s raftStreams) Close() error {
	s.port.raft.closeAll()
	return nil
}

// Addr is the node's name: raft takes its own address from it.
func (s raftStreams) Addr() net.Addr { return s.port.raft.Addr() }

func (s raftStreams) Dial(name raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if s.port.raft.closed() {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(s.port.ctx, min(timeout, s.dialTimeout))
	defer cancel()
	conn, err := s.port.dialFor(ctx, string(name), peerv1.Hello_PURPOSE_RAFT)
	if err != nil {
		return nil, errors.New(string(name) + ": " + inWords(err))
	}
	return conn, nil
}
