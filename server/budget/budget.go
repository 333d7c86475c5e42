package budget

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Budget bounds the bytes that are taken from it. Its zero value is not usable. Taking and giving back needs
// no lock: every write does both.
type Budget struct {
	name                string
	node, perConnection int64
	used                atomic.Int64 // never more than node
	refused             atomic.Int64

	// closed says that a connection has ended. gRPC then forgets, without a word, the messages that it had
	// begun to send; nil: nobody knows.
	closed func(*peer.Peer) bool

	// cut closes a connection, and says whether it could. nil: who is over the budget of the node is refused.
	cut func(*peer.Peer) bool

	// accounts are by the peer.Peer that all calls of a connection share. Its address would not do:
	// that of a tunnel or a pipe is not unique.
	accounts sync.Map // *peer.Peer → *account
	known    atomic.Int64

	mu    sync.Mutex // guards what follows
	swept time.Time
	limit int64 // sweep when there are so many accounts
}

// account is what one connection has taken; removed once it is out of the map.
type account struct{ taken atomic.Int64 }

const removed = -1

// New returns a budget of node bytes, of which one connection may take perConnection. name stands in the
// QuotaFailure of who is refused, and in metrics. closed says that a connection has ended: what it had
// taken is given back when it is looked for. nil: everything taken is given back by Give.
func New(name string, node, perConnection int64, closed func(*peer.Peer) bool) *Budget {
	return &Budget{name: name, node: node, perConnection: perConnection, closed: closed}
}

// CutLargest has the budget cut off the connection that holds the most, rather than refuse another one, when
// the budget of the node is used up. It is for bytes that a client only has to read. cut closes a connection, and
// says whether it could. Call it before the budget is used.
func (b *Budget) CutLargest(cut func(*peer.Peer) bool) { b.cut = cut }

// Name is what New was given.
func (b *Budget) Name() string { return b.name }

// Use returns how many bytes are taken, of how many, and how often a call was refused.
func (b *Budget) Use() (used, limit, refused int64) {
	b.sweep()
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
	if connection != nil && !b.takeOf(connection, bytes) {
		return overConnection
	}
	if b.takeOfNode(bytes) {
		return fits
	}
	if b.sweepIfDue(); b.takeOfNode(bytes) {
		return fits
	}
	if b.makeRoom(connection, bytes); b.takeOfNode(bytes) {
		return fits
	}
	if connection != nil {
		// What is missing was given back for the node when the connection was cut off or found closed. But the
		// node had not taken it.
		b.used.Add(bytes - b.giveTo(connection, bytes))
	}
	return overNode
}

func (b *Budget) takeOfNode(bytes int64) bool {
	for {
		used := b.used.Load()
		if used+bytes > b.node {
			return false
		}
		if b.used.CompareAndSwap(used, used+bytes) {
			return true
		}
	}
}

// takeOf takes bytes of a connection's part.
func (b *Budget) takeOf(connection *peer.Peer, bytes int64) bool {
	for {
		a := b.account(connection)
		taken := a.taken.Load()
		switch {
		case taken == removed: // there is a newer one, or will be
			continue
		case taken+bytes > b.perConnection:
			return false
		case a.taken.CompareAndSwap(taken, taken+bytes):
			return true
		}
	}
}

// giveTo returns how many bytes were given back: what a connection had taken that has ended may have been given
// back already.
func (b *Budget) giveTo(connection *peer.Peer, bytes int64) int64 {
	v, ok := b.accounts.Load(connection)
	if !ok {
		return 0
	}
	a := v.(*account)
	for {
		taken := a.taken.Load()
		if taken == removed {
			return 0
		}
		given := min(bytes, taken)
		if a.taken.CompareAndSwap(taken, taken-given) {
			return given
		}
	}
}

func (b *Budget) account(connection *peer.Peer) *account {
	if a, ok := b.accounts.Load(connection); ok {
		return a.(*account)
	}
	a, there := b.accounts.LoadOrStore(connection, &account{})
	if !there {
		b.known.Add(1)
		b.mu.Lock()
		many := b.known.Load() > max(b.limit, minSweep)
		b.mu.Unlock()
		if many {
			b.sweep()
		}
	}
	return a.(*account)
}

const (
	// sweepEvery bounds what those who are refused can cost.
	sweepEvery = 50 * time.Millisecond
	// minSweep is how many accounts there may be of connections that have taken nothing.
	minSweep = 64
)

// sweepIfDue sweeps, unless that was done just now.
func (b *Budget) sweepIfDue() {
	b.mu.Lock()
	due := time.Since(b.swept) >= sweepEvery
	b.mu.Unlock()
	if due {
		b.sweep()
	}
}

// sweep gives back what connections had taken that have ended, and forgets connections that have taken nothing.
func (b *Budget) sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.swept = time.Now()
	b.accounts.Range(func(key, value any) bool {
		connection, a := key.(*peer.Peer), value.(*account)
		if b.closed != nil && b.closed(connection) || a.taken.CompareAndSwap(0, removed) {
			b.remove(connection, a)
		}
		return true
	})
	b.limit = 2 * b.known.Load()
}

// makeRoom cuts off connections that hold more than the one that asks, the largest first, until more than bytes
// are free, so that it is seldom needed.
func (b *Budget) makeRoom(asking *peer.Peer, bytes int64) {
	if b.cut == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used.Load()+bytes > b.node-b.node/8 {
		var largest *peer.Peer
		var of *account
		most := int64(0)
		b.accounts.Range(func(key, value any) bool {
			if taken := value.(*account).taken.Load(); taken > most {
				largest, of, most = key.(*peer.Peer), value.(*account), taken
			}
			return true
		})
		if largest == nil || largest == asking || !b.cut(largest) {
			return
		}
		b.refused.Add(1)
		b.remove(largest, of)
	}
}

// remove gives back what a connection had taken that has ended. mu is held.
func (b *Budget) remove(connection *peer.Peer, a *account) {
	b.used.Add(-max(a.taken.Swap(removed), 0))
	b.accounts.Delete(connection)
	b.known.Add(-1)
}

// Give gives back bytes that were taken for the connection.
func (b *Budget) Give(connection *peer.Peer, bytes int64) {
	if bytes == 0 {
		return
	}
	if connection != nil {
		bytes = b.giveTo(connection, bytes)
	}
	b.used.Add(-bytes)
}
