package follow

import (
	"hash/maphash"
	"iter"
	"sync"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

const topicShards = 64

// topics is the table of the names that are followed. A topic exists while it has a member.
type topics struct {
	seed   maphash.Seed
	shards *[topicShards]topicShard
}

// topicShard is a part of the table. No other lock is taken under its lock.
type topicShard struct {
	mu    sync.Mutex // guards names, and topic.joined of each
	names map[string]*topic
	_     [48]byte // a cache line each
}

// topic is a name that is followed. There may be very many: most have one member.
type topic struct {
	name    string
	joined  uint32 // members that have joined and not left
	queued  bool   // for the next round; guarded by marks.mu
	mu      sync.Mutex
	members []*member // guarded by mu, as their slots are
}

func newTopics() topics {
	t := topics{seed: maphash.MakeSeed(), shards: new([topicShards]topicShard)}
	for i := range t.shards {
		t.shards[i].names = map[string]*topic{}
	}
	return t
}

func (t *topics) shard(name string) *topicShard {
	return &t.shards[maphash.String(t.seed, name)%topicShards]
}

// get returns nil if nobody follows name.
func (t *topics) get(name string) *topic {
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name]
}

// join adds one to the members of the topic of name. The shard's lock is not held meanwhile: apply takes it.
func (t *topics) join(name string, one *member) {
	s := t.shard(name)
	s.mu.Lock()
	tp := s.names[name]
	if tp == nil {
		tp = &topic{name: name}
		s.names[name] = tp
	}
	tp.joined++
	s.mu.Unlock()

	tp.mu.Lock()
	defer tp.mu.Unlock()
	one.topic, one.slot = tp, uint32(len(tp.members))
	tp.members = append(tp.members, one)
}

func (t *topics) leave(one *member) {
	tp := one.topic
	tp.mu.Lock()
	last := len(tp.members) - 1
	moved := tp.members[last]
	tp.members[one.slot], moved.slot = moved, one.slot
	tp.members[last] = nil
	tp.members = tp.members[:last]
	tp.mu.Unlock()

	s := t.shard(tp.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if tp.joined--; tp.joined == 0 {
		delete(s.names, tp.name)
		if len(s.names) == 0 {
			s.names = map[string]*topic{} // a map keeps the room of all that it ever held
		}
	}
}

// each calls f for the members.
func (t *topic) each(f func(*member)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.members {
		f(one)
	}
}

// covered visits the topics that a pattern covers, holding no lock.
func (t *topics) covered(p string) iter.Seq[*topic] {
	return func(yield func(*topic) bool) {
		if _, many := pattern.Prefix(p); !many {
			if tp := t.get(p); tp != nil {
				yield(tp)
			}
			return
		}
		var found []*topic
		for i := range t.shards {
			found = t.shards[i].covered(p, found[:0])
			for _, tp := range found {
				if !yield(tp) {
					return
				}
			}
		}
	}
}

func (s *topicShard) covered(p string, into []*topic) []*topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, tp := range s.names {
		if pattern.Covers(p, name) {
			into = append(into, tp)
		}
	}
	return into
}

func (t *topics) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.names)
		s.mu.Unlock()
	}
	return n
}
