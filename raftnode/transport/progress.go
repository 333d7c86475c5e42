package transport

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Progress notes how much of this leader's log each server has, and when it said so. It is kept by address: what
// arrives late from the old data directory of a member says nothing about the new one.
type Progress struct {
	mu     sync.Mutex // guards newest
	newest map[raft.ServerAddress]Match
}

// Match is what a server has of a leader's log, by its last answer.
type Match struct {
	Term  uint64    // of the leader
	Index uint64    // the server's log is the leader's up to here
	At    time.Time // when the answer came
}

func newProgress() *Progress { return &Progress{newest: map[raft.ServerAddress]Match{}} }

// Of returns what a server has of the log of the leader of a term; false: the server has told nothing in that term.
func (p *Progress) Of(address raft.ServerAddress, term uint64) (Match, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.newest[address]
	return m, ok && m.Term == term
}

// appended takes note of the answer to a request. A heartbeat compares nothing, and says nothing.
func (p *Progress) appended(address raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	index := req.PrevLogEntry + uint64(len(req.Entries))
	if resp.Success && resp.Term == req.Term && index > 0 {
		p.note(address, req.Term, index)
	}
}

func (p *Progress) note(address raft.ServerAddress, term, index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.newest[address]
	if term < last.Term {
		return
	}
	if term == last.Term {
		index = max(index, last.Index)
	}
	p.newest[address] = Match{Term: term, Index: index, At: time.Now()}
}

// retain forgets all other servers.
func (p *Progress) retain(addresses map[raft.ServerAddress]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address := range p.newest {
		if !addresses[address] {
			delete(p.newest, address)
		}
	}
}
