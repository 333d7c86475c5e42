package node

import (
	"context"
	"time"
)

// forgetEvery is after how long the connections to members that are gone are ended at the latest. A member that was removed
// stays in raft's configuration for a moment, and nothing tells of its end.
const forgetEvery = 30 * time.Second

// forgetPeers ends this node's connections to those who are members no more, until ctx ends.
func (n *Node) forgetPeers(ctx context.Context) {
	for {
		changed := n.fsm.MembersChanged()
		n.server.KeepPeers(n.raft.Peers())
		timer := time.NewTimer(forgetEvery)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
