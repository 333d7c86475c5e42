package watch

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	topicShards = 64
	// watchesPerShard is about how many watches are woken before another topic has its turn.
	watchesPerShard = 256
)

// topics is the table of the names that are watched. A topic exists while it has a watch, so a name that
// does not exist costs nothing once nobody watches it.
type topics struct {
	seed   maphash.Seed
	shards [topicShards]topicShard
	// watchers is how many watches have joined and not left.
	watchers atomic.Int64
}

// topicShard is a part of the table. Its lock is held for a few instructions at a time, never while anything
// waits, and no other lock is taken under it.
type topicShard struct {
	mu    sync.Mutex // guards names and, of each topic in it: watchers, shards, room, empty, all of watchShard, watch.slot
	names map[string]*Topic
	_     [48]byte // a cache line each
}

// Topic is a name that is watched.
type Topic struct {
	name     string
	home     *topicShard
	watchers int
	// shards is only appended to. The first holds watches of any group. When it is full, the others hold
	// watches of one group each.
	shards []*watchShard
	room   map[any][]*watchShard // by group: shards that have some watches and room for more
	empty  []*watchShard         // shards without watches, of no group

	// Guarded by the waker's mu.
	round  []*watchShard // the shards when it was queued last
	cursor int           // next in round
	left   int           // how many of round are still to be woken; 0: it is not in the waker's queue
	next   *Topic        // in the waker's queue
}

// watchShard holds watches that are woken together. A watch stays in the shard that it joined: one that
// moved to a shard that the waker is done with would be missed.
type watchShard struct {
	watches []*watch
	group   any // of all its watches; nil: they are of any group
}

func (s *watchShard) full() bool { return len(s.watches) == watchesPerShard }

func newTopics() *topics {
	t := &topics{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].names = make(map[string]*Topic)
	}
	return t
}

func (t *topics) shard(name string) *topicShard {
	return &t.shards[maphash.String(t.seed, name)%topicShards]
}

// get returns nil if nobody watches name.
func (t *topics) get(name string) *Topic {
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name]
}

// join adds w to the watches of name, until it leaves. Watches of the same group, nil for none, are put
// together as far as possible.
func (t *topics) join(name string, group any, w *watch) {
	t.watchers.Add(1)
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	tp := s.names[name]
	if tp == nil {
		tp = &Topic{name: name, home: s}
		s.names[name] = tp
	}
	tp.watchers++
	shard := tp.place(group)
	w.topic, w.shard, w.slot = tp, shard, len(shard.watches)
	shard.watches = append(shard.watches, w)
	if shard.full() && shard != tp.shards[0] {
		tp.takeRoom(shard)
	}
}

// place returns a shard with room for a watch of group.
func (tp *Topic) place(group any) *watchShard {
	if len(tp.shards) == 0 {
		tp.shards = append(tp.shards, &watchShard{})
	}
	if first := tp.shards[0]; !first.full() {
		return first
	}
	if room := tp.room[group]; len(room) > 0 {
		return room[len(room)-1]
	}
	var shard *watchShard
	if last := len(tp.empty) - 1; last >= 0 {
		shard, tp.empty = tp.empty[last], tp.empty[:last]
	} else {
		shard = &watchShard{}
		tp.shards = append(tp.shards, shard)
	}
	shard.group = group
	tp.giveRoom(shard)
	return shard
}

func (tp *Topic) giveRoom(shard *watchShard) {
	if tp.room == nil {
		tp.room = make(map[any][]*watchShard)
	}
	tp.room[shard.group] = append(tp.room[shard.group], shard)
}

func (tp *Topic) takeRoom(shard *watchShard) {
	room := tp.room[shard.group]
	i := slices.Index(room, shard)
	if room = slices.Delete(room, i, i+1); len(room) > 0 {
		tp.room[shard.group] = room
	} else {
		delete(tp.room, shard.group)
	}
}

func (t *topics) leave(w *watch) {
	t.watchers.Add(-1)
	tp, shard := w.topic, w.shard
	s := tp.home
	s.mu.Lock()
	defer s.mu.Unlock()
	if shard.full() && shard != tp.shards[0] {
		tp.giveRoom(shard)
	}
	last := len(shard.watches) - 1
	moved := shard.watches[last]
	shard.watches[w.slot], moved.slot = moved, w.slot
	shard.watches[last] = nil
	shard.watches = shard.watches[:last]
	if last == 0 && shard != tp.shards[0] {
		tp.takeRoom(shard)
		shard.group = nil
		tp.empty = append(tp.empty, shard)
	}
	if tp.watchers--; tp.watchers == 0 {
		delete(s.names, tp.name)
	}
}

// watching appends to into the watches of shard, which is one of the topic's.
func (tp *Topic) watching(shard *watchShard, into []*watch) []*watch {
	tp.home.mu.Lock()
	defer tp.home.mu.Unlock()
	return append(into, shard.watches...)
}

// snapshot returns the shards of now. A watch that joins a later shard reads what was published before.
func (tp *Topic) snapshot() []*watchShard {
	tp.home.mu.Lock()
	defer tp.home.mu.Unlock()
	return tp.shards
}

// each calls f for every topic, without holding a lock.
func (t *topics) each(f func(*Topic)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all := make([]*Topic, 0, len(s.names))
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
	t.each(func(*Topic) { n++ })
	return n
}
