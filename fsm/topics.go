package fsm

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const (
	topicShards = 64
	// watchesPerShard is about how many are woken before others have their turn.
	watchesPerShard = 256
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
	mu    sync.Mutex // guards names and, of each topic in it: watchers, shards, room, watchShard.watches, watch.slot
	names map[string]*topic
	_     [48]byte // a cache line each
}

type topic struct {
	name     string
	home     *topicShard
	watchers int
	shards   []*watchShard // only appended to
	room     []*watchShard // those of shards with fewer than watchesPerShard watches

	// Guarded by the waker's mu.
	round  []*watchShard // shards as of when it was queued last
	cursor int           // next in round
	left   int           // how many of round are still to be woken; 0: it is not in the waker's queue
	next   *topic        // in the waker's queue
}

// watchShard holds watches that are woken in one go. A watch stays where it joined, so that none can
// be missed by moving to where the waker has been.
type watchShard struct {
	watches []*watch
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

// join makes w a watcher of name, until it leaves.
func (t *topics) join(name string, w *watch) {
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
		shard := &watchShard{}
		tp.shards = append(tp.shards, shard)
		tp.room = append(tp.room, shard)
	}
	shard := tp.room[len(tp.room)-1]
	w.topic, w.shard, w.slot = tp, shard, len(shard.watches)
	shard.watches = append(shard.watches, w)
	if len(shard.watches) == watchesPerShard {
		tp.room = tp.room[:len(tp.room)-1]
	}
}

func (t *topics) leave(w *watch) {
	t.watchers.Add(-1)
	tp, shard := w.topic, w.shard
	s := tp.home
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(shard.watches) == watchesPerShard {
		tp.room = append(tp.room, shard)
	}
	last := len(shard.watches) - 1
	moved := shard.watches[last]
	shard.watches[w.slot], moved.slot = moved, w.slot
	shard.watches[last] = nil
	shard.watches = shard.watches[:last]
	if tp.watchers--; tp.watchers == 0 {
		delete(s.names, tp.name)
	}
}

// watching appends the watches of shard, one of tp's, to into.
func (tp *topic) watching(shard *watchShard, into []*watch) []*watch {
	tp.home.mu.Lock()
	defer tp.home.mu.Unlock()
	return append(into, shard.watches...)
}

// snapshot returns the shards there are. Who joins a later one reads a record published before.
func (tp *topic) snapshot() []*watchShard {
	tp.home.mu.Lock()
	defer tp.home.mu.Unlock()
	return tp.shards
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
