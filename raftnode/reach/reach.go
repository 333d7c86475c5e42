package reach

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Lately is how long what a member said, or did, counts. Members ask each other every 5 s, so it takes two rounds that
// are missed.
const Lately = 15 * time.Second

// fresh is how long it counts for whom a leader hands over to, and whether it does: one round that is slow. A member that
// has just died must not count as one that could lead, or that a leader reaches.
const fresh = 8 * time.Second

// longest is more than any member has run without a restart: sums with what it said cannot overflow.
const longest = 100 * 365 * 24 * time.Hour

// Report is what a member answers when this node asks it.
type Report struct {
	// Unreachable is for how long the member has not been able to connect to this node; 0: it can, or has not tried.
	Unreachable time.Duration
	// Reaches and ReachedBy are to how many other voters the member has connected in the last round, and how many to it.
	Reaches, ReachedBy int
	Leads              bool
}

// Cut is a member that cannot connect to this node.
type Cut struct {
	Member string
	For    time.Duration
	Leads  bool
}

// Reach is what this node knows of who can connect to whom. Its zero value knows nothing.
type Reach struct {
	mu      sync.Mutex           // guards what follows
	asked   map[string]time.Time // when a member asked this node last
	answers map[string]answer    // by member
}

type answer struct {
	Report
	at    time.Time
	since time.Time // the first of the answers, without another between, that said that this node is unreachable
}

// Asked takes note that a member has asked this node: it could connect.
func (r *Reach) Asked(member string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == nil {
		r.asked = map[string]time.Time{}
	}
	r.asked[member] = time.Now()
}

// Answered takes what a member has answered to this node.
func (r *Reach) Answered(member string, said Report) {
	said.Unreachable = min(max(said.Unreachable, 0), longest)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil {
		r.answers = map[string]answer{}
	}
	now := time.Now()
	a := answer{Report: said, at: now, since: now}
	if was := r.answers[member]; said.Unreachable > 0 && was.Unreachable > 0 && within(Lately, was.at) {
		a.since = was.since
	}
	r.answers[member] = a
}

// SetMembers forgets all others.
func (r *Reach) SetMembers(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.asked {
		if !slices.Contains(names, name) {
			delete(r.asked, name)
		}
	}
	for name := range r.answers {
		if !slices.Contains(names, name) {
			delete(r.answers, name)
		}
	}
}

// Count returns how many of the named members this node has connected to in the last round, and how many to it.
func (r *Reach) Count(names []string) (reaches, reachedBy int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if within(fresh, r.answers[name].at) {
			reaches++
		}
		if within(fresh, r.asked[name]) {
			reachedBy++
		}
	}
	return reaches, reachedBy
}

// Heard returns when a member asked this node last; zero: not lately.
func (r *Reach) Heard(member string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.asked[member]; lately(at) {
		return at
	}
	return time.Time{}
}

// Cuts are the members that said lately that they cannot connect to this node, by name.
func (r *Reach) Cuts() []Cut {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts()
}

// cuts is Cuts. mu must be held.
func (r *Reach) cuts() []Cut {
	var all []Cut
	for name, a := range r.answers {
		if lately(a.at) && a.Unreachable > 0 {
			all = append(all, Cut{Member: name, For: a.Unreachable + time.Since(a.at), Leads: a.Leads})
		}
	}
	slices.SortFunc(all, func(a, b Cut) int { return cmp.Compare(a.Member, b.Member) })
	return all
}

// repeated is over what time a member must have said that it cannot connect to this node, before that is believed: two
// rounds. When it says so for the first time it may not have tried since this node's start.
const repeated = 4 * time.Second

// Leader returns the member that says, in the last round and the one before, that it cannot connect to this node, and in
// the last that it leads; "": none does. This node cannot hear it, but can ask it.
func (r *Reach) Leader() (name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest time.Time
	for member, a := range r.answers {
		if within(fresh, a.at) && a.Leads && a.Unreachable > 0 && a.at.Sub(a.since) >= repeated && a.at.After(newest) {
			name, newest = member, a.at
		}
	}
	return name
}

func lately(at time.Time) bool { return within(Lately, at) }

func within(d time.Duration, at time.Time) bool { return !at.IsZero() && time.Since(at) <= d }
