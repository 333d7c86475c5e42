package peerport

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"syscall"
)

// PeerConnections counts, for each peer, the open raft connections from that peer to this node. A leader
// keeps some to every voter. When the leader's process ends, its operating system closes all of them at
// once. A slow process or a lost packet closes none.
//
// A connection counts as ended only when everything that arrived over it was handled, because raft's
// transport reads a connection again after each answer. So a peer without a connection adds nothing more
// to this node's log.
type PeerConnections struct {
	ended chan struct{} // capacity 1: a peer may have ended its last connection

	mu      sync.Mutex // guards what follows
	peers   map[string]*openConnections
	changed chan struct{} // closed and replaced when the last connection of a peer ends
}

// openConnections are the connections of one peer.
type openConnections struct {
	open   int
	remote bool // the peer itself ended at least one of the latest connections
}

// NewPeerConnections returns one that counts nothing yet.
func NewPeerConnections() *PeerConnections {
	return &PeerConnections{ended: make(chan struct{}, 1), peers: map[string]*openConnections{}, changed: make(chan struct{})}
}

// Begin counts a connection from a peer until the returned function is called for the first time. Its
// argument says whether the peer ended the connection.
func (c *PeerConnections) Begin(peer string) (end func(remote bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[peer]
	if p == nil {
		p = &openConnections{}
		c.peers[peer] = p
	}
	if p.open == 0 {
		p.remote = false
	}
	p.open++
	var once sync.Once
	return func(remote bool) { once.Do(func() { c.end(p, remote) }) }
}

func (c *PeerConnections) end(p *openConnections, remote bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.open--
	p.remote = p.remote || remote
	if p.open > 0 {
		return
	}
	close(c.changed)
	c.changed = make(chan struct{})
	if p.remote {
		select {
		case c.ended <- struct{}{}:
		default:
		}
	}
}

// forget drops the peers without a connection that are gone.
func (c *PeerConnections) forget(gone func(name string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.peers, func(name string, p *openConnections) bool { return p.open == 0 && gone(name) })
}

// Ended receives when a peer may have ended its last connection: ask EndedBy which one.
func (c *PeerConnections) Ended() <-chan struct{} { return c.ended }

// EndedBy reports whether a peer had connections to this node and ended all of them.
func (c *PeerConnections) EndedBy(peer string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[peer]
	return p != nil && p.open == 0 && p.remote
}

// AwaitNone waits until a peer has no connection to this node. It returns false when ctx ends first.
func (c *PeerConnections) AwaitNone(ctx context.Context, peer string) bool {
	for {
		c.mu.Lock()
		p, changed := c.peers[peer], c.changed
		none := p == nil || p.open == 0
		c.mu.Unlock()
		if none {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// EndedByPeer reports whether an error means that the other side, or its operating system, ended the
// connection.
func EndedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Refused reports whether a dial failed because nothing listens at any of the peer's addresses.
func Refused(err error) bool {
	var several addressErrors
	if !errors.As(err, &several) {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	for _, e := range several {
		if !Refused(e.err) {
			return false
		}
	}
	return len(several) > 0
}
