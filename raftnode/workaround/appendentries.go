package workaround

import "github.com/hashicorp/raft"

// CapCommit keeps a follower from committing what its log holds beyond the entries that the leader has just
// compared with its own. The Raft paper (figure 2, AppendEntries, step 5) lets the commit index advance to
// the last new entry at most. hashicorp/raft v1.7.3 takes the last entry that the follower has, which can
// be one of a deposed leader: a leader may send a commit index that is newer than the entries it sends with
// it.
func CapCommit(req *raft.AppendEntriesRequest) {
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, req.PrevLogEntry+uint64(len(req.Entries)))
}
