package follow

import (
	"context"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Names is Services for exactly the services of these names, of which it keeps some memory for each (see
// NameBytes). What happens to others does not wake it. It sends no message that has nothing new but the revision.
//
// A name that does not exist is in the deleted ones of the first state, but not before complete is closed: a node
// that does not know yet what there is must not say what there is not.
func (f *Followers) Names(ctx context.Context, names []string, how logv1.Following, complete <-chan struct{}, send func(*rollcallv1.WatchServicesResponse) error) error {
	n := f.Follow(names, how)
	defer n.Close()
	how.Quiet = 0
	return tell(ctx, n.one.changed, how, complete, n.Next, send)
}

// Named is how far a follower of names has come. What it sent of a name is the state as of the cut at which the
// name was read last, and of every cut since, until it is marked again.
type Named struct {
	f      *Followers
	how    logv1.Following
	one    *follower
	todo   []*member // in the order in which they were marked, each once; nil: it has another place
	absent []*member // do not exist, and that was not said because the node may not know
}

// Follow returns a follower of names that has read nothing yet. Close it.
func (f *Followers) Follow(names []string, how logv1.Following) *Named {
	names = slices.Clone(names)
	slices.Sort(names)
	return &Named{f: f, how: how, one: f.marks.join(slices.Compact(names))}
}

// Close makes the follower leave.
func (n *Named) Close() { n.f.marks.leave(n.one) }

// Next reads one page of the names that were marked. The cut is at least the newest of when Next was called.
// complete says that the node holds all that there is to send.
func (n *Named) Next(ctx context.Context, complete bool) (*rollcallv1.WatchServicesResponse, error) {
	if complete && len(n.absent) > 0 {
		n.f.marks.again(n.absent)
		n.absent = nil
	}
	if err := n.f.marks.reach(ctx, n.f.cfg.Registry.Newest().Revision()); err != nil {
		return nil, err
	}
	limits := n.f.page(n.how)
	cut, taken := n.take(min(limits.Count, limits.Bytes/leastBytes+1))
	m := &rollcallv1.WatchServicesResponse{Revision: cut.Revision()}
	bytes, read := 0, 0
	for ; read < len(taken) && !limits.Reached(len(m.Services)+len(m.Deleted), bytes); read++ {
		one := taken[read]
		if one == nil {
			continue
		}
		switch r, _ := cut.Service(one.topic.name, n.how.StatusOnly); {
		case r != nil:
			one.told = existing
			m.Services = append(m.Services, r)
			bytes += recordBytes(r)
		case one.told == nothing && !complete:
			n.absent = append(n.absent, one)
		case one.told != missing:
			one.told = missing
			m.Deleted = append(m.Deleted, one.topic.name)
			bytes += leastBytes + len(one.topic.name)
		}
	}
	n.putBack(taken[read:])
	if n.todo = n.todo[read:]; len(n.todo) == 0 {
		n.todo = nil // and the memory of a large first state
	}
	m.Synced = len(n.todo) == 0
	return m, nil
}

// leastBytes is about the fewest bytes that a name takes in an answer.
const leastBytes = 8

// take returns the cut up to which everything was marked, and what stands first in todo, to be read at the cut. It
// is not marked any more.
func (n *Named) take(limit int) (Cut, []*member) {
	marks := n.f.marks
	marks.turn.RLock()
	defer marks.turn.RUnlock()
	if len(n.todo) == 0 {
		n.todo = n.one.marked
	} else {
		n.todo = append(n.todo, n.one.marked...)
	}
	n.one.marked = nil
	taken := n.todo[:min(limit, len(n.todo))]
	for _, one := range taken {
		if one != nil {
			one.marked = false
		}
	}
	return marks.shown(), taken
}

// putBack marks members that were taken and not read. One that was marked meanwhile has another place already.
func (n *Named) putBack(members []*member) {
	if len(members) == 0 {
		return
	}
	marks := n.f.marks
	marks.turn.RLock()
	defer marks.turn.RUnlock()
	for i, one := range members {
		switch {
		case one == nil:
		case one.marked:
			members[i] = nil
		default:
			one.marked = true
		}
	}
}
