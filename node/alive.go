package node

import (
	"context"
	"fmt"
)

// Alive returns nil if this node works: raft's main loop answers, and the fold goes on if log entries wait for it. It
// returns an error if that is not so until ctx ends. A node without a quorum is alive, and so is one whose disk is slow;
// a disk that does nothing at all ends the node by itself.
func (n *Node) Alive(ctx context.Context) error {
	if err := n.raft.Alive(ctx); err != nil {
		return fmt.Errorf("node %s is stuck: %w", n.cfg.Name, err)
	}
	return nil
}

// Role says in a few words what this node does in the cluster, for people.
func (n *Node) Role() string {
	switch s := n.raft.Status(); {
	case !s.Formed:
		return "waits to form a cluster: " + s.Waiting
	case s.Leading:
		return "leads"
	case s.Leader == "":
		return "sees no leader; reads are served"
	default:
		return "follows " + s.Leader
	}
}
