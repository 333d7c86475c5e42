package raftnode

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

// Snapshot has raft take a snapshot now, however few entries came since the last one, and waits for
// it until ctx ends.
func (n *Node) Snapshot(ctx context.Context) error {
	r := n.raft.Load()
	if r == nil {
		return ErrNotFormed
	}
	taken := make(chan error, 1) // raft takes one at a time, and Snapshot itself waits for its turn
	go func() {
		future := r.Snapshot()
		workaround.EndWith(future, n.stopped)
		taken <- future.Error()
	}()
	select {
	case err := <-taken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stopped:
		return raft.ErrRaftShutdown
	}
}
