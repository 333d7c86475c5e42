package workaround

import "github.com/hashicorp/raft"

// AllowNewVoter lets a server that has just got its vote stand for election before the voter that it asks has heard of
// it. latest is that voter's own configuration, and request what it is about to be given.
//
// hashicorp/raft v1.7.3 refuses its vote to a candidate that is no voter in its own configuration. The Raft paper does
// not: the voter's configuration may be old, and the check of the logs decides. The refusal can leave a cluster without a
// leader: of two voters the leader alone and a third server commit that the third one votes. If the leader dies then, the
// third must be elected by the second, whose log is shorter, and the second takes it for one that does not vote.
//
// The refusal is there for voters that were made non-voters (hashicorp/raft #526). Here nobody is ever. One that is not
// in the configuration at all is still refused.
func AllowNewVoter(request any, latest raft.Configuration) {
	var header *raft.RPCHeader
	switch r := request.(type) {
	case *raft.RequestVoteRequest:
		header = &r.RPCHeader
	case *raft.RequestPreVoteRequest:
		header = &r.RPCHeader
	default:
		return
	}
	voter, waits := raft.ServerID(""), false
	for _, s := range latest.Servers {
		switch {
		case s.Suffrage == raft.Voter:
			voter = s.ID
		case s.ID == raft.ServerID(header.ID):
			waits = true
		}
	}
	if waits && voter != "" {
		header.ID = []byte(voter) // raft uses the id for nothing but these checks
	}
}
