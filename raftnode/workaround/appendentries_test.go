package workaround

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestCommitIndexIsCapped(t *testing.T) {
	entries := func(n int) []*raft.Log { return make([]*raft.Log, n) }
	for name, tt := range map[string]struct {
		req  raft.AppendEntriesRequest
		want uint64
	}{
		"heartbeat":                {raft.AppendEntriesRequest{}, 0},
		"all compared":             {raft.AppendEntriesRequest{PrevLogEntry: 10, Entries: entries(2), LeaderCommitIndex: 11}, 11},
		"nothing new":              {raft.AppendEntriesRequest{PrevLogEntry: 12, LeaderCommitIndex: 12}, 12},
		"newer than the entries":   {raft.AppendEntriesRequest{PrevLogEntry: 10, Entries: entries(2), LeaderCommitIndex: 15}, 12},
		"newer, without entries":   {raft.AppendEntriesRequest{PrevLogEntry: 10, LeaderCommitIndex: 15}, 10},
		"from the log's beginning": {raft.AppendEntriesRequest{Entries: entries(3), LeaderCommitIndex: 9}, 3},
	} {
		CapCommit(&tt.req)
		got := tt.req.LeaderCommitIndex
		if got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
