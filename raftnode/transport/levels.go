package transport

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// A member whose binary cannot read what this node has to send gets nothing of it: the member would have
// to end itself. That is rare. The cluster's feature level rises only once all members announced it, and
// the peer port refuses members of a lower one from then on. What is left is a member that was replaced by
// an older version in between.

// checkEntries refuses entries that need a higher feature level than the peer's process can read. It
// looks into them only if the peer's binary is older than this one, or not known yet.
func (t *Transport) checkEntries(peer string, entries []*raft.Log) error {
	level := t.peerLevel(peer)
	if level >= t.cfg.MaxLevel {
		return nil
	}
	for _, entry := range entries {
		if entry.Type != raft.LogCommand {
			continue
		}
		needs, err := logv1.EntryLevel(entry.Data)
		if err != nil {
			return fmt.Errorf("log entry %d: %w", entry.Index, err)
		}
		if needs > level {
			return fmt.Errorf("log entry %d needs feature level %d, and %s can read level %d at most: start a newer version of it",
				entry.Index, needs, peer, level)
		}
	}
	return nil
}

// InstallSnapshot sends a snapshot to a peer that can read it.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	// What a snapshot holds was applied here, so it needs the cluster's level at most.
	level, needs := t.peerLevel(string(id)), t.cfg.ClusterLevel()
	if level < needs {
		return fmt.Errorf("the snapshot needs feature level %d, and %s can read level %d at most: start a newer version of it", needs, id, level)
	}
	err := t.NetworkTransport.InstallSnapshot(id, target, req, resp, data)
	if err == nil && resp.Success && resp.Term == req.Term {
		t.progress.note(target, req.Term, req.LastLogIndex)
	}
	return err
}

// peerLevel is the base level until the peer has told its own, which it does with the first heartbeat.
func (t *Transport) peerLevel(peer string) uint32 { return logv1.LevelOf(t.cfg.Port.PeerLevel(peer)) }
