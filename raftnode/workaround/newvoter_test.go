package workaround

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestAllowNewVoter(t *testing.T) {
	latest := raft.Configuration{Servers: []raft.Server{
		{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}, {ID: "n3", Address: "n3/d3", Suffrage: raft.Nonvoter},
	}}
	for name, tt := range map[string]struct {
		candidate string
		latest    raft.Configuration
		changed   bool
	}{
		"a voter":                      {"n1", latest, false},
		"one that does not vote yet":   {"n3", latest, true},
		"one that is not there":        {"n4", latest, false},
		"a voter without a name":       {"", latest, false},
		"without a configuration":      {"n3", raft.Configuration{}, false},
		"a configuration of no voters": {"n3", raft.Configuration{Servers: latest.Servers[2:]}, false},
	} {
		header := raft.RPCHeader{ID: []byte(tt.candidate), Addr: []byte(tt.candidate)}
		vote, pre := &raft.RequestVoteRequest{RPCHeader: header, Term: 7}, &raft.RequestPreVoteRequest{RPCHeader: header, Term: 7}
		AllowNewVoter(vote, tt.latest)
		AllowNewVoter(pre, tt.latest)
		for _, h := range []raft.RPCHeader{vote.RPCHeader, pre.RPCHeader} {
			is := hasVote(tt.latest, raft.ServerID(h.ID))
			if changed := string(h.ID) != tt.candidate; changed != tt.changed || changed && !is || string(h.Addr) != tt.candidate {
				t.Errorf("%s: %s became %s, which votes: %t; address %s", name, tt.candidate, h.ID, is, h.Addr)
			}
		}
	}
	AllowNewVoter(&raft.AppendEntriesRequest{}, latest) // nothing to do with it
}

func hasVote(c raft.Configuration, id raft.ServerID) bool {
	for _, s := range c.Servers {
		if s.ID == id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}
