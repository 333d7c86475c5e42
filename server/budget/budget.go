// Package budget bounds, in bytes, the memory that a node holds for its clients: for one connection, and for
// all together. A user takes bytes from a budget and gives them back when the memory is free again.
//
// How many bytes a message or a change takes does not belong here. The users of a budget estimate it.
package budget

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Budget bounds the bytes that are taken from it. Its zero value is not usable.
type Budget struct {
	name                string
	node, perConnection int64
	used, refused       atomic.Int64

	// closed says that a connection has ended. gRPC then forgets, without a word, the messages that it had
	// begun to send; nil: nobody knows.
	closed func(*peer.Peer) bool

	mu    sync.Mutex // guards what follows, and that used never exceeds node
	swept time.Time
	// connections counts by the peer.Peer that all calls of a connection share. Its address would not do:
	// that of a tunnel or a pipe is not unique.
	connections map[*peer.Peer]int64
}

// New returns a budget of node bytes, of which one connection may take perConnection. name stands in the
// QuotaFailure of who is refused, and in metrics. closed says that a connection has ended: what it had
// taken is given back when it is looked for. nil: everything taken is given back by Give.
func New(name string, node, perConnection int64, closed func(*peer.Peer) bool) *Budget {
	return &Budget{name: name, node: node, perConnection: perConnection, closed: closed, connections: make(map[*peer.Peer]int64)}
}

// Name is what New was given.
func (b *Budget) Name() string { return b.name }

// Use returns how many bytes are taken, of how many, and how often a call was refused.
func (b *Budget) Use() (used, limit, refused int64) {
	b.mu.Lock()
	b.sweep()
	b.mu.Unlock()
	return b.used.Load(), b.node, b.refused.Load()
}

// Fits says whether so many bytes could be taken if nothing else was taken. If not, trying again is useless.
func (b *Budget) Fits(bytes int64) bool { return bytes <= b.perConnection && bytes <= b.node }

// TryTake takes bytes for a connection, which may be nil if there is none; false if the budget does not
// allow it.
func (b *Budget) TryTake(connection *peer.Peer, bytes int64) bool {
	return b.take(connection, bytes) == fits
}

// Take takes bytes for a connection, or refuses the call: RESOURCE_EXHAUSTED, which names the budget.
func (b *Budget) Take(connection *peer.Peer, bytes int64) *rpcerror.Failure {
	switch b.take(connection, bytes) {
	case overConnection:
		b.refused.Add(1)
		return rpcerror.LimitReached(b.name+"-per-connection",
			"this connection's calls would hold more than %d bytes of this node's memory for %s; read what was asked for, ask for less at once, or open another connection",
			b.perConnection, b.name)
	case overNode:
		b.refused.Add(1)
		return rpcerror.LimitReached(b.name,
			"this node's clients would hold more than %d bytes of its memory for %s (--client-memory); ask another node or try again later",
			b.node, b.name)
	}
	return nil
}

type verdict int

const (
	fits verdict = iota
	overConnection
	overNode
)

func (b *Budget) take(connection *peer.Peer, bytes int64) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if connection != nil && b.connections[connection]+bytes > b.perConnection {
		return overConnection
	}
	if b.used.Load()+bytes > b.node {
		if b.sweep(); b.used.Load()+bytes > b.node {
			return overNode
		}
	}
	b.used.Add(bytes)
	if connection != nil {
		b.connections[connection] += bytes
	}
	return fits
}

// sweepEvery bounds what those who are refused can cost.
const sweepEvery = 50 * time.Millisecond

// sweep gives back what connections had taken that have ended. mu is held.
func (b *Budget) sweep() {
	now := time.Now()
	if b.closed == nil || now.Sub(b.swept) < sweepEvery {
		return
	}
	b.swept = now
	for connection, bytes := range b.connections {
		if b.closed(connection) {
			b.used.Add(-bytes)
			delete(b.connections, connection)
		}
	}
}

// Give gives back bytes that were taken for the connection.
func (b *Budget) Give(connection *peer.Peer, bytes int64) {
	if bytes == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if connection == nil {
		b.used.Add(-bytes)
		return
	}
	// What a connection had taken that has ended may have been given back already.
	taken := b.connections[connection]
	b.used.Add(-min(bytes, taken))
	if taken > bytes {
		b.connections[connection] = taken - bytes
	} else {
		delete(b.connections, connection)
	}
}
