package raftnode

import (
	"context"
	"time"

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
	lead := n.leading.Load()
	if lead == nil {
		return 0, ErrNotLeader
	}
	r, acks := n.raft.Load(), n.trans.Acks()
	round := acks.NextRound()
	index := r.CommitIndex()
	triggered := false
	for {
		changed := acks.Changed()
		if n.confirmed(r, lead.term, round) {
			return index, nil
		}
		if !triggered {
			// Raft has heartbeats sent at once. Its own verdict is not waited for: it counts answers
			// that were under way before, which prove nothing about now.
			triggered = true
			_ = r.VerifyLeader()
		}
		select {
		case <-changed:
		case <-lead.ended:
			return 0, ErrNotLeader
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-n.ctx.Done():
			return 0, ErrClosed
		}
	}
}

// confirmed says whether a quorum of voters, this node included if it is one, was asked in
// the round or later and answered in the term.
func (n *Node) confirmed(r *raft.Raft, term, round uint64) bool {
	voters, answered := 0, 0
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == n.cfg.Node || n.trans.Acks().Since(s.Address, term, round) {
			answered++
		}
	}
	return answered > voters/2
}

// leadership is one time of leading. It begins when the fold of this node has applied the start of the term.
type leadership struct {
	term  uint64
	since time.Time
	ended <-chan struct{}
}

// Leadership returns the term in which this node leads, and what is closed when that ends. Term 0: it does not
// lead.
func (n *Node) Leadership() (term uint64, ended <-chan struct{}) {
	lead := n.leading.Load()
	if lead == nil {
		return 0, nil
	}
	select {
	case <-lead.ended:
		return 0, nil
	default:
		return lead.term, lead.ended
	}
}
