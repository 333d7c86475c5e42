package watch

import (
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// maxSweeps is how many sweeps wait at most. Beyond, they become one over everything.
const maxSweeps = 64

// sweep goes through the topics that a pattern covers, one shard of the table after the other, and queues those
// of which a watch has sent another status than the one there is now.
type sweep struct {
	pattern string
	next    int // shard
}

// queueSweep begins a sweep, soon. What the watches shall see must be published before the call.
func (w *waker) queueSweep(p string) {
	w.mu.Lock()
	if len(w.sweeps) == maxSweeps {
		clear(w.sweeps)
		w.sweeps, p = w.sweeps[:0], pattern.All
	}
	w.sweeps = append(w.sweeps, &sweep{pattern: p})
	w.mu.Unlock()
	w.more()
}

// takeSweep returns the part of a sweep that is next; false: there is none.
func (w *waker) takeSweep() (p string, shard int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sweeps) == 0 {
		return "", 0, false
	}
	s := w.sweeps[0]
	shard = s.next
	s.next++
	if s.next == topicShards {
		w.sweeps[0] = nil
		w.sweeps = w.sweeps[1:]
	}
	return s.pattern, shard, true
}

// sweep goes through one shard of the topics, if there is a sweep.
func (w *waker) sweep() bool {
	p, shard, ok := w.takeSweep()
	if !ok {
		return false
	}
	for _, tp := range w.topics.covered(shard, p) {
		if w.differs(tp) {
			w.queue(tp)
		}
	}
	w.more()
	return true
}

// differs says whether a watch of tp has sent another status than there is now. A watch that has yet to send its
// first one, or that joins later, sees what is published.
func (w *waker) differs(tp *Topic) bool {
	var room [watchesPerShard]*watch
	for _, shard := range tp.snapshot() {
		for _, one := range tp.watching(shard, room[:0]) {
			if one.differs() {
				return true
			}
		}
	}
	return false
}

// differs says whether w has sent another status than there is now. It holds the lock that sending holds, so that
// it cannot come between the reading and the sending of a status.
func (w *watch) differs() bool {
	if w.signal != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.stopped && w.table.status(w.topic.name) != w.sent
}

// covered returns the topics of a shard that p covers.
func (t *topics) covered(shard int, p string) (covered []*Topic) {
	s := &t.shards[shard]
	if _, many := pattern.Prefix(p); !many {
		if s != t.shard(p) {
			return nil
		}
		if tp := t.get(p); tp != nil {
			covered = append(covered, tp)
		}
		return covered
	}
	s.mu.Lock()
	all := make([]*Topic, 0, len(s.names))
	for _, tp := range s.names {
		all = append(all, tp)
	}
	s.mu.Unlock()
	for _, tp := range all {
		if pattern.Covers(p, tp.name) {
			covered = append(covered, tp)
		}
	}
	return covered
}
