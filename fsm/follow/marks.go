package follow

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// marks tells the followers of names which of their names changed.
//
// Applying a change finds the topics of the names that it touched, and queues them with the cut that shows the
// change. It waits for nobody. The marker, a goroutine, takes all that is queued at once, a round: it marks the
// topics' members, and then moves the cut. A follower reads at that cut what was marked up to it. So it never sees a
// part of a change, and has nothing to compare.
//
// The cut stays behind the newest one while a round is under way. It is never ahead of a mark.
type marks struct {
	topics  topics
	members atomic.Int64 // that have joined and not left

	mu    sync.Mutex    // guards what follows
	next  round         // is queued
	busy  bool          // a round is under way
	moved chan struct{} // closed when the cut moves; nil: nobody waits

	cut atomic.Pointer[Cut] // set under mu, or under turn while busy

	// turn is held while a round is made and while the cut moves with it. Followers share it to take what is
	// marked, and the cut. It guards member.marked and follower.marked. It comes before topic.mu.
	turn sync.RWMutex

	signal chan struct{} // capacity 1: one signal tells of any number of changes
	stop   chan struct{}
	done   sync.WaitGroup
	once   sync.Once
}

// round is what changed up to a cut.
type round struct {
	cut      Cut
	topics   []*topic
	patterns []string // whose overrides changed
}

func (r *round) empty() bool { return len(r.topics) == 0 && len(r.patterns) == 0 }

// maxPatterns is how many patterns are queued. Beyond, they become one that covers everything.
const maxPatterns = 64

// follower is who follows names.
type follower struct {
	members []member
	changed chan struct{} // capacity 1: one signal tells of any number of marks

	marked []*member // since they were taken last
	woken  bool      // by the round that is under way; only the marker uses it
}

// member is one name of a follower.
type member struct {
	of     *follower
	topic  *topic
	slot   uint32 // in topic.members
	marked bool   // it stands in of.marked or waits in Named.todo
	told   told   // only the follower uses it
}

// told is what a follower was told of a name.
type told uint8

const (
	nothing told = iota
	existing
	missing
)

func newMarks(cut Cut) *marks {
	m := &marks{topics: newTopics(), signal: make(chan struct{}, 1), stop: make(chan struct{})}
	m.cut.Store(&cut)
	m.done.Go(m.run)
	return m
}

func (m *marks) close() {
	m.once.Do(func() { close(m.stop) })
	m.done.Wait()
}

// shown returns the cut up to which everything is marked.
func (m *marks) shown() Cut { return *m.cut.Load() }

// publish queues what changed up to a cut, the newest: who joins after a topic was looked up in vain reads this cut,
// or a later one.
func (m *marks) publish(cut Cut, names iter.Seq[string], patterns []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next.cut = cut
	if m.members.Load() > 0 {
		for name := range names {
			if t := m.topics.get(name); t != nil && !t.queued {
				t.queued = true
				m.next.topics = append(m.next.topics, t)
			}
		}
		for _, p := range patterns {
			m.next.patterns = append(m.next.patterns, p)
			if len(m.next.patterns) > maxPatterns {
				m.next.patterns = append(m.next.patterns[:0], pattern.All)
			}
		}
	}
	if !m.busy && m.next.empty() {
		m.cut.Store(&cut)
		m.tellMoved()
		return
	}
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// tellMoved is called with mu held.
func (m *marks) tellMoved() {
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// reach waits until the cut is of revision, or later.
func (m *marks) reach(ctx context.Context, revision int64) error {
	for m.shown().Revision() < revision {
		m.mu.Lock()
		if m.shown().Revision() >= revision {
			m.mu.Unlock()
			break
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (m *marks) run() {
	var woken []*follower
	for {
		select {
		case <-m.signal:
		case <-m.stop:
			return
		}
		woken = m.round(m.take(), woken[:0])
		for _, one := range woken {
			one.woken = false
			one.wake()
		}
		clear(woken)
	}
}

// take begins a round.
func (m *marks) take() round {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.next
	m.next, m.busy = round{}, true
	for _, t := range r.topics {
		t.queued = false
	}
	return r
}

// round appends to woken the followers of which it marked members.
func (m *marks) round(r round, woken []*follower) []*follower {
	mark := func(one *member) {
		if one.marked {
			return
		}
		one.marked = true
		one.of.marked = append(one.of.marked, one)
		if !one.of.woken {
			one.of.woken = true
			woken = append(woken, one.of)
		}
	}
	m.turn.Lock()
	for _, t := range r.topics {
		t.each(mark)
	}
	for _, p := range r.patterns {
		for t := range m.topics.covered(p) {
			t.each(mark)
		}
	}
	if r.cut != nil {
		m.cut.Store(&r.cut)
	}
	m.turn.Unlock()

	m.mu.Lock()
	m.busy = false
	m.tellMoved()
	m.mu.Unlock()
	return woken
}

// again marks members of the follower that calls it.
func (m *marks) again(members []*member) {
	m.turn.RLock()
	defer m.turn.RUnlock()
	for _, one := range members {
		if !one.marked {
			one.marked = true
			one.of.marked = append(one.of.marked, one)
		}
	}
}

func (o *follower) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// join makes a follower of names, in order and each once, all of which are marked.
func (m *marks) join(names []string) *follower {
	one := &follower{members: make([]member, len(names)), marked: make([]*member, len(names)), changed: make(chan struct{}, 1)}
	m.members.Add(int64(len(names))) // before any topic is joined, and before the newest cut is read
	for i, name := range names {
		one.members[i] = member{of: one, marked: true}
		one.marked[i] = &one.members[i]
		m.topics.join(name, &one.members[i])
	}
	return one
}

func (m *marks) leave(one *follower) {
	for i := range one.members {
		m.topics.leave(&one.members[i])
	}
	m.members.Add(-int64(len(one.members)))
}
