package raftnode

import (
	"context"
	"errors"
	"fmt"
)

// Alive returns nil if this member works: raft's main loop answers, and the fold goes on if entries wait for it. It
// says nothing of other members: without a quorum, or a leader, a member is alive. It waits until ctx ends at most,
// and so long only if something is stuck.
func (n *Node) Alive(ctx context.Context) error {
	r := n.raft.Load()
	if r == nil {
		return nil // forming
	}
	select {
	case <-n.loopAnswers():
	case <-ctx.Done():
		return errors.New("raft's main loop does not answer")
	}
	applied := n.cfg.State.AppliedIndex()
	if r.CommitIndex() <= applied {
		return nil
	}
	if err := n.cfg.State.WaitIndex(ctx, applied+1); err != nil {
		return fmt.Errorf("the fold stays at log entry %d while more are committed", applied)
	}
	return nil
}

// loopAnswers returns a channel that is closed when raft's main loop has answered a question. While it is stuck all
// callers wait for the same answer, with one goroutine, which ends when raft does.
func (n *Node) loopAnswers() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		answered := make(chan struct{})
		n.asked = answered
		r := n.raft.Load()
		go func() {
			_ = r.VerifyLeader().Error() // every role answers; what it answers does not matter
			n.mu.Lock()
			n.asked = nil
			n.mu.Unlock()
			close(answered)
		}()
	}
	return n.asked
}
