package workaround

import (
	"strconv"

	"github.com/hashicorp/raft"
)

// LastEntry returns this node's term and the term and index of the last entry in its log, a snapshot
// included. Raft tells the term of the last entry only as text among its statistics.
func LastEntry(r *raft.Raft) (term, logTerm, logIndex uint64) {
	stats := r.Stats()
	number := func(key string) uint64 {
		n, _ := strconv.ParseUint(stats[key], 10, 64)
		return n
	}
	term, logTerm, logIndex = number("term"), number("last_log_term"), number("last_log_index")
	if snapshot := number("last_snapshot_index"); snapshot > logIndex {
		logTerm, logIndex = number("last_snapshot_term"), snapshot
	}
	return term, logTerm, logIndex
}

// TimeoutNow is the request that makes raft a candidate as if a leader had handed over to this node:
// without a pre-vote, and with votes from those who still know a leader.
func TimeoutNow(node string) raft.RPC {
	return raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(node), Addr: []byte(node),
		}},
		RespChan: make(chan raft.RPCResponse, 1),
	}
}
