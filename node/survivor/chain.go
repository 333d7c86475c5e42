package survivor

import (
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

// chain finds out which entries of a log continue a base, and how far they are known to be committed. It is shown all
// sound entries in ascending order.
//
// An entry that continues the base is known to be committed if
//
//  1. the base holds it: the fold is given committed entries only, and the registry file and snapshots come from the
//     fold; or
//  2. a later entry of the log says that its proposer had applied it (Entry.state_hash names the index). The proposer
//     was a leader and had applied committed entries only. Two logs that hold the same entry hold the same entries
//     before it, so what the leader meant is what stands here. That holds whether or not the later entry was
//     committed; or
//  3. the newest configuration has one voter, this node: then what it stored is committed (see Survivor).
//
// That a later entry is of a newer term says nothing: its leader may have had entries that were never committed.
type chain struct {
	held    uint64 // the last entry that the base holds, entries of raft's own that follow it included
	heldAt  uint64 // its term
	from    uint64 // the index that the base's fold stands at, with its term
	term    uint64
	stale   uint64 // entries up to here may never have been committed: a snapshot was put in their place
	last    uint64 // the newest entry that continues the base
	lastAt  uint64 // its term
	known   uint64 // known to be committed by rules 1 and 2
	conf    raft.Configuration
	next    *raft.Configuration // of an entry
	entries int

	gap     uint64 // the first entry that is missing; 0: none
	beyond  int    // sound entries that cannot be used
	end     uint64 // the newest sound entry of all
	foreign string // why the entries from gap on are not used, if they are there
}

// newChain is of a base whose fold ends at from, and which was made when the newest snapshot was this one; the zero
// value: there was none.
func newChain(from Point, newest snapshot.Found) chain {
	c := chain{from: from.Index, term: from.Term, stale: newest.Index, conf: newest.Configuration}
	c.held, c.heldAt = max(from.Index, newest.Index), max(from.Term, newest.Term)
	c.last, c.lastAt, c.known = c.held, c.heldAt, c.held
	return c
}

// take is given the next sound entry.
func (c *chain) take(e *raft.Log) {
	c.end = max(c.end, e.Index)
	if e.Index == c.from && e.Index > c.stale && e.Term != c.term && c.foreign == "" {
		c.foreign = fmt.Sprintf("the log holds entry %d of term %d, and what is folded holds it of term %d: they come from different histories", e.Index, e.Term, c.term)
	}
	if e.Index <= c.held {
		if e.Index > c.stale {
			c.configure(e)
		}
		return
	}
	switch {
	case c.gap > 0 || c.foreign != "":
		c.beyond++
		return
	case e.Index != c.last+1:
		c.gap = c.last + 1
		c.beyond++
		return
	case e.Term < c.lastAt:
		c.foreign = fmt.Sprintf("entry %d is of term %d, and follows one of term %d: an earlier leader's, that never took effect", e.Index, e.Term, c.lastAt)
		c.beyond++
		return
	}
	c.last, c.lastAt = e.Index, e.Term
	c.entries++
	c.configure(e)
	if e.Type == raft.LogCommand {
		var entry logv1.Entry
		if logv1.Open(e.Data, &entry) == nil {
			c.known = max(c.known, min(entry.GetStateHash().GetIndex(), e.Index-1))
		}
	}
}

// configure notes the configuration that an entry holds, if it is one of that.
func (c *chain) configure(e *raft.Log) {
	if e.Type == raft.LogConfiguration {
		conf := raft.DecodeConfiguration(e.Data) // which Salvage has tried
		c.next = &conf
	}
}

// uses reports whether an entry continues the base.
func (c *chain) uses(index uint64) bool { return index > c.held && index <= c.last }

func (c *chain) configuration() raft.Configuration {
	if c.next != nil {
		return *c.next
	}
	return c.conf
}

// committed is the last entry that is known to be committed, on the node of that name and data directory.
func (c *chain) committed(node, directory string) uint64 {
	alone := false
	for _, s := range c.configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		if !is(s, node, directory) {
			return c.known
		}
		alone = true
	}
	if alone {
		return c.last
	}
	return c.known
}

// is reports whether a server of raft's configuration is a node with that data directory. The address of a member that
// was added or replaced names its directory.
func is(s raft.Server, node, directory string) bool {
	_, of, named := strings.Cut(string(s.Address), "/")
	return string(s.ID) == node && (!named || of == directory)
}
