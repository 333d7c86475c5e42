package transport

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Acks notes, for each server, the newest request of this leader that the server has acknowledged, by the
// round in which the request was sent. The read index asks it. Rounds are counted, not timed: no clock is
// too coarse for a count, and no count steps back.
//
// Servers go by their address in raft's configuration, which names the data directory: what the old directory of a
// member answers late is no answer of the new one.
type Acks struct {
	round atomic.Uint64 // the newest one

	mu      sync.Mutex // guards what follows
	newest  map[raft.ServerAddress]ack
	awaited bool          // somebody waits for changed,
	changed chan struct{} // which is closed at the next acknowledgement
}

// ack is the newest request of a term that a server has answered in that term.
type ack struct{ term, round uint64 }

func newAcks() *Acks {
	return &Acks{newest: map[raft.ServerAddress]ack{}, changed: make(chan struct{})}
}

// NextRound begins a round and returns its number.
func (a *Acks) NextRound() uint64 { return a.round.Add(1) }

// Round is the number of the newest round.
func (a *Acks) Round() uint64 { return a.round.Load() }

// note takes an answer in a term to a request that was sent in a round. Answers arrive in any order, as a
// server has several connections.
func (a *Acks) note(address raft.ServerAddress, term, round uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.newest[address]
	if term < last.term || term == last.term && round <= last.round {
		return
	}
	a.newest[address] = ack{term, round}
	if a.awaited {
		a.awaited = false
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

// Since reports whether a server has acknowledged, in the term, a request sent in the round or later.
func (a *Acks) Since(address raft.ServerAddress, term, round uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.newest[address]
	return last.term == term && last.round >= round
}

// Changed is closed at the next acknowledgement that Since may tell of. Take it before Since.
func (a *Acks) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited = true
	return a.changed
}

// retain forgets all other servers.
func (a *Acks) retain(addresses map[raft.ServerAddress]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for address := range a.newest {
		if !addresses[address] {
			delete(a.newest, address)
		}
	}
}
