package fsm

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const (
	topicShards = 64
	// waitersPerShard bounds what one close wakes at once. One close over 10,000 waiters holds its
	// thread for tens of milliseconds.
	waitersPerShard = 256
)

// topics is the table of what is being watched. A topic exists while it has a watcher, so names
// that do not exist cost nothing once nobody asks for them.
type topics struct {
	seed   maphash.Seed
	shards [topicShards]topicShard
	// watchers is how many have joined and not left.
	watchers atomic.Int64
}

// topicShard's lock is held for a few instructions at a time, never while anything waits, and no
// other lock is taken under it.
type topicShard struct {
	mu    sync.Mutex // guards names and, of each topic in it: watchers, waiters, room, waitShard.watchers
	names map[string]*topic
	_     [48]byte // a cache line each
}

type topic struct {
	name     string
	home     *topicShard
	watchers int
	waiters  []*waitShard // only appended to
	room     []*waitShard // those of waiters with fewer than waitersPerShard watchers
	queued   atomic.Bool  // in the waker's queue, or about to be

	// Of the waker's goroutine alone.
	round  []*waitShard // waiters as of the newest take
	cursor int          // next in round
	left   int          // how many of round are still to be woken
}

// waitShard is a channel with its watchers. It is closed and replaced to wake them.
type waitShard struct {
	watchers int
	changed  atomic.Pointer[chan struct{}]
}

func newWaitShard() *waitShard {
	w := &waitShard{}
	ch := make(chan struct{})
	w.changed.Store(&ch)
	return w
}

// channel must be loaded before the record is read: then whatever is published after the reading
// closes it.
func (w *waitShard) channel() <-chan struct{} { return *w.changed.Load() }

func (w *waitShard) wake() {
	ch := make(chan struct{})
	close(*w.changed.Swap(&ch))
}

func newTopics() *topics {
	t := &topics{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].names = make(map[string]*topic)
	}
	return t
}

func (t *topics) shard(name string) *topicShard {
	return &t.shards[maphash.String(t.seed, name)%topicShards]
}

// get returns nil if nobody watches name.
func (t *topics) get(name string) *topic {
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name]
}

// join makes the caller a watcher of name, until it calls leave.
func (t *topics) join(name string) (*topic, *waitShard) {
	t.watchers.Add(1)
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	tp := s.names[name]
	if tp == nil {
		tp = &topic{name: name, home: s}
		s.names[name] = tp
	}
	tp.watchers++
	if len(tp.room) == 0 {
		w := newWaitShard()
		tp.waiters = append(tp.waiters, w)
		tp.room = append(tp.room, w)
	}
	w := tp.room[len(tp.room)-1]
	if w.watchers++; w.watchers == waitersPerShard {
		tp.room = tp.room[:len(tp.room)-1]
	}
	return tp, w
}

func (t *topics) leave(tp *topic, w *waitShard) {
	t.watchers.Add(-1)
	s := tp.home
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.watchers == waitersPerShard {
		tp.room = append(tp.room, w)
	}
	w.watchers--
	if tp.watchers--; tp.watchers == 0 {
		delete(s.names, tp.name)
	}
}

// wake wakes the watchers of w, one of tp's, and returns how many they are.
func (tp *topic) wake(w *waitShard) int {
	tp.home.mu.Lock()
	watchers := w.watchers
	tp.home.mu.Unlock()
	w.wake()
	return watchers
}

// snapshot returns the wait shards there are. Who joins a later one reads a record published before.
func (tp *topic) snapshot() []*waitShard {
	tp.home.mu.Lock()
	defer tp.home.mu.Unlock()
	return tp.waiters
}

// each calls f for every topic, outside the locks.
func (t *topics) each(f func(*topic)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all := make([]*topic, 0, len(s.names))
		for _, tp := range s.names {
			all = append(all, tp)
		}
		s.mu.Unlock()
		for _, tp := range all {
			f(tp)
		}
	}
}

func (t *topics) len() int {
	n := 0
	t.each(func(*topic) { n++ })
	return n
}
