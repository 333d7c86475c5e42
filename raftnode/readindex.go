package raftnode

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// ReadIndex returns a log index that covers every write acknowledged before the call, by any node: a
// node whose fold has applied it may answer a linearizable read. Only a leader can: it gives
// ErrNotLeader when it is not leading, or stops leading before a quorum has confirmed it, which a
// leader that is cut off does within its lease. Other errors are ctx's and ErrClosed.
//
// Each call is one round of heartbeats, so callers should share it.
//
// Why the index covers them. The node leads in term T: its fold has applied the start of T, so its
// commit index is at or beyond everything that was committed, and could be acknowledged, in earlier
// terms; and what it acknowledged itself it had committed and folded before. That leaves leaders of
// later terms. Each voter of a quorum was asked after the round began and answered in term T, so none
// of them had voted in a later one by then: nobody had been elected, and nothing acknowledged, in a
// later term when the round began.
//
// The index is always one that the folds reach. They never see raft's own no-op at the head of a term,
// but the start of the term follows it, and is applied.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	reign := n.leading.Load()
	if reign == nil {
		return 0, ErrNotLeader
	}
	r, asked := n.raft.Load(), n.trans.asked
	begin := asked.begin()
	index := r.CommitIndex()
	triggered := false
	for {
		news := asked.news()
		if n.confirmed(r, reign.term, begin) {
			return index, nil
		}
		if !triggered {
			// Raft has heartbeats sent at once. Its own verdict is not waited for: it counts answers
			// that were under way before, which prove nothing about now.
			triggered = true
			_ = r.VerifyLeader()
		}
		select {
		case <-news:
		case <-reign.ended:
			return 0, ErrNotLeader
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-n.ctx.Done():
			return 0, ErrClosed
		}
	}
}

// confirmed says whether a quorum of voters, this node included if it is one, was asked at or after
// begin and answered in the term.
func (n *Node) confirmed(r *raft.Raft, term, begin uint64) bool {
	voters, answered := 0, 0
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == n.cfg.Node || n.trans.asked.since(s.ID, term, begin) {
			answered++
		}
	}
	return answered > voters/2
}

// reign is a leadership of this node, from when its fold has applied the start of the term.
type reign struct {
	term  uint64
	ended <-chan struct{}
}

// asked notes when the voters were asked that have answered. When is counted in rounds begun, not in
// time: no clock is too coarse for it, and none can step back.
type asked struct {
	rounds atomic.Uint64 // begun so far

	mu       sync.Mutex // guards what follows
	newest   map[raft.ServerID]contact
	awaited  bool          // somebody has answered since, and
	answered chan struct{} // is to be closed then
}

// contact is the newest request of a term that a server has answered in that term.
type contact struct{ term, rounds uint64 }

func newAsked() *asked {
	return &asked{newest: map[raft.ServerID]contact{}, answered: make(chan struct{})}
}

// begin returns the number of a new round.
func (a *asked) begin() uint64 { return a.rounds.Add(1) }

// now is what a request sent from here on is worth.
func (a *asked) now() uint64 { return a.rounds.Load() }

// note takes an answer in the given term to a request that was worth rounds when it was sent. Answers
// arrive in any order, as a server has several connections.
func (a *asked) note(id raft.ServerID, term, rounds uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.newest[id]
	if term < last.term || term == last.term && rounds <= last.rounds {
		return
	}
	a.newest[id] = contact{term, rounds}
	if a.awaited {
		a.awaited = false
		close(a.answered)
		a.answered = make(chan struct{})
	}
}

// since says whether a server has answered, in the term, a request sent in round begin or later.
func (a *asked) since(id raft.ServerID, term, begin uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.newest[id]
	return c.term == term && c.rounds >= begin
}

// news is closed at the next answer that since may tell of. Take it before since.
func (a *asked) news() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited = true
	return a.answered
}
