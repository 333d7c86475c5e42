package node

import (
	"context"
	"log/slog"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// announcePatience is after how long an announcement that fails is worth a warning.
const announcePatience = 15 * time.Second

// announce tells the cluster, by a command in the log, where this member is. Only then does the node
// begin to confirm that it is fresh, by which "" becomes SERVING: a node that is ready can be found.
func (n *Node) announce(ctx context.Context) {
	cmd := &logv1.Command{
		Actor:  &logv1.Actor{Name: "node " + n.self.Name, Verified: true},
		Reason: "started",
		Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: &logv1.Member{
			Name:        n.self.Name,
			ApiAddress:  n.self.APIAddress,
			PeerAddress: n.self.PeerAddress,
			DirectoryId: n.directory.Identity().DirectoryID,
			Version:     n.cfg.Version,
			Level:       n.fsm.MaxLevel(),
			HoldLevel:   n.cfg.HoldLevel,
		}}},
	}
	begun := time.Now()
	for ctx.Err() == nil && !n.auditor.Diverged() {
		changed := n.raft.Changed()
		if n.raft.Status().Leader == "" {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		result, err := n.server.Propose(attempt, cmd)
		cancel()
		switch {
		case err == nil:
			if refusal := result.GetRefusal(); refusal != nil {
				n.log.Error("the cluster does not take this node's announcement", "reason", rpcerror.RefusalText(refusal))
			}
			n.server.KeepFresh()
			return
		case ctx.Err() == nil && !n.auditor.Diverged():
			level := slog.LevelInfo // while leaders come and go, as at a first start
			if time.Since(begun) > announcePatience {
				level = slog.LevelWarn
			}
			n.log.Log(ctx, level, "announcing this node failed; it is tried again", "error", err)
		}
		pause := time.NewTimer(250 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}
